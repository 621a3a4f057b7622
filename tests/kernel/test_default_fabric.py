"""`netfab run` and `rm` as changes of the fabric `default`: undone, killed, repaired like any other's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from kills import is_killed
from machine import differences, snapshot

from netfab import fabric
from netfab.errors import ContainerFailed, NetfabError
from netfab.imperative import adhoc, containers
from netfab.runtime.paths import Paths
from netfab.runtime.status import status
from netfab.system.process import user_namespace_is_initial
from netfab.topology.default import NAME, Wanted, on_its_network
from netfab.where import HERE

pytestmark = pytest.mark.skipif(not user_namespace_is_initial(), reason="the commands need root")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    fabric.destroy(NAME)


def wanted(name: str = "web", *argv: str, **keys: object) -> Wanted:
    return Wanted(name, {**on_its_network({}), **keys}, "host", "host", argv or ("sleep", "1000"))


def states() -> dict[str, str]:
    return {name: one.state for name, one in status(Paths(NAME, HERE.run, HERE.state)).items()}


@pytest.mark.parametrize("verb", ["run", "rm"])
def test_a_kill_at_any_step_is_cleaned_by_rm(verb: str) -> None:
    containers.run(wanted())
    containers.remove(["web"], force=True)
    before = snapshot()
    step, killed = 0, True
    while killed:
        step += 1
        if verb == "rm":
            containers.run(wanted())
            killed = is_killed(step, lambda where: containers.remove(["web"], where, force=True))
        else:
            killed = is_killed(step, lambda where: containers.run(wanted(), where))
        if containers.titles():
            containers.remove(["web"], force=True)
        fabric.destroy(NAME)
        assert differences(before, snapshot()) == [], step
    assert step > 5


def test_a_program_that_can_not_start_leaves_what_was_there_as_it_was() -> None:
    containers.run(wanted("one"))
    before = snapshot()

    with pytest.raises(ContainerFailed) as failure:
        containers.run(wanted("two", "/nonexistent"))

    assert (failure.value.exit_code, failure.value.undone) == (127, True)
    assert differences(before, snapshot()) == []
    assert states() == {"one": "running"}


def test_damage_is_drift_and_repaired_and_ended_containers_are_left_alone() -> None:
    containers.run(wanted("one"))
    containers.run(wanted("two", "false", restart="no"))
    while states()["two"] != "exited":
        continue
    assert adhoc.drift(NAME) == ()
    subprocess.run(["ip", "link", "delete", "netfab0"], check=True)

    assert adhoc.drift(NAME) != ()
    adhoc.reconcile(NAME)
    assert adhoc.drift(NAME) == ()
    assert states() == {"one": "running", "two": "exited"}


def test_that_it_is_of_no_file_is_said() -> None:
    containers.run(wanted())

    with pytest.raises(NetfabError, match="fabric default is of no file"):
        fabric.topology_of(NAME)


def test_another_way_out_of_the_host_is_drift_and_repaired() -> None:
    containers.run(wanted())
    assert adhoc.drift(NAME) == ()
    for words in (
        "link add up0 type veth peer name far",
        "address add 198.51.100.2/24 dev up0",
        "link set far up",
        "link set up0 up",
        "route replace default via 198.51.100.1",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    try:
        named = [str(change.object) for change in adhoc.drift(NAME)]
        repaired = [str(change.object) for change in adhoc.reconcile(NAME).changes]

        assert named == repaired == ["firewall inet netfab-default", "sysctl net/ipv4/conf/up0/forwarding"]
        assert adhoc.drift(NAME) == ()
    finally:
        subprocess.run(["ip", "link", "delete", "up0"], check=True)


def test_a_network_that_others_need_is_not_removed_alone() -> None:
    containers.run(wanted("one"))
    containers.run(Wanted("two", {"mode": "container:one"}, "host", "host", ("sleep", "1000"), network=""))

    with pytest.raises(NetfabError, match="two has the network of one"):
        containers.remove(["one"], force=True)

    containers.remove(["one", "two"], force=True)
    assert states() == {}
