"""VLANs on bridges and NICs: what passes where the kernel has them; what is told where it has not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lacking import skip_with, skip_without
from machine import differences
from test_attach import attach, host_state, ip
from test_nics import MACHINE, reaches, sh

from netfab import fabric
from netfab.errors import NetfabError
from netfab.imperative import adhoc
from netfab.objects.filtering import FEATURE as FILTERING
from netfab.objects.vlan import FEATURE as TAGGING

BLUE, RED = "netns:blue", "netns:red"
TRUNK = """
name: shop
nodes: {r: {}}
links: [{endpoints: [{node: r, ip: 198.51.100.3/24}, 'macvlan:ens1.20']}]
"""


# Two networks on one cable to the host, two links on one to another node.
SHARED = """
name: shop
networks: {red: {subnet: 10.1.0.0/24}, blue: {subnet: 10.2.0.0/24}}
nodes:
  r: {networks: {red: {name: eth0.10}, blue: {name: eth0.20}}}
  s: {networks: {red: {ip: 10.1.0.9}}}
  t: {networks: {blue: {ip: 10.2.0.9}}}
  u: {}
links:
  - [r:eth1.7, {node: u, name: eth1.7, ip: 10.3.0.9/24}]
  - [r:eth1.8, {node: u, name: eth1.8, ip: 10.4.0.9/24}]
