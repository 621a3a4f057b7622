"""Networks over simulated hosts: ARP between them, how soon a node answers, writing what hosts are told.

The hosts are in this process's sandbox. Somebody asks every millisecond, in a process of his own, while the
file is applied.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from struct import unpack_from
from time import perf_counter
from typing import NamedTuple

from frame import HERE, Row, Samples, at_most, fresh_machine, main, progress

from netfab.engine import apply as engine
from netfab.engine.diff import Change
from netfab.hosts import simulated
from netfab.hosts.local import LocalHost
from netfab.objects.base import HOST, Fabric, Name
from netfab.objects.link import MASTER, Link, group_of
from netfab.objects.neighbour import NTF_EXT_LEARNED, NUD_NOARP, NUD_PERMANENT
from netfab.objects.veth import End
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import VxlanFdb
from netfab.objects.wire import IFF_LOWER_UP, RTM_NEWLINK, RTM_NEWNEIGH
from netfab.plan.names import host_link
from netfab.plan.underlay import NAME

sys.path.insert(0, str(HERE.parent))
from simulated_hosts import Hosts, fleet  # the tests' own

ENTRIES = 2000
FLEETS = (3, 10, 50)
LARGE = 100
STATIC, BY_BGP = "{}", "{vxlan: {control: evpn}}"
FABRIC = "bench"
TUNNEL, BELOW, PEER = Name(HOST, "vx7"), Name(HOST, "ens1"), ip_address("192.0.2.2")
LINKS_NEIGHBOURS_AND_ADDRESSES = 0x1 | 0x4 | 0x10 | 0x100  # RTMGRP_*, linux/rtnetlink.h
ETH_P_ALL, ETH_P_ARP = 0x0003, 0x0806
ECHO = b"\x08\x00\xf7\xfc\0\1\0\2"  # identifier 1, sequence 2


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of networks over hosts."""
    samples = Samples()
    for number in range(rounds):
        progress(f"overlay: round {number + 1} of {rounds}")
        _entries(directory, samples)
        for network, by in ((STATIC, ""), (BY_BGP, " by BGP")):
            _starting(samples, network, f"starts{by}")
            _moving(samples, network, f"moves{by}")
    known = {count: _copies(count) for count in FLEETS}
    lost = _unreached(LARGE)
    whole, bridge = samples.median("applied") * 1000, samples.median("bridge") * 1000
    starts, moves = samples.median("starts"), samples.median("moves")
    by_bgp = {what: f"FRR's EVPN {samples.median(f'{what} by BGP'):.0f} ms" for what in ("starts", "moves")}
    counts = " / ".join(map(str, FLEETS))
    return [
        at_most(
            f"writing {ENTRIES} forwarding entries against `bridge -batch`",
            samples.ratio("written", "bridge"),
            2.0,
            detail=f"bridge {bridge:.0f} ms; the whole apply {whole:.0f} ms",
        ),
        at_most("one that is asked while it starts: answers, once up", starts, 5, " ms", by_bgp["starts"]),
        at_most("one that moves: answers, after the first change", moves, 55, " ms", by_bgp["moves"]),
        at_most(f"ARP copies for a known address, {counts} hosts", max(known.values()), 0, ""),
        at_most(f"nodes of {LARGE} hosts that one of them does not reach", lost, 0, ""),
    ]  # fmt: skip


def _entries(directory: Path, samples: Samples) -> None:
    """Where so many are, for a tunnel that is there: by an apply, and by iproute2."""
    end = End(TUNNEL, "02:00:00:00:05:01", 1450)
    tunnel = Vxlan(end, BELOW, 7, ip_address("192.0.2.1"), group_of(FABRIC))
    macs = [f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}" for number in range(ENTRIES)]
    batch = directory / "batch"
    batch.write_text("".join(f"fdb replace {mac} dev vx7 dst {PEER} self permanent\n" for mac in macs))
    for who in ("netfab", "bridge"):
        with fresh_machine(), LocalHost(FABRIC) as host:
            subprocess.run(["ip", "link", "add", BELOW.text, "up", "type", "veth"], check=True)
            engine.apply(Fabric(FABRIC, [tunnel]), host)
            told = Fabric(FABRIC, [tunnel, *(VxlanFdb(TUNNEL, mac, PEER) for mac in macs)])
            start = perf_counter()
            if who == "netfab":
                _apply(told, host, samples)
            else:
                subprocess.run(["bridge", "-batch", batch], check=True)
            samples.add("applied" if who == "netfab" else who, perf_counter() - start)


def _apply(told: Fabric, host: LocalHost, samples: Samples) -> None:
    """Note also how long the messages take, without reading what there is before and after."""
    spent, run = [], host.run

    def timed(phase: Sequence[Change]) -> list[Exception | None]:
        start = perf_counter()
        failures = run(phase)
        spent.append(perf_counter() - start)
        return failures

    host.run = timed  # type: ignore[method-assign]  # as it is, with a watch around it
    gc.disable()  # as the command does
    engine.apply(told, host)
    gc.enable()
    samples.add("written", sum(spent))


def _starting(samples: Samples, network: str, name: str) -> None:
    """From when its cable is up on its bridge to its first answer to a node on another host."""
    with _hosts(fleet(2, 1, network, "late: {networks: [lan], runs_on: h1}")) as hosts:
        address = hosts.address("late")
        hosts.apply(fleet(2, 1, network))
        with _asking(hosts, "n1", address) as heard:
            hosts.apply(fleet(2, 1, network, "late: {networks: [lan], runs_on: h2}"))
            found = heard()
        link = host_link(hosts.fabric, "late", "eth0")
        up = next(event.at for event in found.events if event.up == link)
        samples.add(name, (min(at for at in found.answers if at > up) - up) * 1000)


