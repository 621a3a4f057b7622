"""Captured frames: as a line, and as a file that others read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from scapy.layers.dhcp import DHCP  # noqa: F401 - binds its ports, as in a program that imports scapy.all
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6MLReport2, ICMPv6ND_NS, IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw
from scapy.utils import RawPcapNgReader

from netfab.diagnose.frames import one_line
from netfab.diagnose.pcapng import Pcapng

HEAD = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
FOUR = IP(src="10.0.0.2", dst="10.0.0.3")
SIX = IPv6(src="fd00::2", dst="fd00::3")
LINES = {
    "10.0.0.2:1024 > 10.0.0.3:80 tcp SA": HEAD / FOUR / TCP(sport=1024, dport=80, flags="SA"),
    "10.0.0.2:1024 > 10.0.0.3:53 udp": HEAD / FOUR / UDP(sport=1024, dport=53),
    "[fd00::2]:1024 > [fd00::3]:53 udp": HEAD / SIX / UDP(sport=1024, dport=53),
    "10.0.0.2:5 > 10.0.0.3:6 sctp": HEAD / FOUR / SCTP(sport=5, dport=6),
    "10.0.0.2 > 10.0.0.3 icmp echo request": HEAD / FOUR / ICMP(),
    "fd00::2 > fd00::3 icmp echo request": HEAD / SIX / ICMPv6EchoRequest(),
    "fd00::2 > fd00::3 icmp neighbour solicitation": HEAD / SIX / ICMPv6ND_NS(),
    "fd00::2 > fd00::3 icmp multicast listener report": HEAD / SIX / IPv6ExtHdrHopByHop() / ICMPv6MLReport2(),
    "10.0.0.2 > 10.0.0.3 ip protocol 89": HEAD / IP(src="10.0.0.2", dst="10.0.0.3", proto=89) / Raw(b"ospf"),
    "10.0.0.2 > 10.0.0.3 fragment at 800": HEAD
    / IP(src="10.0.0.2", dst="10.0.0.3", frag=100)
    / Raw(b"x" * 40),
    "arp who has 10.0.0.3 tell 10.0.0.2": HEAD / ARP(op=1, psrc="10.0.0.2", pdst="10.0.0.3"),
    "arp 10.0.0.2 is at 02:00:00:00:00:01": HEAD
    / ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.2", pdst="10.0.0.3"),
    "vlan 7 10.0.0.2 > 10.0.0.3 icmp echo reply": HEAD / Dot1Q(vlan=7) / FOUR / ICMP(type=0),
    "02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x88cc": Ether(src=HEAD.src, dst=HEAD.dst, type=0x88CC)
    / b"lldp",
}


@pytest.mark.parametrize("line", LINES)
def test_a_frame_in_one_line(line: str) -> None:
    frame = bytes(LINES[line])

    assert one_line(frame) == f"{line}, {len(frame)} bytes"


@pytest.mark.parametrize("line", LINES)
def test_a_frame_that_is_cut_anywhere_still_makes_a_line(line: str) -> None:
    frame = bytes(LINES[line])

    for length in range(len(frame)):
        assert one_line(frame[:length]).endswith(f"{length} bytes")


def test_others_read_the_file_with_its_interfaces_times_and_directions(tmp_path: Path) -> None:
    blocks, path = Pcapng(), tmp_path / "a.pcapng"
    sent = [
        ("eth0", 1_700_000_000_123_456_789, True, b"a" * 61),
        ("lo", 1_700_000_001_000_000_000, False, b"b" * 60),
    ]
    path.write_bytes(blocks.head() + b"".join(blocks.frame(*each) for each in sent))

    with closing(RawPcapNgReader(str(path))) as reader:
        read = list(reader)

    for (name, time, outgoing, data), (found, meta) in zip(sent, read, strict=True):
        assert found == data
        assert meta.ifname == name.encode()
        assert (meta.tshigh << 32) + meta.tslow == time
        assert meta.direction == (2 if outgoing else 1)
