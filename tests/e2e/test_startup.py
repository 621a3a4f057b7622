"""What commands import: start-up is most of a small one, so none imports what only others need."""

from __future__ import annotations

import sys

import pytest
from lab import Lab
from machine import differences

IMPORTED = """\
import os, sys
before = {*sys.modules}
end = os._exit
def told(code):
    os.write(2, b" ".join(name.encode() for name in {*sys.modules} - before))
    end(code)
os._exit = told
from netfab.__main__ import main
sys.argv = ["netfab", *sys.argv[1:]]
main()
"""
# Of the library and of others, what takes milliseconds and is some command's, or nobody's.
HEAVY = {
    "asyncio", "base64", "concurrent.futures", "dataclasses", "difflib", "email", "gettext", "glob",
    "hashlib", "http", "importlib.metadata", "inspect", "locale", "logging", "multiprocessing", "netaddr",
    "pathlib", "pickle", "platform", "pyroute2", "scapy", "shutil", "signal", "ssl", "subprocess", "tempfile",
    "unittest", "urllib.request", "uuid",
}  # fmt: skip
OTHERS = {
    "netfab.files.saved_plans", "netfab.imperative.uplink", "netfab.kernel.features", "netfab.multihost",
    "netfab.nodes.lifecycle", "netfab.remote", "netfab.runtime.client", "netfab.runtime.exec",
    "netfab.runtime.spec", "netfab.runtime.supervisor", "netfab.unattended",
}  # fmt: skip
SOME = {  # what only some topologies, or parts of them, need
    "netfab.facts.nics", "netfab.images", "netfab.kernel.announce", "netfab.kernel.marks",
    "netfab.kernel.nics", "netfab.kernel.worker", "netfab.objects.nic", "netfab.objects.uplink",
    "netfab.objects.vlan", "netfab.plan.part", "netfab.plan.placeholders",
}  # fmt: skip
UNUSUAL = {  # and no attachment to a bridge of Linux
    "netfab.objects.bgp_peer", "netfab.objects.bridge_fdb", "netfab.objects.dhcp", "netfab.objects.macvlan",
    "netfab.objects.neighbour", "netfab.objects.ovsbridge", "netfab.objects.ovsdb", "netfab.objects.ovsport",
    "netfab.objects.qdisc", "netfab.objects.vxlan", "netfab.objects.vxlan_fdb", "netfab.objects.xfrm_policy",
    "netfab.objects.xfrm_state", "netfab.plan.encryption", "netfab.plan.evpn", "netfab.plan.nics",
    "netfab.plan.overlay", "netfab.plan.tunnels", "netfab.plan.vlans",
}  # fmt: skip
OF_NODES = {  # and no attachment: of programs, of a firewall, of files, of what is looked at
    "netfab.applying.seal", "netfab.files", "netfab.objects.bgp", "netfab.objects.container",
    "netfab.objects.nic", "netfab.objects.passage", "netfab.objects.supervisor", "netfab.objects.uplink",
    "netfab.plan.firewall", "netfab.plan.firewall_rules", "netfab.plan.guard", "netfab.queries",
    "netfab.system.rest", "netfab.topology.program",
}  # fmt: skip
PLANNER = {"netfab.fabric", "netfab.plan.guard", "netfab.plan.planner", "netfab.topology.schema", "yaml"}
GUESTS = {"netfab.guests.dhcp", "netfab.guests.engine", "netfab.guests.lxc", "netfab.guests.oci", "socket"}
SMALL = "networks: {lan: {}}\nnodes: {a: {networks: [lan]}, b: {networks: [lan]}}\n"


INTERRUPTED = """\
import sys
def interrupting(event, arguments):
    if event == "import" and arguments[0] == "netfab.cli.main":
        raise KeyboardInterrupt
sys.addaudithook(interrupting)
from netfab.__main__ import main
main()
"""


def imported(lab: Lab, *words: str) -> set[str]:
    """The modules that a command imported, beside those of a bare interpreter."""
    ran = lab.run(sys.executable, "-c", IMPORTED, *words)
    assert ran.code == 0, ran.err
    return {*ran.err.splitlines()[-1].split()}


@pytest.mark.parametrize("words", [["ls"], ["run", "host", "true"]], ids=" ".join)
def test_an_interrupt_while_the_command_is_being_imported_is_no_traceback_and_leaves_nothing(
    lab: Lab, words: list[str]
) -> None:
    before = lab.state()

    ran = lab.run(sys.executable, "-c", INTERRUPTED, *words)

    assert (ran.code, ran.out, ran.err) == (130, "", "")
    assert differences(before, lab.state()) == []


