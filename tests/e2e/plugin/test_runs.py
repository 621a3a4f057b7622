"""Whole runs of pytest: parallel, without rights, killed, and what a failed test leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import pytest
from machine import differences, snapshot
from runs import HANGS, Run
from scapy.layers.inet import ICMP
from scapy.utils import rdpcap

from netfab.kernel import nft

NOBODY = 65534
WORKS = """
@pytest.mark.parametrize("number", range(4))
def test_it(netfab, number):
    netfab["b"].serve_echo(7)
    assert netfab["a"].reaches("b", "tcp/7")
    with netfab["a"].capture() as seen:
        assert netfab["a"].run("sh", "-c", "echo $PPID").out
    assert os.getcwd() == os.environ["HOME"]
"""
FAILS = """
def test_it(netfab):
    netfab["a"].run("echo", "hello from a")
    netfab["a"].ping("b")
    with netfab.link("b", "lan").down():
        assert netfab["a"].reaches("b")
"""
CABLES = """
@pytest.mark.netfab("nodes: {a: {}, r: {forward: true}, b: {}}\\nlinks: [[a, r], [r, b]]\\n")
def test_cables(netfab):
    with netfab.link("a", "r").down():
        assert netfab["a"].cannot_reach("b")
    netfab["a"].run("ip", "link", "set", "eth0", "down")
    netfab.heal()
    assert netfab["a"].reaches("b", via="r")
    netfab.apply("nodes: {a: {}, b: {}}\\nlinks: [[a, b]]\\n")
    assert netfab["a"].reaches("b")

def test_a_network(netfab):
    pass
"""
REFUSED = """
def test_it(netfab):
    netfab["a"].tcp("b", 5432)
"""
MISTAKEN = """
@pytest.mark.netfab('''
    networks: {lan: {}}
    nodes: {a: {networks: [lam]}}
    ''')
def test_it(netfab):
    pass
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that an ordinary user reaches, too."""
    with TemporaryDirectory(dir="/tmp") as path:
        os.chmod(path, 0o755)
        yield Path(path)


def _that_are_there(*programs: str) -> list[str]:
    return [path for path in map(which, programs) if path is not None]


def test_workers_have_fabrics_of_one_name_at_once(directory: Path) -> None:
    assert Run(directory, WORKS).to_the_end("-n", "2").endswith("exit 0")


def test_an_ordinary_user_who_can_gain_no_rights_needs_nothing_else(directory: Path) -> None:
    run = Run(directory, WORKS)

    assert "4 passed" in run.to_the_end(user=NOBODY, missing=_that_are_there("ip", "docker", "podman"))


def test_cables_need_no_nft_and_networks_say_what_is_missing(directory: Path) -> None:
    said = Run(directory, CABLES).to_the_end(user=NOBODY, missing=[nft.program()])

    assert "1 passed, 1 error" in said
    assert "a firewall is needed, and nft is missing" in said
    assert "hint: install nftables" in said


@pytest.mark.parametrize("user", [0, NOBODY])
@pytest.mark.parametrize("party", ["pytest", "broker", "worker"])
def test_nothing_is_left_when_one_is_killed(directory: Path, party: str, user: int) -> None:
    before = snapshot()
    run = Run(directory, HANGS)
    with run.start(*(["-n", "1"] if party == "worker" else []), user=user) as process:
        tester = int(run.wait_for_file("ready"))
        broker = next(pid for pid, line in run.processes() if "netfab.testing.broker" in line)

        os.kill({"pytest": process.pid, "broker": broker, "worker": tester}[party], signal.SIGKILL)

        process.communicate(timeout=60)
        run.gone()
    assert differences(before, snapshot()) == []


def test_a_failed_test_leaves_what_tells_the_cause(directory: Path) -> None:
    run = Run(directory, FAILS)
    summary = directory / "summary.md"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}

    said = run.to_the_end("--junit-xml=junit.xml", env=github)

    kept = directory / "artefacts" / "test_it.py_test_it"
    assert "assert not so: a reaches b: nf" in said
    cause = (kept / "why.txt").read_text()
    assert cause.startswith("not so: a reaches b\n")
    assert "of b" in cause
    assert "hint: heal()\n" in cause
    assert "assert netfab" in (kept / "failure.txt").read_text()
    assert "hello from a" in (kept / "logs" / "a-1.txt").read_text()
    assert (kept / "reproduce.txt").read_text().startswith("pytest test_it.py::test_it\n")
    timeline = (kept / "timeline.txt").read_text()
    assert re.search(r"test test_it\n(.*\n)+.*link b - lan down\n", timeline)
    assert json.loads((kept / "status.json").read_text())["nodes"]["a"]["state"] == "up"
    assert "lan" in (kept / "topology.yaml").read_text()
    echoes = [packet for packet in rdpcap(str(kept / "pcap" / "b-eth0.pcapng")) if ICMP in packet]
    assert [packet[ICMP].type for packet in echoes[:2]] == [8, 0]
    (told,) = ET.parse(directory / "junit.xml").iter("property")
    assert told.attrib == {"name": "netfab-artefacts", "value": str(kept)}
    assert (
        "::error file=test_it.py,line=13,title=test_it.py%3A%3Atest_it::AssertionError: assert not so: "
        in said
    )
    assert "```mermaid" in summary.read_text()


def test_a_connection_without_an_answer_is_explained(directory: Path) -> None:
    said = Run(directory, REFUSED).to_the_end()

    cause = (directory / "artefacts" / "test_it.py_test_it" / "why.txt").read_text()
    assert cause.startswith("When the test had failed:\n\nnot so: a reaches b on tcp/5432\n")
    assert "nothing listens on tcp/5432 in b" in cause
    assert "netfab/testing" not in said


def test_a_topology_that_makes_no_sense_is_told_by_its_line_in_the_test(directory: Path) -> None:
    said = Run(directory, MISTAKEN).to_the_end()

    told = "test_it.py:11:28: nodes.a.networks[0]: there is no network `lam`; did you mean `lan`?"
    assert told in said
    assert told in (directory / "artefacts" / "test_it.py_test_it" / "failure.txt").read_text()


def test_a_test_that_passes_leaves_nothing(directory: Path) -> None:
    Run(directory, WORKS).to_the_end()

    assert not (directory / "artefacts").exists()


def test_a_fabric_of_a_module_is_made_anew_after_a_test_that_failed(directory: Path) -> None:
    said = Run(
        directory,
        """
