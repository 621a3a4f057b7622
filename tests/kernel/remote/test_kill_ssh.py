"""Real connections that end in the middle: ssh killed, or the controller, after any message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest
from far import Far, ssh_command, start_sshd
from far_shop import Shop, one_more
from test_kill_controller import killed_at

from netfab.errors import NetfabError
from netfab.multihost import across
from netfab.remote.channel import Channel
from netfab.remote.party import connect
from netfab.remote.ssh import Ssh


@pytest.fixture
def by_ssh(shop: Shop, fars: dict[str, Far], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop's hosts, reached by OpenSSH, with its modules there already."""
    for far in fars.values():
        start_sshd(far, tmp_path)
    monkeypatch.setenv("NETFAB_SSH_COMMAND", ssh_command(tmp_path))
    shop.way = connect
    shop.apply()
    return shop


def changes() -> Iterator[tuple[Callable[[str], str], set[str]]]:
    """One node more and one less, in turn; and the nodes that h1 has then."""
    return cycle(((one_more, {"shop.web", "shop.log"}), (str, {"shop.web"})))


def test_a_controller_killed_at_any_message_leaves_no_host_locked(
    by_ssh: Shop, fars: dict[str, Far], record_property: Callable[[str, object], None]
) -> None:
    for number, (change, nodes) in enumerate(changes(), 1):
        killed = killed_at(number, lambda change=change: by_ssh.apply(change))
        by_ssh.apply(change)
        assert fars["h1"].nodes() == nodes, number
        if not killed:
            break

    assert across.drift(by_ssh.entry) == []
    assert number > 4
    record_property("crash points", number - 1)


def test_an_ssh_killed_after_any_message_leaves_no_host_locked(
    by_ssh: Shop,
    fars: dict[str, Far],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    write, count, number = Channel.write, 0, 0

    def wrote(channel: Channel) -> None:
        nonlocal count
        write(channel)
        count += 1
        if count == number:
            assert isinstance(channel.transport, Ssh)
            channel.transport._process.kill()

    monkeypatch.setattr(Channel, "write", wrote)
    for number, (change, nodes) in enumerate(changes(), 1):
        count = 0
        with suppress(NetfabError):
            by_ssh.apply(change)
        killed, count = count >= number, number  # the next one is left alone
        by_ssh.apply(change)
        assert fars["h1"].nodes() == nodes, number
        if not killed:
            break

    assert across.drift(by_ssh.entry) == []
    assert number > 4
    record_property("crash points", number - 1)
