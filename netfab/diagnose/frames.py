"""A frame in one line, for people; pure. For full detail, write a file and open it in Wireshark."""

from __future__ import annotations

import struct
from ipaddress import ip_address

_ICMP = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
_ICMP6 = {
    1: "unreachable", 2: "packet too big", 3: "time exceeded", 128: "echo request", 129: "echo reply",
    133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation",
    136: "neighbour advertisement", 143: "multicast listener report",
}  # fmt: skip
_FLAGS = "FSRPAU"  # from the lowest bit of a TCP header's flags


def one_line(data: bytes) -> str:
    """`10.0.0.2:44312 > 10.0.1.2:80 tcp SA, 60 bytes`."""
    kind, rest, tags = _ethertype(data)
    try:
        told = _network(kind, rest, data)
    except (struct.error, IndexError, ValueError):
        told = f"{data[6:12].hex(':')} > {data[:6].hex(':')} a cut frame of type 0x{kind:04x}"
    return f"{''.join(f'vlan {tag} ' for tag in tags)}{told}, {len(data)} bytes"


def _ethertype(data: bytes) -> tuple[int, bytes, list[int]]:
    tags, at = [], 12
    kind = int.from_bytes(data[at : at + 2])
    while kind in (0x8100, 0x88A8):
        tags.append(int.from_bytes(data[at + 2 : at + 4]) & 0xFFF)
        at += 4
        kind = int.from_bytes(data[at : at + 2])
    return kind, data[at + 2 :], tags


def _network(kind: int, rest: bytes, data: bytes) -> str:
    if kind == 0x0800:
        head, fragment = (rest[0] & 15) * 4, int.from_bytes(rest[6:8]) & 0x1FFF
        source, target = (str(ip_address(rest[at : at + 4])) for at in (12, 16))
        if fragment:
            return f"{source} > {target} fragment at {fragment * 8}"
        return _transport(source, target, rest[9], rest[head:], _ICMP)
    if kind == 0x86DD:
        source, target = (str(ip_address(rest[at : at + 16])) for at in (8, 24))
        following, body = rest[6], rest[40:]
        if following == 0 and body:  # hop-by-hop options, as multicast listeners send
            following, body = body[0], body[(body[1] + 1) * 8 :]
        return _transport(source, target, following, body, _ICMP6)
    if kind == 0x0806:
        operation = int.from_bytes(rest[6:8])
        sender, target = (str(ip_address(rest[at : at + 4])) for at in (14, 24))
        if operation == 1:
            return f"arp who has {target} tell {sender}"
        return f"arp {sender} is at {rest[8:14].hex(':')}"
    return f"{data[6:12].hex(':')} > {data[:6].hex(':')} type 0x{kind:04x}"


def _transport(source: str, target: str, protocol: int, body: bytes, icmp: dict[int, str]) -> str:
    if protocol in (6, 17, 132):
        first, second = struct.unpack("!HH", body[:4])
        ends = f"{_with_port(source, first)} > {_with_port(target, second)}"
        if protocol == 6:
            flags = "".join(letter for bit, letter in enumerate(_FLAGS) if body[13] >> bit & 1)
            return f"{ends} tcp {flags}"
        return f"{ends} {'udp' if protocol == 17 else 'sctp'}"
    if protocol in (1, 58):
        return f"{source} > {target} icmp {icmp.get(body[0], f'type {body[0]}')}"
    return f"{source} > {target} ip protocol {protocol}"


def _with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