def test_help_imports_click_and_the_names_of_commands(lab: Lab) -> None:
    found = imported(lab, "--help")

    assert {name for name in found if name.startswith("netfab")} == {
        "netfab", "netfab.__main__", "netfab.cli", "netfab.cli.early", "netfab.cli.failures",
        "netfab.cli.main", "netfab.cli.modules", "netfab.cli.output", "netfab.cli.standins", "netfab.errors",
        "netfab.runtime", "netfab.runtime.paths", "netfab.tuples",
    }  # fmt: skip
    unused = HEAVY | {"ctypes", "json", "socket", "sqlite3", "yaml"}
    assert found & unused == {"shutil"}  # click asks it how wide the terminal is


def test_apply_imports_nothing_of_guests_and_of_other_commands_and_topologies(lab: Lab) -> None:
    lab.write(SMALL)

    found = imported(lab, "apply", "topology.yaml")

    assert (
        found & (HEAVY | OTHERS | SOME | UNUSUAL | GUESTS | {"netfab.imperative", "netfab.guests"}) == set()
    )


def test_an_apply_that_changes_nothing_does_not_import_the_planner(lab: Lab) -> None:
    lab.write(SMALL)
    lab.netfab("apply", "topology.yaml")

    found = imported(lab, "apply", "topology.yaml")

    assert found & (HEAVY | OTHERS | SOME | UNUSUAL | GUESTS | PLANNER) == set()


def test_destroy_does_not_import_the_planner(lab: Lab) -> None:
    lab.write(SMALL)
    lab.netfab("apply", "topology.yaml")

    found = imported(lab, "destroy")

    assert found & (HEAVY | OTHERS | SOME | UNUSUAL | GUESTS | PLANNER) == set()


def test_commands_that_need_the_store_only_import_nothing_that_plans_or_changes(lab: Lab) -> None:
    lab.write(SMALL)
    lab.netfab("apply", "topology.yaml")

    reading, entering = imported(lab, "ps"), imported(lab, "exec", "a", "true")

    unused = {"netfab.fabric", "netfab.kernel.execute", "netfab.objects.kinds", "yaml"}
    assert (reading & {*unused, "ctypes", "socket"}, entering & unused) == (set(), set())


def test_attach_imports_no_file_of_a_topology_and_nobody_who_is_not_asked(lab: Lab) -> None:
    guest = lab.start("unshare", "--net", "sh", "-c", "echo $$; exec sleep 1000")
    assert guest.stdout is not None
    pid = guest.stdout.readline().strip()

    found = imported(lab, "attach", "br7", f"pid:{pid}", "10.7.0.2/24@10.7.0.1")

    unused = HEAVY | OTHERS | UNUSUAL | OF_NODES | GUESTS | {"netfab.topology.load", "yaml"}
    assert found & unused == set()


def test_a_topology_of_named_namespaces_imports_no_manager_of_containers(lab: Lab) -> None:
    lab.run("ip", "netns", "add", "blue")
    lab.write("networks: {lan: {}}\nnodes: {a: {attach: 'netns:blue', networks: [lan]}}\n")

    found = imported(lab, "apply", "topology.yaml")

    assert found & GUESTS == set()


def test_a_hundred_guests_are_read_without_a_child(lab: Lab) -> None:
    names = [f"guest{number}" for number in range(100)]
    lab.run("sh", "-c", 'for name; do ip netns add "$name"; done', "sh", *names)
    nodes = "".join(f"  {name}: {{attach: 'netns:{name}', networks: [lan]}}\n" for name in names)
    lab.write(f"networks: {{lan: {{}}}}\nnodes:\n{nodes}")

    found = imported(lab, "apply", "topology.yaml")

    assert "netfab.kernel.worker" not in found  # a fork costs more than it reads: docs/decisions/0030


def test_an_agent_imports_nothing_that_plans_or_that_only_some_are_asked_for(lab: Lab) -> None:
    said = lab.run(sys.executable, "-c", "import sys, netfab.remote.serve; print(*sys.modules)").out

    others = {
        "netfab.diagnose.checks",
        "netfab.fabric",
        "netfab.imperative",
        "netfab.queries",
        "netfab.unattended",
    }
    assert {*said.split()} & (others | {"netfab.plan.planner", "netfab.plan.layout", "yaml"}) == set()
