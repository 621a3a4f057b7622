"""`--confirm` over hosts, and changes of NICs by which a controller may cut itself off."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from far import Far, ssh_command, start_sshd
from far_shop import Shop, one_more

from netfab.errors import NetfabError
from netfab.multihost import across
from netfab.remote.channel import Transport, Unreachable
from netfab.where import Where

PATIENCE = 30  # seconds, for what hangs
BEFORE, AFTER = {"shop.web"}, {"shop.web", "shop.log"}


def lent(text: str) -> str:
    """The file with the hosts' only NIC, by which ssh comes, as a port of the network's bridge."""
    spec = "{uplink: wire0, vxlan: none, subnet: 192.0.2.0/24, range: 192.0.2.128/25, gateway: none}"
    return text.replace("lan: {}", f"lan: {spec}")


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, "it never came"
        sleep(0.02)


def waits(far: Far) -> bool:
    return "shop.confirm" in far.run("sh", "-c", "ls /run/netfab 2>/dev/null || true")


def is_lent(far: Far) -> bool:
    return "master" in far.run("ip", "link", "show", "wire0")


@pytest.fixture
def by_ssh(
    shop: Shop, fars: dict[str, Far], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """The same by real connections."""
    for far in fars.values():
        start_sshd(far, tmp_path)
    monkeypatch.setenv("NETFAB_SSH_COMMAND", ssh_command(tmp_path))
    from netfab.remote.party import connect

    shop.way = connect
    yield shop
    with suppress(NetfabError):
        across.confirmed(shop.entry)


def test_what_is_not_confirmed_goes_back_on_every_host(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()

    shop.apply(one_more, confirm=0.2)

    until(lambda: fars["h1"].nodes() == BEFORE)
    assert any("create namespace" in line for line in shop.apply(one_more))
    assert fars["h1"].nodes() == AFTER
    assert across.drift(shop.entry, way=shop.way) == []


def test_a_first_apply_that_is_not_confirmed_leaves_nothing(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply(confirm=0.2)

    until(lambda: fars["h1"].left() == fars["h2"].left() == [])


def test_what_is_confirmed_stays_on_every_host(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    shop.apply(one_more, confirm=600)

    across.confirmed(shop.entry, way=shop.way)

    until(lambda: not any(map(waits, fars.values())))
    assert fars["h1"].nodes() == AFTER
    with pytest.raises(NetfabError, match="no change of fabric shop waits"):
        across.confirmed(shop.entry, way=shop.way)


def test_nobody_is_told_where_one_host_is_not_reached(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    shop.apply(one_more, confirm=0.5)

    with pytest.raises(NetfabError):
        across.confirmed(shop.entry, way=but_not("h2", shop))

    until(lambda: fars["h1"].nodes() == BEFORE)


def but_not(away: str, shop: Shop) -> Callable[[str, str, Where], Transport]:
    def way(host: str, destination: str, where: Where) -> Transport:
        if host == away:
            raise Unreachable(f"{host}: it is gone")
        return shop.way(host, destination, where)

    return way


def test_a_nic_that_ssh_comes_by_is_lent_when_a_new_connection_comes_by_it(
    by_ssh: Shop, fars: dict[str, Far]
) -> None:
    by_ssh.apply(lent)

    assert all(map(is_lent, fars.values()))
    assert not any(map(waits, fars.values()))


def test_where_no_new_connection_comes_all_hosts_are_as_they_were(by_ssh: Shop, fars: dict[str, Far]) -> None:
    by_ssh.apply()

    with pytest.raises(NetfabError, match="it is gone"):
        by_ssh.apply(lent, way_anew=but_not("h2", by_ssh))

    assert not any(map(is_lent, fars.values()))
    assert across.drift(by_ssh.entry) == []


def test_a_host_that_is_told_no_more_gives_its_nic_back_by_itself(
    by_ssh: Shop, fars: dict[str, Far], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = os.fork()
    if child == 0:
        commit = "netfab.remote.coordinator._commit"
        monkeypatch.setattr(commit, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        try:
            by_ssh.apply(lent)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    until(lambda: not any(map(is_lent, fars.values())))
    by_ssh.apply(lent)
    assert all(map(is_lent, fars.values()))
