"""NICs of several hosts as ports of a network's bridges, on simulated hosts with a LAN of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from simulated_hosts import Hosts, fleet
from test_overlay import Begun, begun, ping_address

from netfab.multihost import across

__all__ = ["begun"]

LAN = "198.51.100"
BETWEEN = f"{{uplink: lan0, vxlan: none, subnet: {LAN}.0/24, range: {LAN}.128/25, gateway: none}}"
BEHIND_ONE = f"{{uplink: {{h1: lan0}}, subnet: {LAN}.0/24, range: {LAN}.128/25, gateway: none}}"


@pytest.fixture
def hosts(begun: Begun) -> Iterator[Hosts]:
    """Two hosts with an address each on a LAN, on which there is a printer, too."""
    hosts = begun(fleet(2))
    _ip("link add lan type bridge forward_delay 0", "link set lan up", "netns add printer")
    for number, name in enumerate(("underlay.h1", "underlay.h2", "printer"), 1):
        _ip(
            f"link add to-{number} type veth peer name lan0 netns {name}",
            f"link set to-{number} master lan up",
            f"-n {name} address add {LAN}.{number}/24 dev lan0",
            f"-n {name} link set lan0 up",
        )
    yield hosts
    _ip("netns delete printer", "link delete lan")


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def addresses(hosts: Hosts, host: str, device: str) -> str:
    return hosts.run(host, "ip", "-br", "-4", "address", "show", "dev", device)


def test_nodes_on_two_hosts_are_on_one_lan_without_a_tunnel(hosts: Hosts) -> None:
    hosts.apply(fleet(2, network=BETWEEN))

    for destination in (hosts.address("n2"), f"{LAN}.1", f"{LAN}.2", f"{LAN}.3"):
        assert ping_address(hosts, "n1", destination), destination
    assert hosts.run("h1", "ip", "link", "show", "type", "vxlan") == ""
    assert f"{LAN}.2/24" in addresses(hosts, "h2", "br-lan")


def test_what_is_behind_one_host_is_reached_from_the_other_by_its_tunnel(hosts: Hosts) -> None:
    hosts.apply(fleet(2, network=BEHIND_ONE))

    for node in ("n1", "n2"):
        assert ping_address(hosts, node, f"{LAN}.3"), node
    assert ping_address(hosts, "n2", hosts.address("n1"))
    assert "lan0" not in hosts.run("h2", "bridge", "link")


def test_destroy_gives_every_host_its_nic_back(hosts: Hosts) -> None:
    hosts.apply(fleet(2, network=BETWEEN))

    entry = across.known("lab")
    assert entry is not None
    across.destroy(entry)

    for number, host in enumerate(("h1", "h2"), 1):
        assert f"{LAN}.{number}/24" in addresses(hosts, host, "lan0")
        assert "br-lan" not in hosts.run(host, "ip", "-br", "link")


def test_a_second_apply_changes_nothing(hosts: Hosts) -> None:
    hosts.apply(fleet(2, network=BETWEEN))

    hosts.apply(fleet(2, network=BETWEEN))

    assert not hosts.changes
