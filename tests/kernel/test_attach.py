"""attach and detach, on real bridges and in real namespaces that netfab did not make."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from kills import is_killed
from machine import differences, snapshot
from pyroute2 import IPRoute, NetNS

from netfab import fabric
from netfab.errors import AddressTaken, ForeignObject, NetfabError
from netfab.guests import opening
from netfab.guests.namespaces import open_bound
from netfab.imperative import adhoc
from netfab.objects.base import Fabric
from netfab.objects.guest import Guest
from netfab.store.public import PublicView
from netfab.system import linux
from netfab.topology.load import load
from netfab.topology.pipework import NoNetmask

SHOP = """
name: shop
networks: {back: {bridge: br0, subnet: 10.55.0.0/24}}
nodes: {web: {networks: [back]}}
"""


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def netns(name: str) -> Iterator[NetNS]:
    with NetNS(name) as inside:
        yield inside


@pytest.fixture
def blue() -> str:
    """A guest with a default route of its own."""
    ip("netns", "add", "blue")
    ip("-n", "blue", "link", "set", "lo", "up")
    ip("-n", "blue", "route", "add", "default", "via", "127.0.0.9", "dev", "lo")
    return "netns:blue"


def host_state() -> dict[str, frozenset[object]]:
    """All that a command could leave something in, but for the store, which stays."""
    return snapshot() | {"/var/lib/netfab": frozenset()}


def attach(bridge: str, guest: str, *words: str, **options: Any) -> adhoc.Outcome:
    named = {"interface": "eth1", "host_link": "", "family": "", "mtu": 0, "rate": ""}
    request = adhoc.request_of(
        bridge, guest, words, **(named | {k: v for k, v in options.items() if k in named})
    )
    return adhoc.attach(request, **{k: v for k, v in options.items() if k not in named})


def addresses(guest: str, link: str = "eth1") -> list[str]:
    with netns(guest) as inside:
        found = inside.get_addr(index=inside.link_lookup(ifname=link)[0])
        return sorted(f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}" for a in found)


def attributes(link: str) -> list[Any]:
    """What netfab could have changed of somebody else's link."""
    (found,) = json.loads(ip("-j", "-d", "-4", "address", "show", link))
    held = [(one["local"], one["prefixlen"]) for one in found["addr_info"]]
    return [*(found.get(key) for key in ("ifname", "mtu", "group", "ifalias")), held]


def gateways(guest: str) -> list[str]:
    """Of the default routes, in the order in which they count."""
    return [line.split()[2] for line in ip("-n", guest, "route", "show", "default").splitlines()]


@pytest.mark.parametrize("name", ["br%d", "bad name!", "a-name-that-is-too-long", "..", "lo", ""])
def test_a_bridge_has_a_name_that_an_interface_can_have(name: str) -> None:
    before = host_state()

    with pytest.raises(NetfabError) as refused:
        adhoc.create_bridge(name)

    assert not refused.value.undone, "it was made, and taken back"
    assert differences(before, host_state()) == []


def test_an_mtu_too_small_for_ipv6_does_for_ipv4(blue: str) -> None:
    attach("br1", blue, "10.0.0.2/24", mtu=600)

    assert "mtu 600" in ip("-n", "blue", "link", "show", "eth1")
    assert addresses("blue") == ["10.0.0.2/24"]


@pytest.mark.parametrize("mtu", [0, 600])
def test_an_ipv6_address_on_a_bridge_with_too_small_an_mtu_is_refused(blue: str, mtu: int) -> None:
    ip("link", "add", "br1", "mtu", "600", "type", "bridge")

    with pytest.raises(NetfabError, match=r"at least 1280 .*, not 600, which netns:blue has on br1"):
        attach("br1", blue, "fd00::2/64", mtu=mtu)


