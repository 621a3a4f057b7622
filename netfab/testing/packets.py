"""Scapy packets, sent from a node and received there, by sockets of this process created in the node.

A packet's source, which scapy would take from this machine's routes, comes from the node's.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from netfab.errors import NetfabError
from netfab.system.poll import readable

if TYPE_CHECKING:
    from netfab.testing.node import Node

_ETH_P_ALL = 3  # linux/if_ether.h
_MOST = 1 << 18  # bytes of a frame that offloads merged
_QUEUE = 300  # most frames that a socket queues (net.core.rmem_default)
_DISCARD = 9  # a port, RFC 863; nothing is sent there


def send(node: Node, packets: Any, interface: str) -> None:
    """Send a packet, or all it stands for: IP as the node's kernel routes it, Ether by the interface."""
    for packet in packets:
        _send(node, _made(node, packet, interface), interface)


def answer(node: Node, packets: Any, interface: str, within: float) -> Any:
    """Send them; the first packet that scapy considers an answer within so many seconds, or None."""
    ethernet = scapy("layers.l2").Ether
    made = [_made(node, packet, interface) for packet in packets]
    with node.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as door:
        for packet in made:
            _send(node, packet, interface)
        for frame in _heard(door, within):
            came = ethernet(frame)
            for packet in made:
                layer = came if isinstance(packet, ethernet) else came.getlayer(type(packet))
                if layer is not None and layer.answers(packet):
                    return layer
    return None


def scapy(module: str) -> Any:
    """A scapy module; they take a second to import. Raises NetfabError if it can't be."""
    __tracebackhide__ = True
    try:
        return import_module(f"scapy.{module}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != "scapy":
            raise NetfabError(f"scapy needs {error.name}, which is not installed") from None
        raise NetfabError("packets are scapy's, which is not installed", hint="pip install scapy") from None


def _heard(door: socket.socket, within: float) -> Iterator[bytes]:
    """Frames received in that time, including those already queued if we look late."""
    deadline, late = time.monotonic() + within, 0
    while late < _QUEUE and readable([door], left := deadline - time.monotonic()):
        late += left <= 0
        with suppress(OSError):  # an interface that went down
            frame, (_, _, kind, *_) = door.recvfrom(_MOST)
            if kind != socket.PACKET_OUTGOING:
                yield frame


def _made(node: Node, packet: Any, interface: str) -> Any:
    """A copy with its source filled in. Raises NetfabError."""
    l2, inet, inet6 = (scapy(f"layers.{name}") for name in ("l2", "inet", "inet6"))
    packet = packet.copy()
    if isinstance(packet, l2.Ether):
        if "dst" not in packet.fields:
            raise NetfabError(
                "a frame needs its `dst`", hint="leave out Ether to have it routed by the node's kernel"
            )
        _fill(packet, "src", lambda: _mac(node, interface))
        if (arp := packet.getlayer(l2.ARP)) is not None:
            _fill(arp, "hwsrc", lambda: _mac(node, interface))
            _fill(arp, "psrc", lambda: _source(node, socket.AF_INET, arp.pdst))
    elif not isinstance(packet, inet.IP | inet6.IPv6):
        raise NetfabError(
            f"{packet.name} can't be sent by itself", hint="put IP(), IPv6() or Ether() before it"
        )
    for layer, family in ((inet.IP, socket.AF_INET), (inet6.IPv6, socket.AF_INET6)):
        if (found := packet.getlayer(layer)) is not None:
            _fill(found, "src", lambda found=found, family=family: _source(node, family, found.dst))
    return packet


def _fill(layer: Any, field: str, value: Any) -> None:
    if field not in layer.fields:
        setattr(layer, field, value())


def _source(node: Node, family: int, target: str) -> str:
    """The source address that the node's kernel selects. Raises NetfabError."""
    with node.socket(family, socket.SOCK_DGRAM) as door:
        try:
            door.connect((target, _DISCARD))
        except OSError as error:
            raise NetfabError(f"{node} has no way to {target}: {error.strerror}") from error
        return str(door.getsockname()[0])


def _mac(node: Node, interface: str) -> str:
    return str(_interface(node, interface)["mac"])


def _interface(node: Node, name: str) -> Any:
    """By its name; without one the first. Raises NetfabError."""
    found = node.fabric.summary["nodes"][node.name]["interfaces"]
    for each in found:
        if name in ("", each["name"]):
            return each
    known = ", ".join(each["name"] for each in found) or "none"
    raise NetfabError(f"{node} has no interface {name}; it has {known}")


def _send(node: Node, packet: Any, interface: str) -> None:
    with ExitStack() as stack:
        if packet.name == "Ethernet":
            door = stack.enter_context(node.socket(socket.AF_PACKET, socket.SOCK_RAW))
            door.bind((_interface(node, interface)["name"], 0))
            door.send(bytes(packet))
            return
        family = socket.AF_INET6 if packet.name == "IPv6" else socket.AF_INET
        door = stack.enter_context(node.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW))
        if interface:
            name = _interface(node, interface)["name"]
            door.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        try:
            door.sendto(bytes(packet), (packet.dst, 0))
        except OSError as error:
            error.add_note(f"from {node} to {packet.dst}")
            raise