"""
SHARED_REACH = (("s", "10.1.0.9"), ("t", "10.2.0.9"), ("u", "10.3.0.9"), ("u", "10.4.0.9"))


@pytest.fixture
def guests(sandbox: None) -> None:
    ip("netns", "add", "blue")
    ip("netns", "add", "red")


@pytest.fixture
def nic(sandbox: None) -> None:
    """A NIC, and behind it a machine that is in VLAN 20 only, where the kernel has that."""
    sh(MACHINE)


def behind_the_nic_tagged() -> None:
    sh("""
        ip -n lan address flush dev far
        ip -n lan link add link far name far.20 type vlan id 20
        ip -n lan link set far.20 up
        ip -n lan address add 198.51.100.9/24 dev far.20
    """)


def vlans(link: str) -> list[object]:
    (found,) = json.loads(sh(f"bridge -j vlan show dev {link}"))
    return [(one["vlan"], *one["flags"]) for one in found["vlans"]]


@pytest.mark.usefixtures("guests")
def test_guests_of_one_vlan_of_a_bridge_reach_each_other_and_it_goes_with_them() -> None:
    skip_without(FILTERING)
    before = host_state()
    attach("br7", BLUE, "10.7.0.2/24", "@20", host_link="one")
    attach("br7", RED, "10.7.0.3/24", "@20")

    reached, there = reaches("blue", "red", "10.7.0.3"), vlans("one")
    again = attach("br7", BLUE, "10.7.0.2/24", "@20", host_link="one")
    adhoc.detach("br7", RED)
    adhoc.detach("br7", BLUE)

    assert reached
    assert there == [(20, "PVID", "Egress Untagged")]
    assert again.changes == ()
    assert differences(before, host_state()) == []


@pytest.mark.usefixtures("guests")
def test_a_bridge_that_filters_no_more_is_drift_and_repaired() -> None:
    skip_without(FILTERING)
    attach("br7", BLUE, "10.7.0.2/24", "@20", host_link="one")
    sh("ip link set br7 type bridge vlan_filtering 0")

    drift = fabric.drift("adhoc")
    adhoc.reconcile("adhoc")

    assert drift != ()
    assert vlans("one") == [(20, "PVID", "Egress Untagged")]


@pytest.mark.usefixtures("guests")
def test_a_bridge_of_others_that_does_not_filter_is_left_and_the_command_is_named() -> None:
    skip_without(FILTERING)
    sh("ip link add br9 type bridge; ip link set br9 up")

    with pytest.raises(NetfabError, match="br9 does not filter VLANs") as caught:
        attach("br9", BLUE, "10.7.0.2/24", "@20")

    assert caught.value.hint == "`ip link set br9 type bridge vlan_filtering 1`"
    sh("ip link set br9 type bridge vlan_filtering 1")
    attach("br9", BLUE, "10.7.0.2/24", "@20", host_link="one")
    assert vlans("one") == [(20, "PVID", "Egress Untagged")]


@pytest.mark.usefixtures("nic")
def test_guests_share_a_vlan_of_a_nic_that_goes_with_the_last_of_them() -> None:
    skip_without(TAGGING)
    behind_the_nic_tagged()
    before = host_state()
    attach("ens1", BLUE, "198.51.100.3/24", "@20")
    attach("ens1", RED, "198.51.100.4/24", "@20")

    reached = reaches("blue", "lan", "198.51.100.9")
    adhoc.detach("ens1", BLUE)
    left = reaches("red", "lan", "198.51.100.9")
    adhoc.detach("ens1", RED)

    assert (reached, left) == (True, True)
    assert differences(before, host_state()) == []


@pytest.mark.usefixtures("nic")
def test_a_vlan_of_a_nic_that_others_made_is_used_and_left() -> None:
    skip_without(TAGGING)
    behind_the_nic_tagged()
    sh("ip link add link ens1 name office type vlan id 20; ip link set office addrgenmode none")
    sh("ip link set office up")
    before = host_state()
    attach("ens1", BLUE, "198.51.100.3/24", "@20")

    reached = reaches("blue", "lan", "198.51.100.9")
    adhoc.detach("ens1", BLUE)

    assert reached
    assert differences(before, host_state()) == []


@pytest.mark.usefixtures("nic")
def test_a_link_of_a_topology_ends_on_a_vlan_of_a_nic(tmp_path: Path) -> None:
    skip_without(TAGGING)
    behind_the_nic_tagged()
    file = tmp_path / "shop.yaml"
    file.write_text(TRUNK)

    fabric.apply(fabric.load(str(file)), str(file))

    assert reaches("shop.r", "lan", "198.51.100.9")


def test_networks_and_links_share_the_cables_of_a_node(tmp_path: Path) -> None:
    skip_without(TAGGING)
    file = tmp_path / "shop.yaml"
    file.write_text(SHARED)
    before = host_state()

    fabric.apply(fabric.load(str(file)), str(file))
    reached = [reaches("shop.r", f"shop.{node}", address) for node, address in SHARED_REACH]
    again = fabric.apply(fabric.load(str(file)), str(file))[1].changes
    fabric.destroy("shop")

    assert all(reached)
    assert again == ()
    assert differences(before, host_state()) == []


@pytest.mark.usefixtures("nic")
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("word", "feature"), [("br7", FILTERING), ("ens1", TAGGING)])
def test_what_this_kernel_lacks_is_told_before_anything_is_made(
    word: str, feature: str, dry_run: bool
) -> None:
    skip_with(feature)
    before = host_state()

    with pytest.raises(NetfabError) as caught:
        attach(word, BLUE, "198.51.100.3/24", "@20", dry_run=dry_run)

    assert str(caught.value) == f"VLAN 20 on {word}: this kernel lacks {feature}"
    assert adhoc.attachments() == []
    assert differences(before, host_state()) == []


@pytest.mark.usefixtures("nic")
@pytest.mark.parametrize(
    ("text", "link"), [(TRUNK, r"ens1\.20"), (SHARED, r"eth0\.10 of r")], ids=["a NIC", "cables"]
)
def test_what_this_kernel_lacks_for_a_topology_is_told_before_anything_is_made(
    tmp_path: Path, text: str, link: str
) -> None:
    skip_with(TAGGING)
    file = tmp_path / "shop.yaml"
    file.write_text(text)
    before = host_state()

    with pytest.raises(NetfabError, match=f"vlan {link}: this kernel lacks 802.1q"):
        fabric.apply(fabric.load(str(file)), str(file))

    assert fabric.records() == []
    assert differences(before, host_state()) == []


@pytest.mark.usefixtures("guests")
def test_the_vlan_that_a_bridge_has_anyway_needs_nothing() -> None:
    attach("br7", BLUE, "10.7.0.2/24", "@1")
    attach("br7", RED, "10.7.0.3/24")

    assert reaches("blue", "red", "10.7.0.3")


@pytest.mark.usefixtures("nic")
def test_a_nic_is_moved_with_all_its_vlans_or_not_at_all() -> None:
    request = adhoc.request_of("ens1", BLUE, ["198.51.100.3/24", "@20"], "eth1", moves=True)

    with pytest.raises(NetfabError, match="--direct-phys moves the NIC with all its VLANs"):
        adhoc.attach(request)