def test_a_guest_gets_an_interface_on_a_new_bridge(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")

    assert addresses("blue") == ["10.7.0.2/24"]
    with IPRoute() as host:
        (bridge,) = host.link_lookup(ifname="br7")
        assert len(host.get_links(master=bridge)) == 1


def test_the_same_again_changes_nothing(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")

    assert attach("br7", blue, "10.7.0.2/24").changes == ()


def test_detach_leaves_everything_as_it_was(blue: str) -> None:
    routes = ip("-n", "blue", "route", "show", "table", "all")
    before = host_state()
    attach("br7", blue, "10.7.0.2/24@10.7.0.1", "fd00::2/64@fd00::1")

    adhoc.detach("br7", "blue")

    assert (
        differences(
            {**before, "/var/lib/netfab": frozenset()}, {**snapshot(), "/var/lib/netfab": frozenset()}
        )
        == []
    )
    assert ip("-n", "blue", "route", "show", "table", "all") == routes
    assert ip("-n", "blue", "-o", "link").count("\n") == 1


def test_our_default_route_is_in_front_of_the_guests_own_and_the_last_one_counts(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24@10.7.0.1")
    first = gateways("blue")
    attach("br7", blue, "10.8.0.2/24@10.8.0.1", interface="eth2")

    assert (first, gateways("blue")) == (["10.7.0.1", "127.0.0.9"], ["10.8.0.1", "127.0.0.9"])

    adhoc.detach("br7", blue, "eth2")

    assert gateways("blue") == ["10.7.0.1", "127.0.0.9"]


def listen(guest: str, link: str) -> socket.socket:
    """All frames that come to a guest's interface."""
    with inside(guest):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        wire.bind((link, 0))
    wire.settimeout(60)
    return wire


@contextmanager
def inside(guest: str) -> Iterator[None]:
    """This thread in a guest's network."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{guest}", os.O_RDONLY)
    linux.setns(there, linux.CLONE_NEWNET)
    try:
        yield
    finally:
        linux.setns(home, linux.CLONE_NEWNET)
        os.close(there)
        os.close(home)


def test_neighbours_hear_of_new_addresses_of_both_families(blue: str) -> None:
    ip("netns", "add", "red")
    attach("br7", "netns:red", "10.7.0.3/24")
    mac = bytes.fromhex("02726ccd9b8d")
    arp = b"\xff" * 6 + mac + b"\x08\x06"
    advertisement = bytes.fromhex("333300000001") + mac + b"\x86\xdd"
    heard: set[str] = set()
    with listen("red", "eth1") as wire:
        attach("br7", blue, "10.7.0.2/24", "fd00:7::2/64", "U:myhost.foo.com")

        while heard != {"ARP", "NA"}:
            frame = wire.recv(2000)
            if frame.startswith(arp) and frame[28:32] == bytes((10, 7, 0, 2)) == frame[38:42]:
                heard.add("ARP")
            if frame.startswith(advertisement) and frame[54] == 136 and frame[62:78] == packed("fd00:7::2"):
                heard.add("NA")


def packed(address: str) -> bytes:
    return ip_address(address).packed


def test_a_gateway_outside_the_subnet_works(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24@192.168.9.9", "fd00::2/64@fd99::1")

    assert gateways("blue")[0] == "192.168.9.9"
    assert "fd99::1 dev eth1" in ip("-n", "blue", "-6", "route")


def test_nothing_is_up_without_an_address_but_the_link(blue: str) -> None:
    attach("br7", blue, "0/0")

    assert addresses("blue") == []
    assert "state UP" in ip("-n", "blue", "link", "show", "eth1")


def test_a_bridge_that_was_there_stays_as_it_is_and_gives_its_mtu_and_netmask(blue: str) -> None:
    ip("link", "add", "br9", "type", "bridge")
    ip("link", "set", "br9", "mtu", "1400", "up")
    ip("address", "add", "10.9.0.1/22", "dev", "br9")
    before = attributes("br9")

    attach("br9", blue, "10.9.3.7@10.9.0.1")
    inside = ip("-n", "blue", "link", "show", "eth1"), addresses("blue")
    adhoc.detach("br9", blue)

    assert "mtu 1400" in inside[0]
    assert inside[1] == ["10.9.3.7/22"]
    assert attributes("br9") == before


def test_a_bridge_without_an_address_gives_the_netmask_of_its_network(blue: str) -> None:
    text = b"name: shop\nnetworks: {lan: {subnet: 10.55.0.0/22, gateway: none}}\nnodes: {}\n"
    fabric.apply(load(text, "shop.yaml", "/", {}, None), "shop.yaml")

    attach("br-lan", blue, "10.55.3.9@10.55.0.1")

    assert addresses("blue") == ["10.55.3.9/22"]


def test_no_netmask_is_refused_before_anything_is_made(blue: str) -> None:
    before = host_state()

    with pytest.raises(NoNetmask):
        attach("br7", blue, "10.7.0.2")

    assert (
        differences(before | {"/var/lib/netfab": frozenset()}, snapshot() | {"/var/lib/netfab": frozenset()})
        == []
    )


def test_another_request_for_the_same_interface_is_refused_until_it_is_to_replace(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")

    with pytest.raises(NetfabError, match="attached already") as refused:
        attach("br7", blue, "10.7.0.3/24")
    attach("br7", blue, "10.7.0.3/24", replace=True)

    assert "--replace" in refused.value.hint
    assert addresses("blue") == ["10.7.0.3/24"]


def test_an_interface_that_somebody_else_made_is_in_the_way(blue: str) -> None:
    ip("-n", "blue", "link", "add", "eth1", "type", "bridge")

    with pytest.raises(ForeignObject, match="eth1"):
        attach("br7", blue, "10.7.0.2/24")

    assert "br7" not in ip("link")
    assert adhoc.attachments() == []


def test_an_address_is_one_guests(blue: str) -> None:
    ip("netns", "add", "red")
    attach("br7", blue, "10.7.0.2/24")

    with pytest.raises(AddressTaken, match="eth1 of blue"):
        attach("br7", "netns:red", "10.7.0.2/24")


def test_what_is_attached_to_a_gone_guest_can_be_detached(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")
    ip("netns", "delete", "blue")

    adhoc.detach("br7", "blue")

    assert adhoc.attachments() == []
    assert "br7" not in ip("link")


def test_a_gone_guest_is_forgotten_by_the_next_command(blue: str) -> None:
    ip("netns", "add", "red")
    attach("br7", blue, "10.7.0.2/24")
    ip("netns", "delete", "blue")

    attach("br7", "netns:red", "10.7.0.3/24")

    assert [one.guest for one in adhoc.attachments()] == ["netns:red"]


def test_a_guest_is_opened_once_to_look_for_it_and_once_to_work_in_it(
    blue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach("br7", blue, "10.7.0.2/24")
    opened: list[str] = []
    monkeypatch.setattr(opening, "open_bound", lambda path: opened.append(path) or open_bound(path))

    attach("br7", blue, "10.7.0.3/24", interface="eth2")

    assert opened == ["/run/netns/blue"] * len(opened)
    assert len(opened) == 3  # its states are asked for first, and then those that the plan needs
    assert addresses("blue", "eth2") == ["10.7.0.3/24"]


def test_reconcile_attaches_a_restarted_guest_again(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")
    ip("netns", "delete", "blue")
    ip("netns", "add", "blue")

    adhoc.reconcile("adhoc")

    assert addresses("blue") == ["10.7.0.2/24"]


def test_reconcile_tells_everybody_of_a_topologys_guest_as_it_runs_now(blue: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP.replace("nodes: {", f"nodes: {{legacy: {{attach: '{blue}', networks: [back]}}, "))
    fabric.apply(fabric.load(str(file)), str(file))
    ip("netns", "delete", "blue")
    ip("netns", "add", "blue")

    fabric.reconcile("shop")

    (published,) = PublicView("/run/netfab").records()
    (guest,) = Fabric.from_json(published.desired, [Guest]).values()
    assert guest.started == str(os.stat("/run/netns/blue").st_ino)


def test_some_nodes_can_be_applied_although_the_guest_of_another_does_not_run(
    blue: str, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    guests = f"legacy: {{attach: '{blue}', networks: [back]}}, old: {{attach: 'netns:red', networks: [back]}}"
    file.write_text(SHOP.replace("nodes: {", f"nodes: {{{guests}, "))

    fabric.apply(fabric.load(str(file)), str(file), only=["legacy"])
    first = addresses("blue")
    ip("netns", "add", "red")
    fabric.apply(fabric.load(str(file)), str(file), only=["old"])
    ip("netns", "delete", "blue")
    fabric.apply(fabric.load(str(file)), str(file), only=["web"])

    assert first == ["10.55.0.2/24"]
    assert addresses("red") == ["10.55.0.3/24"]
    assert addresses("shop.web", "eth0") == ["10.55.0.4/24"]
    assert [str(change.object) for change in fabric.drift("shop")] == ["guest netns:blue"]


def test_a_guest_that_is_gone_from_the_file_gets_its_network_back_when_it_is_named(
    blue: str, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    attached = f"legacy: {{attach: '{blue}', networks: {{back: {{gateway: true}}}}}}, "
    file.write_text(SHOP.replace("nodes: {", "nodes: {" + attached))
    fabric.apply(fabric.load(str(file)), str(file))
    file.write_text(SHOP)

    fabric.apply(fabric.load(str(file)), str(file), only=["web"])
    kept = gateways("blue")
    fabric.apply(fabric.load(str(file)), str(file), only=["legacy"])

    assert kept == ["10.55.0.1", "127.0.0.9"]
    assert gateways("blue") == ["127.0.0.9"]
    assert list(fabric.status("shop")["nodes"]) == ["web"]


@pytest.mark.parametrize(
    "damage",
    [
        ("-n", "blue", "link", "set", "eth1", "down"),
        ("-n", "blue", "address", "flush", "dev", "eth1"),
        ("-n", "blue", "link", "delete", "eth1"),
        ("-n", "blue", "link", "set", "eth1", "mtu", "1300"),
        ("link", "delete", "br7"),
    ],
    ids=lambda words: words[-1],
)
def test_damage_is_drift_and_repaired(blue: str, damage: tuple[str, ...]) -> None:
    attach("br7", blue, "10.7.0.2/24@10.7.0.1")
    ip(*damage)

    drift = fabric.drift("adhoc")
    adhoc.reconcile("adhoc")

    assert drift != ()
    assert fabric.drift("adhoc") == ()


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_a_kill_at_any_step_is_cleaned_by_detach(blue: str, verb: str) -> None:
    words = "br7", blue, "10.7.0.2/24@10.7.0.1"
    before = host_state()
    step, killed = 0, True
    while killed:
        step += 1
        if verb == "detach":
            attach(*words)
            killed = is_killed(step, lambda where: adhoc.detach("br7", blue, where=where))
        else:
            killed = is_killed(step, lambda where: attach(*words, where=where))
        adhoc.detach("br7", blue)
        assert differences(before, host_state()) == [], step
    assert step > 1


def test_addresses_of_attachments_and_of_nodes_are_kept_apart(blue: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    fabric.apply(fabric.load(str(file)), str(file))
    with pytest.raises(AddressTaken, match="node web of fabric shop"):
        attach("br0", blue, "10.55.0.2")
    with pytest.raises(AddressTaken, match="gateway of network back"):
        attach("br0", blue, "10.55.0.1")
    attach("br0", blue, "10.55.0.3")

    file.write_text(SHOP.replace("nodes: {", "nodes: {db: {networks: [back]}, "))
    plan, _ = fabric.apply(fabric.load(str(file)), str(file))

    assert [str(nic.addresses[0]) for nic in plan.layout.nics["db"]] == ["10.55.0.4/24"]


def test_a_fabric_whose_bridge_holds_attachments_is_destroyed_by_force_only(
    blue: str, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    fabric.apply(fabric.load(str(file)), str(file))
    attach("br0", blue, "10.55.0.3")

    with pytest.raises(ForeignObject, match=r"adhoc\.netns:blue/eth1"):
        fabric.destroy("shop")
    adhoc.destroy("shop")

    assert adhoc.attachments() == []
    assert ip("-o", "link").count("\n") == 1


def test_a_foreign_port_on_a_bridge_that_attach_made_keeps_it(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")
    ip("link", "add", "mine", "type", "veth", "peer", "name", "other")
    ip("link", "set", "mine", "master", "br7")

    adhoc.detach("br7", blue)

    assert "master br7" in ip("link", "show", "mine")


def test_a_new_bridge_is_made_as_docker_makes_docker0(blue: str) -> None:
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
    ip("link", "set", "wan0", "up")
    ip("address", "add", "10.0.0.9/23", "dev", "wan0")

    adhoc.create_bridge("docker0")
    again = adhoc.create_bridge("docker0")

    assert "inet 10.0.2.1/24" in ip("address", "show", "docker0")
    assert again.changes == ()


def test_a_bridge_of_somebody_else_is_left_as_it_is() -> None:
    ip("link", "add", "docker0", "type", "bridge")
    before = ip("-d", "link", "show", "docker0")

    adhoc.create_bridge("docker0")

    assert ip("-d", "link", "show", "docker0") == before


def test_a_bridge_in_use_is_not_deleted_and_goes_when_it_is_not(blue: str) -> None:
    adhoc.create_bridge("docker0")
    attach("docker0", blue, "10.0.0.2@10.0.0.1")

    with pytest.raises(NetfabError, match="eth1 of blue"):
        adhoc.delete_bridge("docker0")
    adhoc.detach("docker0", blue)
    adhoc.delete_bridge("docker0")

    assert "docker0" not in ip("link")


def test_a_node_of_ours_is_a_guest_like_any_other(blue: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    fabric.apply(fabric.load(str(file)), str(file))

    attach("br7", "netns:shop.web", "10.7.0.2/24")

    assert addresses("shop.web") == ["10.7.0.2/24"]
    assert fabric.drift("shop") == ()
    assert fabric.apply(fabric.load(str(file)), str(file))[1].changes == ()


def _attach_in_a_process(bridge: str, guest: str, address: str, interface: str) -> str:
    try:
        attach(bridge, guest, address, interface=interface)
    except NetfabError as error:
        return str(error)
    return ""


def test_eight_attaches_to_one_guest_at_once_all_succeed(blue: str) -> None:
    with get_context("fork").Pool(8) as pool:
        said = pool.starmap(
            _attach_in_a_process, [("br7", blue, f"10.7.{n}.2/24", f"eth{n}") for n in range(1, 9)]
        )

    assert said == [""] * 8
    assert len(ip("-n", "blue", "-o", "link").splitlines()) == 9


def test_sixteen_guests_race_for_a_new_bridge_and_all_win() -> None:
    for n in range(16):
        ip("netns", "add", f"g{n}")
    with get_context("fork").Pool(8) as pool:
        said = pool.starmap(
            _attach_in_a_process, [("brnew", f"netns:g{n}", f"10.7.0.{n + 2}/24", "eth1") for n in range(16)]
        )

    assert said == [""] * 16
    assert len(ip("-o", "link", "show", "master", "brnew").splitlines()) == 16


def test_a_rate_is_kept_by_the_guests_end_and_changes_in_place(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24", rate="10mbit")
    first = qdiscs("blue")
    attach("br7", blue, "10.7.0.2/24", rate="80gbit", replace=True)

    assert "tbf" in first
    assert "rate 10Mbit" in first
    assert "rate 80Gbit" in qdiscs("blue")


def test_the_lowest_rate_there_is_can_be_kept(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24", rate="1bit")

    assert "rate 8bit" in qdiscs("blue")


def qdiscs(guest: str) -> str:
    command = ["tc", "-n", guest, "qdisc", "show", "dev", "eth1"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_guest_that_is_gone_is_told_by_the_command_that_forgets_it(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")
    ip("netns", "delete", "blue")

    assert [one.title for one in adhoc.reconcile("adhoc").gone] == ["blue"]
    assert adhoc.reconcile("adhoc").gone == ()


def test_detach_from_a_guest_that_nobody_knows_is_fine(blue: str) -> None:
    attach("br7", blue, "10.7.0.2/24")

    assert adhoc.detach("br7", "netns:bl").attachments == ()
    assert adhoc.detach("br7", "pid:999999999").attachments == ()
    assert len(adhoc.attachments()) == 1
