"""The kernel's state that the way of a packet depends on, as objects/view.py has it. Only reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from errno import EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH
from ipaddress import IPv4Address, IPv6Address, ip_address

from netfab.kernel import dumps
from netfab.kernel.netlink import Netlink
from netfab.objects import link as links
from netfab.objects.address import IFA_ADDRESS, IFA_LOCAL
from netfab.objects.neighbour import (
    NDA_DST,
    NDA_LLADDR,
    NTF_EXT_LEARNED,
    NTF_MASTER,
    NUD_NOARP,
    NUD_PERMANENT,
    NeighbourMessage,
)
from netfab.objects.route import RTA_DST, RTA_GATEWAY, RTA_OIF
from netfab.objects.view import Entry, Link, Listener, Space, Way
from netfab.objects.wire import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    RTM_GETROUTE,
    RTMSG,
    attributes,
    no_name,
    number,
    parse,
    u32,
)

_RTA_SRC, _RTA_IIF, _RTA_PREFSRC, _RTN_LOCAL = 2, 3, 7, 2  # linux/rtnetlink.h
_FAILED, _INCOMPLETE = 0x20, 0x01  # NUD_*
_TCP_LISTEN, _UDP_OPEN = "0A", "07"  # include/net/tcp_states.h, as /proc/net has them
_REFUSALS = {
    ENETUNREACH: "no route", EHOSTUNREACH: "unreachable", EACCES: "prohibited", EINVAL: "blackhole",
}  # fmt: skip
Address = IPv4Address | IPv6Address


def read() -> Space:
    """Read the namespace that the calling thread is in. Raises KernelRefused."""
    netlink = Netlink()
    try:
        return Space(
            tuple(_link(each) for each in dumps.links(netlink)),
            tuple(_addresses(netlink)),
            tuple(_entry(each) for each in dumps.neighbours(netlink)),
            tuple(listeners()),
            (_flag("ipv4/conf/all/forwarding"), _flag("ipv6/conf/all/forwarding")),
            int(_sysctl("ipv4/conf/all/rp_filter") or 0),
        )
    finally:
        netlink.close()


def way(target: Address, source: Address | None, incoming: int) -> Way:
    """How the kernel routes a packet in this thread's namespace.

    `incoming`: the ifindex of the link that it arrived on; 0: it is sent from here.
    """
    attrs = [(RTA_DST, target.packed)]
    attrs += [(_RTA_SRC, source.packed)] if source else []
    attrs += [(_RTA_IIF, u32(incoming))] if incoming else []
    family, length = (AF_INET, 32) if target.version == 4 else (AF_INET6, 128)
    body = RTMSG.pack(family, length, length if source else 0, 0, 0, 0, 0, 0, 0)
    netlink = Netlink()
    try:
        data, start, end = netlink.get(RTM_GETROUTE, body + attributes(tuple(attrs), no_name))
    except OSError as error:
        refusal = _REFUSALS.get(error.errno or 0, error.strerror or "")
        if refusal == "blackhole" and incoming and not way(target, None, 0).refusal:
            refusal = "rp_filter"  # a refused source address has the same errno
        return Way(0, "", "", False, refusal)
    finally:
        netlink.close()
    *_, kind, _ = RTMSG.unpack_from(data, start)
    found = parse(data, start + RTMSG.size, end)
    return Way(
        number(found.get(RTA_OIF, b"")),
        _text(found.get(RTA_GATEWAY, b"")),
        _text(found.get(_RTA_PREFSRC, b"")),
        kind == _RTN_LOCAL,
        "",
    )


def _text(packed: bytes) -> str:
    return str(ip_address(packed)) if packed else ""


def _link(found: links.Link) -> Link:
    return Link(
        found.ifindex,
        found.name,
        found.kind,
        found.mac,
        number(found.attrs.get(links.MTU, b"")),
        found.up,
        number(found.attrs.get(links.OPERSTATE, b"")) in (links.OPERSTATE_UP, 0),
        number(found.attrs.get(links.MASTER, b"")),
        number(found.attrs.get(links.in_port(links.BRPORT_STATE), b"")),
        bool(number(found.attrs.get(links.in_port(links.BRPORT_ISOLATED), b""))),
        found.settings.forwarding,
        found.settings.rp_filter,
    )


def _addresses(netlink: Netlink) -> Iterator[tuple[int, str]]:
    for each in dumps.addresses(netlink):
        yield each.ifindex, str(ip_address(each.attrs.get(IFA_LOCAL) or each.attrs[IFA_ADDRESS]))


def _entry(found: NeighbourMessage) -> Entry:
    peer = found.attrs.get(NDA_DST, b"")
    return Entry(
        found.family,
        found.ifindex,
        _text(peer),
        found.attrs.get(NDA_LLADDR, b"").hex(":"),
        bool(found.state & (NUD_PERMANENT | NUD_NOARP) or found.flags & NTF_EXT_LEARNED),
        bool(found.state & (_FAILED | _INCOMPLETE)),
        found.family == AF_BRIDGE and bool(found.flags & NTF_MASTER),
    )


def listeners() -> Iterator[Listener]:
    """The listening sockets of this thread's namespace."""
    for name, state in (("tcp", _TCP_LISTEN), ("udp", _UDP_OPEN)):
        for suffix in ("", "6"):
            with suppress(FileNotFoundError), open(f"/proc/thread-self/net/{name}{suffix}") as file:
                for line in list(file)[1:]:
                    _, local, _, status, *_ = line.split()
                    if status == state:
                        address, _, port = local.partition(":")
                        yield Listener(name, _unfolded(address), int(port, 16))


def _unfolded(text: str) -> str:
    """An address of /proc/net/tcp: hexadecimal words in host byte order; "" if it is all zero."""
    data = bytes.fromhex(text)
    words = (data[at : at + 4][::-1] for at in range(0, len(data), 4))
    packed = b"".join(words)
    return str(ip_address(packed)) if any(packed) else ""


def _flag(key: str) -> bool:
    return _sysctl(key) == "1"


def _sysctl(key: str) -> str:
    with suppress(OSError), open(f"/proc/sys/net/{key}") as file:
        return file.read().strip()
    return ""
