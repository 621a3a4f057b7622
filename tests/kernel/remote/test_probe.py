"""Before tunnels are made, the way between their hosts is tried with datagrams that nobody may cut."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable

import pytest
from far import Far
from far_shop import Shop, one_more

from netfab.errors import NetfabError
from netfab.multihost import across
from netfab.remote import probe
from netfab.remote.probe import Peer, Probe

# What a bridge lets through to a port of that MTU: room for the headers of Ethernet and a VLAN is on top.
NARROW, PASSES = 1400, 1404


def narrow(host: str, mtu: int = NARROW) -> None:
    """The way to that host, behind the switch that it hangs on."""
    subprocess.run(["ip", "link", "set", f"to-{host}", "mtu", str(mtu)], check=True)


def test_a_narrower_link_between_two_hosts_is_named_with_what_passes_and_nothing_is_changed(
    shop: Shop, fars: dict[str, Far]
) -> None:
    narrow("h2")

    with pytest.raises(NetfabError) as failure:
        shop.apply()

    assert f"1500 bytes have to go from h1 to h2 in one piece for network lan, and {PASSES} do" in str(
        failure.value
    )
    assert failure.value.hint.startswith(f"write `mtu: {PASSES - 50}`")
    assert failure.value.undone
    assert fars["h1"].left() == fars["h2"].left() == []
    assert across.known("shop") is None


def test_the_mtu_that_is_proposed_passes_and_one_more_does_not(shop: Shop) -> None:
    narrow("h2")

    def with_mtu(mtu: int) -> None:
        shop.apply(lambda text: text.replace("lan: {}", f"lan: {{mtu: {mtu}}}"))

    with pytest.raises(NetfabError, match=f"and {PASSES} do"):
        with_mtu(PASSES - 50 + 1)
    with_mtu(PASSES - 50)


RULES = "table inet corp {{ chain in {{ type filter hook input priority 0; policy drop; {} }}; }}"


@pytest.mark.parametrize("accepted", ["tcp dport 22 accept;", "ct state established,related accept;"])
def test_a_firewall_that_lets_no_tunnel_in_is_named_and_nothing_is_changed(
    shop: Shop, fars: dict[str, Far], accepted: str
) -> None:
    fars["h2"].run("nft", RULES.format(accepted))
    before = fars["h2"].left()

    with pytest.raises(NetfabError) as failure:
        shop.apply()

    assert "nothing that h1 sends to UDP port 4789 of h2 arrives" in str(failure.value)
    assert "chain in of nft table inet corp: its policy is drop" in str(failure.value)
    assert (fars["h1"].left(), fars["h2"].left()) == ([], before)


def test_a_firewall_that_lets_tunnels_in_hinders_nothing(shop: Shop, fars: dict[str, Far]) -> None:
    fars["h2"].run("nft", RULES.format("udp dport 4789 accept;"))

    shop.apply()

    assert fars["h2"].nodes() == {"shop.db"}


def test_nothing_is_probed_where_no_tunnel_is_new(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    narrow("h2")

    shop.apply(one_more)

    assert fars["h1"].nodes() == {"shop.web", "shop.log"}


def test_a_network_that_changes_its_mtu_is_probed_beside_its_tunnel(shop: Shop) -> None:
    shop.apply(lambda text: text.replace("lan: {}", "lan: {mtu: 1300}"))
    narrow("h2")

    with pytest.raises(NetfabError, match=f"and {PASSES} do"):
        shop.apply()


def test_strangers_that_never_cease_to_send_hold_up_no_probe(
    sandbox: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ears = Probe("127.0.0.1", 0, "token")
    clock: Callable[[], float] = itertools.count().__next__
    monkeypatch.setattr(probe, "monotonic", clock)
    monkeypatch.setattr(ears, "_hear", lambda: None)  # there is always more of theirs

    assert ears.exchange("me", {"h2": Peer("127.0.0.1", ears.port, (1000,), 1000)}, 10) == {"h2": 0}
    ears.close()
