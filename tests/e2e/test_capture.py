"""`netfab capture`: what passes a node's interfaces, first frame and last."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from lab import COMMAND, Lab
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from netfab.kernel.capture import Capture, settle
from netfab.kernel.netns import Namespaces

TWO_HOSTS = Path(__file__).parents[2] / "topologies" / "two-hosts.yaml"
PAIR = """\
name: pair
networks: {lan: {subnet: 10.1.0.0/24}}
nodes: {a: {networks: [lan]}, b: {networks: [lan]}}
"""
BURSTS, FRAMES = 50, 100


@pytest.fixture
def pair(lab: Lab) -> Lab:
    lab.write(PAIR)
    lab.netfab("apply")
    return lab


def test_no_frame_of_a_burst_is_missed_at_either_end(pair: Lab) -> None:
    def missed() -> list[int]:
        sender, receiver = (Namespaces.open_bound(f"pair.{name}") for name in "ab")
        spaces = Namespaces()
        found = []
        for _ in range(BURSTS):
            with (
                Capture(sender, "eth0", "udp port 9") as sent,
                Capture(receiver, "eth0", "udp port 9") as got,
            ):
                with spaces.inside("node pair.a"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
                    for number in range(FRAMES):
                        door.sendto(b"%d" % number, ("10.1.0.3", 9))
                    settle()
                for capture in (sent, got):
                    numbers = [int(frame.data[42:]) for frame in capture.frames()]
                    found += sorted({*range(FRAMES)} - {*numbers})
        return found

    assert pair.call(missed) == []


def test_a_file_has_what_the_filter_lets_pass_and_a_signal_ends_it_whole(pair: Lab) -> None:
    process = pair.start(*pair.words("capture", "b:eth0", "-w", "b.pcapng", "udp", "port", "9"))
    assert process.stderr is not None
    assert process.stderr.readline() == "capturing at eth0 of b\n"

    pair.shell("""ip netns exec pair.a bash -c '
        for n in 1 2 3; do echo $n > /dev/udp/10.1.0.3/9; done; ping -c1 10.1.0.3
    '""")
    result = pair.interrupt(process, signal.SIGTERM)

    assert (result.code, result.err) == (0, "3 frames\n")
    read = rdpcap(str(pair.directory / "b.pcapng"))
    assert [bytes(frame[UDP].payload) for frame in read] == [b"1\n", b"2\n", b"3\n"]


def test_frames_of_all_interfaces_are_lines_until_there_are_enough(pair: Lab) -> None:
    process = pair.start(*pair.words("capture", "a", "-c", "2", "icmp"))
    assert process.stderr is not None
    process.stderr.readline()
    pair.shell("ip netns exec pair.a ping -c1 10.1.0.3")

    out, _ = process.communicate(timeout=60)
    request, reply = out.splitlines()
    assert "eth0 out 10.1.0.2 > 10.1.0.3 icmp echo request" in request
    assert "eth0 in  10.1.0.3 > 10.1.0.2 icmp echo reply" in reply


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a:eth7"], "can't capture at eth7: No such device\nhint: there is lo, eth0"),
        (["c"], "there is no node c"),
        (["a", "tcp prot 80"], "`tcp prot 80` is not a filter"),
        (["a", "-w", "/nowhere/a"], "/nowhere/a: No such file or directory"),
    ],
)
def test_what_can_not_be_captured_is_told(pair: Lab, words: list[str], told: str) -> None:
    assert told in pair.netfab("capture", *words, code=1).err


def test_a_full_disk_is_told(pair: Lab) -> None:
    told = pair.netfab("capture", "a", "-w", "/dev/full", "-c", "1", "arp or icmp6", code=1).err

    assert told.splitlines()[-1] == "netfab: error: /dev/full: No space left on device"


def test_a_node_of_another_host_is_captured_there(lab: Lab) -> None:
    script = f"""
        coproc {COMMAND} capture web:eth0 -c 2 icmp 2>&1; exec 3<&${{COPROC[0]}}; read -u 3 said; echo $said
        {COMMAND} exec client ping -c 1 web > /dev/null; cat <&3
    """
    result = lab.netfab("lab", str(TWO_HOSTS), "--", "bash", "-ec", script)

    greeting, request, reply, ending = result.out.splitlines()
    assert (greeting, ending) == ("capturing at eth0 of web", "2 frames")
    assert ("echo request" in request, "echo reply" in reply) == (True, True)
