"""attach on bridges of a real Open vSwitch, which switches by itself; and what is refused without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from signal import SIGALRM
from subprocess import CompletedProcess
from typing import Any

import openvswitch
import pytest
from kills import is_killed
from machine import differences
from openvswitch import vsctl
from shop import topology
from test_attach import addresses, attach, attributes, host_state, ip
from test_nics import reaches

from netfab import fabric
from netfab.errors import ForeignObject, NetfabError, NoAnswer
from netfab.imperative import adhoc, uplink
from netfab.kernel import openvswitch as kernel
from netfab.kernel.openvswitch import datapath

BLUE, RED = "netns:blue", "netns:red"
WORDS = ("10.7.0.2/24", "@20")
SHOP = """
name: shop
networks: {back: {bridge: sw1, external: true, subnet: 10.55.0.0/24, gateway: none%s}}
nodes: {web: {networks: [back]}, db: {networks: [back]}}
"""


@pytest.fixture
def switch(sandbox: None) -> None:
    """Open vSwitch, and two guests."""
    openvswitch.start()
    ip("netns", "add", "blue")
    ip("netns", "add", "red")


@pytest.fixture
def others(switch: None) -> str:
    """A bridge of somebody else, by a name that tells nothing."""
    vsctl("add-br", "sw1", "--", "set", "Bridge", "sw1", "datapath_type=netdev")
    return "sw1"


def state() -> dict[str, frozenset[object]]:
    """All that a command could leave something in. Its own kernel-side link comes and goes with it."""
    return host_state() | {"switch": frozenset(vsctl("show").splitlines())}


def ports() -> list[tuple[str, Any]]:
    """(bridge, tag) of each port that is ours."""
    marked = 'external_ids:netfab="adhoc"'
    names = vsctl("--bare", "--columns=name", "find", "Port", marked).split()
    return sorted((vsctl("port-to-br", name), vsctl("get", "Port", name, "tag")) for name in names)


@pytest.mark.usefixtures("switch")
def test_guests_of_one_vlan_reach_each_other_on_a_new_bridge() -> None:
    attach("ovs0", BLUE, "10.7.0.2/24", "@20")
    attach("ovs0", RED, "10.7.0.3/24", "@20")

    assert reaches("blue", "red", "10.7.0.3")
    assert ports() == [("ovs0", "20"), ("ovs0", "20")]


@pytest.mark.usefixtures("switch")
def test_an_address_is_one_guests_in_each_vlan() -> None:
    attach("ovs0", BLUE, "10.7.0.2/24", "@20")
    attach("ovs0", RED, "10.7.0.2/24", "@30")

    with pytest.raises(NetfabError, match=r"10\.7\.0\.2 on ovs0 is eth1 of"):
        attach("ovs0", RED, "10.7.0.2/24", "@20", interface="eth2")


@pytest.mark.usefixtures("switch")
def test_the_same_again_changes_nothing_and_detach_leaves_nothing() -> None:
    before = state()
    attach("ovs0", BLUE, *WORDS)
    again = attach("ovs0", BLUE, *WORDS)

    adhoc.detach("ovs0", BLUE)

    assert again.changes == ()
    assert differences(before, state()) == []


@pytest.mark.usefixtures("switch")
def test_another_vlan_is_set_in_place() -> None:
    attach("ovs0", BLUE, "10.7.0.2/24", "@20")

    changes = attach("ovs0", BLUE, "10.7.0.2/24", "@30", replace=True).changes

    assert [(change.action, change.why) for change in changes] == [("update", "vlan 20 -> 30")]
    assert ports() == [("ovs0", "30")]


def test_a_bridge_of_somebody_else_takes_attachments_and_stays_as_it_is(others: str) -> None:
    ip("link", "set", others, "addrgenmode", "none")
    ip("link", "set", others, "up")
    ip("address", "add", "10.9.0.1/22", "dev", others)
    before = state(), attributes(others)

    attach(others, BLUE, "10.9.3.7")
    inside, there = addresses("blue"), ports()
    adhoc.detach(others, BLUE)

    assert (inside, there) == (["10.9.3.7/22"], [(others, "[]")])
    assert differences(before[0], state()) == []
    assert attributes(others) == before[1]


def test_no_nic_is_lent_to_a_bridge_of_it_be_that_up_or_not(others: str) -> None:
    refused = "sw1 is a bridge of Open vSwitch, to which netfab lends no NIC yet"
    with pytest.raises(NetfabError, match=refused):
        uplink.uplink(others, "ens1")
    ip("link", "set", others, "up")
    with pytest.raises(NetfabError, match=refused):
        uplink.uplink(others, "ens1")


@pytest.mark.usefixtures("switch")
def test_a_port_that_others_took_away_is_drift_and_repaired() -> None:
    attach("ovs0", BLUE, *WORDS)
    attach("ovs0", RED, "10.7.0.3/24", "@20")
    for port in vsctl("list-ports", "ovs0").split():
        vsctl("del-port", port)

    drift = fabric.drift("adhoc")
    adhoc.reconcile("adhoc")

    assert [str(change.object).split()[0] for change in drift] == ["ovs-port"] * 2
    assert reaches("blue", "red", "10.7.0.3")


@pytest.mark.usefixtures("switch")
def test_a_guest_that_is_gone_leaves_no_port() -> None:
    attach("ovs0", RED, "10.7.0.3/24", "@30")
    attach("ovs0", BLUE, *WORDS)
    ip("netns", "delete", "blue")

    adhoc.detach("ovs0", BLUE)

    assert ports() == [("ovs0", "30")]


@pytest.mark.usefixtures("switch")
def test_a_restarted_guest_is_attached_again() -> None:
    attach("ovs0", RED, "10.7.0.3/24", "@20")
    attach("ovs0", BLUE, *WORDS)
    ip("netns", "delete", "blue")
    ip("netns", "add", "blue")

    adhoc.reconcile("adhoc")

    assert reaches("red", "blue", "10.7.0.2")


@pytest.mark.usefixtures("switch")
def test_a_port_of_somebody_else_keeps_a_bridge_that_attach_made() -> None:
    attach("ovs0", BLUE, *WORDS)
    ip("link", "add", "mine", "type", "veth", "peer", "name", "other")
    vsctl("add-port", "ovs0", "mine")

    adhoc.detach("ovs0", BLUE)
    with pytest.raises(ForeignObject, match="mine, a port that netfab did not make"):
        fabric.destroy("adhoc")

    assert vsctl("list-ports", "ovs0") == "mine"


@pytest.mark.usefixtures("switch")
@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_a_kill_at_any_step_is_cleaned_by_detach(verb: str) -> None:
    before = state()
    step, killed = 0, True
    while killed:
        step += 1
        if verb == "attach":
            killed = is_killed(step, lambda where: attach("ovs0", BLUE, *WORDS, where=where))
        else:
            attach("ovs0", BLUE, *WORDS)
            killed = is_killed(step, lambda where: adhoc.detach("ovs0", BLUE, where=where))
        adhoc.detach("ovs0", BLUE)
        assert differences(before, state()) == [], step
    assert step > 2


def test_without_open_vswitch_it_is_refused_before_anything_is_made() -> None:
    ip("netns", "add", "blue")
    before = host_state()

    with pytest.raises(
        NetfabError, match="ovs0 is to be a bridge of Open vSwitch: Open vSwitch does not run here"
    ):
        attach("ovs0", BLUE, *WORDS)

    assert differences(before, host_state()) == []


@pytest.mark.usefixtures("switch")
def test_while_it_does_not_switch_nothing_is_attached_and_what_is_can_be_detached() -> None:
    attach("ovs0", BLUE, *WORDS)
    openvswitch.stop_switching()

    with pytest.raises(NetfabError, match="Open vSwitch does not run here"):
        attach("ovs0", RED, "10.7.0.3/24")
    adhoc.detach("ovs0", BLUE)

    assert adhoc.attachments() == []
    assert vsctl("--no-wait", "list-br") == ""


@pytest.mark.usefixtures("switch")
def test_while_it_is_silent_nothing_on_it_is_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    attach("ovs0", BLUE, *WORDS)
    monkeypatch.setattr(kernel, "_silent_until", 0.0)
    with openvswitch.silent(), monkeypatch.context() as patched:
        patched.setattr(kernel, "TIMEOUT", 1)
        with pytest.raises(NoAnswer) as silence:
            kernel.read()
        patched.setattr(kernel, "_run", lambda words, **_: CompletedProcess(words, -SIGALRM, "", ""))
        asked: tuple[Callable[[], object], ...] = (
            lambda: fabric.drift("adhoc"),
            lambda: adhoc.detach("ovs0", BLUE),
            lambda: attach("ovs1", RED, "10.7.0.3/24"),
        )
        for asking in asked:
            with pytest.raises(NetfabError, match="gives no answer"):
                asking()

    adhoc.detach("ovs0", BLUE)

    assert silence.value.message == "/run/openvswitch/db.sock gives no answer within 1 s"
    assert vsctl("list-br") == ""


@pytest.mark.usefixtures("switch")
def test_one_that_was_silent_is_not_waited_for_as_long_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, silent = tmp_path / "asked", tmp_path / "ovs-vsctl"
    silent.write_text(f"#!/bin/sh\necho $1 >> {asked}\nkill -ALRM $$\n")
    silent.chmod(0o755)
    monkeypatch.setattr(kernel, "_silent_until", 0.0)
    monkeypatch.setattr(kernel, "PROGRAMS", (str(silent),))

    fabric.apply(*topology(tmp_path))
    with pytest.raises(NoAnswer) as silence:
        kernel.read()

    assert silence.value.message.endswith("gives no answer within 1 s")
    first, *others = asked.read_text().split()
    assert first == "--timeout=10"
    assert set(others) == {"--timeout=1"}


@pytest.mark.usefixtures("switch")
def test_without_its_module_and_without_checksums_no_bridge_is_made() -> None:
    vsctl("clear", "Open_vSwitch", ".", "other_config")
    if datapath() == "system":
        pytest.skip("this kernel has the module openvswitch")

    with pytest.raises(NetfabError, match="passes TCP between guests only with userspace-tso-enable"):
        attach("ovs0", BLUE, *WORDS)

    assert vsctl("list-br") == ""


def test_a_topology_has_nodes_on_it_that_know_that_nothing_keeps_them_to_their_addresses(
    others: str, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP % "")
    with pytest.raises(NetfabError, match="sw1 is a bridge of Open vSwitch, where netfab can't keep a port"):
        fabric.apply(fabric.load(str(file)), str(file))
    before = state()

    file.write_text(SHOP % ", spoof: allow")
    fabric.apply(fabric.load(str(file)), str(file))
    reached = reaches("shop.web", "shop.db", "10.55.0.3")
    fabric.destroy("shop")

    assert reached
    assert differences(before, state()) == []
