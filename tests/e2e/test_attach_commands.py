"""What attach, detach and their kin say: one line of what was done, and of guests that are gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Lab


@pytest.fixture
def blue(lab: Lab) -> Lab:
    lab.shell("ip netns add blue; ip link add br1 type bridge; ip link set br1 up")
    return lab


@pytest.fixture
def process(blue: Lab) -> Iterator[str]:
    """`pid:N` of a process with a network of its own."""
    started = blue.start("unshare", "--net", "sh", "-c", "echo $$; read end")
    assert started.stdout is not None
    yield f"pid:{started.stdout.readline().strip()}"
    started.communicate("")


def end(lab: Lab, process: str) -> None:
    lab.kill(process[4:])


def test_what_was_attached_and_detached_is_told_unless_it_is_to_be_quiet(blue: Lab) -> None:
    attached = blue.netfab("attach", "br1", "netns:blue", "10.7.0.2/24")
    again = blue.netfab("attach", "br1", "netns:blue", "10.7.0.2/24")
    detached = blue.netfab("detach", "br1", "blue")
    quiet = blue.netfab("--quiet", "attach", "br1", "blue", "10.7.0.2/24")

    assert attached[1:] == ("", "eth1 of blue is attached to br1, 10.7.0.2/24.\n")
    assert again[1:] == ("", "No changes. eth1 of blue is attached to br1, 10.7.0.2/24.\n")
    assert detached[1:] == ("", "eth1 of blue is detached from br1.\n")
    assert quiet[1:] == ("", "")


def test_a_guest_is_looked_into_by_the_name_that_status_has(blue: Lab) -> None:
    blue.netfab("attach", "br1", "netns:blue", "10.7.0.2/24")

    assert "10.7.0.2/24" in blue.netfab("exec", "blue", "ip", "-4", "addr").out
    assert "hint: there is lo, eth1" in blue.netfab("capture", "blue:eth7", code=1).err
    answer = blue.netfab("why", "blue", "host", code=1).out
    assert "the host has no address on any network of this fabric" in answer


def test_a_bridge_that_is_made_or_taken_away_is_told(lab: Lab) -> None:
    assert lab.netfab("bridge", "create", "br9").err == "br9 is there, with 10.0.0.1/24.\n"
    assert lab.netfab("bridge", "create", "br9").err == "No changes. br9 is there, with 10.0.0.1/24.\n"
    assert lab.netfab("bridge", "delete", "br9").err == "br9 is gone.\n"


def test_a_guest_that_is_gone_is_listed_as_such_and_named_when_it_is_forgotten(
    blue: Lab, process: str
) -> None:
    def states() -> list[str]:
        return [each["state"] for each in blue.netfab("attachments", "-o", "json").json["attachments"]]

    blue.netfab("attach", "br1", process, "10.7.0.2/24")
    before = states()
    end(blue, process)
    after = states()

    result = blue.netfab("reconcile", "adhoc")

    assert (before, after) == (["running"], ["gone"])
    assert result.err == f"eth1 of {process} is forgotten: that guest is gone\n"
    assert states() == []


def test_reconcile_says_which_guest_of_a_file_runs_no_more(blue: Lab) -> None:
    blue.write("name: t\nnetworks: {lan: {}}\nnodes: {old: {attach: 'netns:blue', networks: [lan]}}\n")
    blue.netfab("apply")
    blue.shell("ip netns del blue")

    told = "warning: netns:blue no longer runs; `netfab reconcile t` attaches it when it runs again\n"
    assert told in blue.netfab("reconcile", "t").err

    blue.shell("ip netns add blue")
    assert "no longer runs" not in blue.netfab("reconcile", "t").err


@pytest.mark.parametrize("guest", ["process", "netns:blue"])
def test_detach_from_a_guest_that_is_gone_and_forgotten_is_fine(blue: Lab, process: str, guest: str) -> None:
    word = process if guest == "process" else guest
    blue.netfab("attach", "br1", word, "10.7.0.2/24")
    end(blue, process)
    blue.shell("ip netns delete blue")
    blue.netfab("reconcile", "adhoc")

    assert blue.netfab("detach", "br1", word).err == f"Nothing of {word} is attached to br1.\n"


def test_drift_names_the_interface_of_a_guest_that_is_gone(blue: Lab) -> None:
    blue.netfab("attach", "br1", "netns:blue", "10.7.0.2/24")
    holder = blue.start("ip", "netns", "exec", "blue", "sh", "-c", "echo up; read end")  # its veth stays
    assert holder.stdout is not None
    holder.stdout.readline()
    blue.shell("ip netns delete blue")

    drift = blue.netfab("drift", "adhoc", code=2)
    holder.communicate("")

    assert "- veth eth1 of blue\n" in drift.out


def test_a_guest_that_is_gone_with_all_it_had_is_drift_until_it_is_forgotten(blue: Lab, process: str) -> None:
    blue.netfab("attach", "br1", process, "10.7.0.2/24")
    end(blue, process)

    drift = blue.netfab("drift", "adhoc", code=2)
    blue.netfab("reconcile", "adhoc")

    assert f"- guest {process}: it no longer runs\n" in drift.out
    assert blue.netfab("drift", "adhoc").out.startswith("No changes.")


def test_what_is_attached_has_no_file_and_is_drift_of_nothing_when_there_is_none(blue: Lab) -> None:
    nothing = blue.netfab("drift", "adhoc")
    blue.netfab("--state-dir", "/proc/nowhere", "attachments")
    blue.netfab("attach", "br1", "netns:blue", "10.7.0.2/24")
    status = blue.netfab("status", "adhoc")

    assert nothing.out == "No changes. The kernel matches adhoc.\n"
    assert status.out.startswith("fabric adhoc, of `netfab attach`\n")
    assert status.out.splitlines()[2].startswith("blue ")
    assert "fabric adhoc is of no file\n" in blue.netfab("check", "adhoc", code=1).err


def test_nics_that_bridges_have_are_listed_and_told_of_when_they_are_gone(lab: Lab) -> None:
    lab.shell("ip link add ens7 type veth peer name far; ip link set far up; ip link set ens7 up")
    lent = lab.netfab("uplink", "br0", "ens7")
    again = lab.netfab("uplink", "br0", "ens7")
    there = lab.netfab("attachments", "-o", "json").json["uplinks"]
    lab.shell("ip link delete ens7")

    listed = lab.netfab("attachments").out.splitlines()
    repaired = lab.netfab("reconcile", "adhoc")

    assert lent.err == "ens7 is the uplink of br0.\n"
    assert again.err == "No changes. ens7 is the uplink of br0.\n"
    assert there == [{"bridge": "br0", "nic": "ens7", "gone": False}]
    assert listed[1].split() == ["br0", "ens7", "uplink", "gone", "-", "-"]
    assert "warning: ens7, the uplink of br0, is gone from this host" in repaired.err


def test_waiting_for_an_interface_that_does_not_come_says_whether_it_is_there(lab: Lab) -> None:
    said = lab.netfab("attach", "--wait", "-i", "eth9", "--timeout", "0", code=1).err
    assert said == "netfab: error: there is no eth9 here after 0 s\n"

    lab.shell("ip link add eth9 type veth peer name eth8")

    said = lab.netfab("attach", "--wait", "-i", "eth9", "--timeout", "0", code=1).err
    assert said == "netfab: error: eth9 has no carrier after 0 s\n"
    lab.shell("ip link delete eth9")


def test_detach_without_a_guest_asks_whose_and_says_who_there_is(blue: Lab) -> None:
    blue.netfab("attach", "br1", "netns:blue", "10.3.0.1/24")

    said = blue.netfab("detach", "br1", code=1).err

    assert "whose interface on br1? netfab detach br1 GUEST\nhint: there are " in said
    blue.netfab("detach", "br1", "netns:blue")