def test_breaks(netfab_module):
    netfab_module["a"].run("touch", "/run/mark")
    netfab_module.link("a", "lan").down()
    assert False

def test_after(netfab_module):
    assert netfab_module["a"].reaches("b")
    netfab_module["a"].run("touch", "/run/mark")

def test_and_after_one_that_passed(netfab_module):
    netfab_module["a"].run("test", "-e", "/run/mark")
""",
    ).to_the_end("--netfab-artefacts=")

    assert "1 failed, 2 passed" in said
    assert not (directory / "artefacts").exists()


def test_a_run_that_does_not_use_it_imports_nothing_of_it(directory: Path) -> None:
    said = Run(
        directory,
        """
import sys
def test_it():
    assert sorted(name for name in sys.modules if name.startswith("netfab")) == [
        "netfab", "netfab.testing", "netfab.testing.plugin"
    ]
""",
    ).to_the_end()

    assert said.endswith("exit 0"), said


def test_what_a_test_requires_is_tried_and_what_nobody_knows_is_refused(
    directory: Path,
) -> None:
    said = Run(
        directory,
        """
@pytest.mark.netfab("networks: {lan: {}}\\nnodes: {a: {networks: [lan]}}", requires=["veth"])
def test_there(netfab):
    pass

@pytest.mark.netfab("networks: {lan: {}}\\nnodes: {a: {networks: [lan]}}", requires=["antigravity"])
def test_unknown(netfab):
    pass

@pytest.mark.netfab("networks: {lan: {}}\\nnodes: {a: {networks: [lan]}}", hosts="simulated")
def test_simulated(netfab):
    pass

@pytest.mark.netfab("networks: {lan: {}}\\nnodes: {a: {networks: [lan]}}", hosts="real")
def test_real(netfab):
    pass
""",
    ).to_the_end()

    assert "nothing is known of antigravity" in said
    assert "hosts='real': the hosts of a test are simulated\n    hint: hosts=" in said
    assert "netfab/testing" not in said
    assert "2 passed, 2 errors" in said


def test_the_hint_of_an_error_that_several_tests_have_is_told_once_for_each(directory: Path) -> None:
    said = Run(
        directory,
        """
from netfab.errors import NetfabError

@pytest.fixture(scope="module")
def wrong():
    raise NetfabError("no", hint="write yes")

def test_one(wrong):
    pass

def test_other(wrong):
    pass
""",
    ).to_the_end()

    assert said.count("hint: write yes") == 2
    assert "2 errors" in said


def test_a_file_that_can_not_be_collected_is_told_as_pytest_tells_it(directory: Path) -> None:
    said = Run(directory, "import no_such_module\n").to_the_end()

    assert "No module named 'no_such_module'" in said
    assert said.endswith("exit 2")