def _moving(samples: Samples, network: str, name: str) -> None:
    """From the first change on any host to the end of the longest silence."""
    with _hosts(fleet(3, 1, network, "mover: {networks: [lan], runs_on: h2}")) as hosts:
        with _asking(hosts, "n1", hosts.address("mover")) as heard:
            hosts.apply(fleet(3, 1, network, "mover: {networks: [lan], runs_on: h3}"))
            found = heard()
        first = found.events[0].at
        _, end = max((later - at, later) for at, later in zip(found.answers, found.answers[1:], strict=False))
        samples.add(name, (end - first) * 1000)


def _copies(count: int) -> int:
    """ARP that a host sends to others while a node of its own reaches one of each of them."""
    with _hosts(fleet(count)) as hosts, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((host_link(NAME, "h1", "eth0"), ETH_P_ALL))
        for number in range(2, count + 1):
            hosts.node("n1", "ping", "-c1", "-W5", hosts.address(f"n{number}"))
        wire.setblocking(False)
        frames = iter(lambda: wire.recv(200) if select.select([wire], [], [], 0)[0] else b"", b"")
        return sum(_is_tunnelled_arp(frame) for frame in frames)


def _is_tunnelled_arp(frame: bytes) -> bool:
    """VXLAN over IPv4: 14 + 20 + 8 + 8 bytes in front of the inner frame, whose type is bytes 12 and 13."""
    return frame[23:24] == b"\x11" and frame[62:64] == ETH_P_ARP.to_bytes(2, "big")


def _unreached(count: int) -> int:
    """With the kernel's default limits of neighbours."""
    progress(f"overlay: {count} hosts")
    with _hosts(fleet(count)) as hosts:
        asked = [hosts.address(f"n{number}") for number in range(2, count + 1)]
        ran = [hosts.node("n1", "ping", "-c1", "-W5", address, check=False) for address in asked]
        return sum(" 0 received" in said or " 1 received" not in said for said in ran)


@contextmanager
def _hosts(text: str) -> Iterator[Hosts]:
    with fresh_machine():
        hosts = Hosts(text)
        try:
            yield hosts
        finally:
            hosts.destroy()
            hosts.close()


class _Event(NamedTuple):
    """Something that a host's kernel said."""

    at: float  # perf_counter
    up: str = ""  # the link, where it says that one is a bridge's port and has its carrier


class _Found(NamedTuple):
    """What was seen in the meantime."""

    answers: list[float]
    events: list[_Event]


@contextmanager
def _asking(hosts: Hosts, node: str, address: str) -> Iterator[Callable[[], _Found]]:
    """A node that sends an echo request every millisecond until the function is called, and a second more."""
    raw = hosts.call(node, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    monitors = [_monitor(host) for host in hosts.plans]
    reading, writing = os.pipe()
    stopped, stop = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(stop)
        os.nice(-20)  # what is measured is not how long it waits for a processor
        found = _ask(raw, address, monitors, stopped)
        with os.fdopen(writing, "w") as pipe:
            json.dump(found, pipe)
        os._exit(0)
    os.close(writing)

    def heard() -> _Found:
        os.close(stop)
        with os.fdopen(reading) as pipe:
            answers, events = json.load(pipe)
        os.waitpid(child, 0)
        return _Found(answers, [_Event(*event) for event in events])

    try:
        yield heard
    finally:
        for each in (raw, *monitors):
            each.close()
        os.close(stopped)


def _monitor(host: str) -> socket.socket:
    with simulated.inside(host):
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        netlink.bind((0, LINKS_NEIGHBOURS_AND_ADDRESSES))
        return netlink


def _ask(raw: socket.socket, address: str, monitors: list[socket.socket], stopped: int) -> _Found:
    """Ask until a second after the other end of `stopped` was closed."""
    found = _Found([], [])
    sent, end, waited = 0.0, float("inf"), [raw, *monitors, stopped]
    while (now := perf_counter()) < end:
        if now - sent >= 0.001:
            sent = now
            raw.sendto(ECHO, (address, 0))
        ready = select.select(waited, [], [], 0.001)[0]
        now = perf_counter()
        for each in ready:
            if each == stopped:
                end = now + 1.2  # an ARP retry more, for those that need it
                waited.remove(stopped)
            elif each is raw:
                answer, (sender, _) = raw.recvfrom(2048)
                if sender == address and answer[20] == 0:
                    found.answers.append(now)
            elif isinstance(each, socket.socket) and _is_change(message := each.recv(65536)):
                found.events.append(_Event(now, _is_up(message)))
    return found


def _is_change(message: bytes) -> bool:
    """Not of a neighbour that the kernel knows by itself, or by FRR."""
    _, kind = unpack_from("=IH", message)
    state, flags = unpack_from("=HB", message, 24) if kind == RTM_NEWNEIGH else (NUD_PERMANENT, 0)
    return bool(state & (NUD_PERMANENT | NUD_NOARP)) and not flags & NTF_EXT_LEARNED


def _is_up(message: bytes) -> str:
    """The link that is a bridge's port and has its carrier, if it says so."""
    length, kind = unpack_from("=IH", message)
    if kind != RTM_NEWLINK:
        return ""
    index, flags = unpack_from("=iI", message, 20)
    link = Link.parse(index, flags, message, 32, length)
    return link.name if flags & IFF_LOWER_UP and MASTER in link.attrs else ""


if __name__ == "__main__":
    main(measure, __doc__)
