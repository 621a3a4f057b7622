"""IP and MAC text, strictly: what the kernel would read otherwise than a person is refused.

No host bits in a subnet, no leading zeros, no short forms (`10.1`), no zone ids, no IPv4-mapped addresses.
"""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from netfab.topology.grammar import Wrong, quoted
from netfab.topology.schema import Address, Interface, Prefix

_MAC = r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"


def address(text: str) -> Address:
    """An address without a length."""
    try:
        found: Address = IPv6Address(text) if ":" in text else IPv4Address(text)
    except ValueError:
        raise Wrong(
            f"{quoted(text)} is not an address{_short_form(text)}; write `10.1.2.3` or `fd00::3`"
        ) from None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            raise Wrong(f"{quoted(text)} has a zone; write `{str(found).partition('%')[0]}`")
        if found.ipv4_mapped is not None:
            raise Wrong(f"{quoted(text)} is an IPv4-mapped address; write `{found.ipv4_mapped}`")
    return found


def _short_form(text: str) -> str:
    if re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", text):
        return " (all four numbers are expected)"
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", text) and re.search(r"(^|\.)0[0-9]", text):
        return " (a leading zero may mean octal)"
    return ""


def host_address(text: str) -> Address:
    """An address that can be assigned to an interface."""
    found = address(text)
    if isinstance(found, IPv4Address):
        first = int(found) >> 24  # asking the address object is three times slower, and files have thousands
        unfit = first in (0, 127) or 224 <= first < 240 or int(found) == 2**32 - 1
    else:
        unfit = found.is_multicast or found.is_unspecified or found.is_loopback
    if unfit:
        kinds = "unspecified, loopback, multicast or broadcast"
        raise Wrong(f"{quoted(text)} is not an address that an interface can have: it is {kinds}")
    return found


def interface(text: str) -> tuple[Interface, bool]:
    """ADDRESS or ADDRESS/LEN, and whether it had no length; it then gets that of a host (/32, /128)."""
    base, slash, length = text.partition("/")
    found = host_address(base)
    bits = _length(text, length, found.max_prefixlen) if slash else found.max_prefixlen
    if isinstance(found, IPv4Address):
        return IPv4Interface((int(found), bits)), not slash
    return IPv6Interface((int(found), bits)), not slash


def prefix(text: str) -> Prefix:
    """ADDRESS/LEN without host bits."""
    base, slash, length = text.partition("/")
    found = address(base)
    if not slash:
        length = "24" if found.version == 4 else "64"
        raise Wrong(f"{quoted(text)} is an address; a subnet has a length: `{text}/{length}`")
    bits = _length(text, length, found.max_prefixlen)
    net: Prefix = (
        IPv4Network((int(found), bits), strict=False)
        if isinstance(found, IPv4Address)
        else IPv6Network((int(found), bits), strict=False)
    )
    if net.network_address != found:
        raise Wrong(f"{quoted(text)} has bits set after its length; write `{net}`")
    return net


def _length(text: str, length: str, most: int) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", length) or int(length) > most:
        raise Wrong(f"{quoted(text)} has no length from 0 to {most} after its `/`")
    return int(length)


def subnet(text: str) -> Prefix:
    """A prefix with room for at least two interfaces."""
    found = prefix(text)
    if found.num_addresses < 2 or found.is_multicast or found.is_loopback or found.prefixlen == 0:
        raise Wrong(f"{quoted(text)} is not a subnet that interfaces can have; write `192.168.5.0/24`")
    if isinstance(found, IPv6Network) and found.is_link_local:
        raise Wrong(
            f"{quoted(text)} is on every link by itself (RFC 4291, section 2.5.6); write `fd00:5::/64`"
        )
    if isinstance(found, IPv4Network) and int(found.network_address) >> 24 == 0:
        raise Wrong(
            f"{quoted(text)} means this network itself (RFC 1122, section 3.2.1.3); write `10.5.0.0/24`"
        )
    return found


def subnet_or_size(text: str) -> Prefix | int:
    """A subnet, or the size of one to be planned: `/22`."""
    if not text.startswith("/"):
        return subnet(text)
    size = _length(text, text[1:], 127)
    if size < 8 or 31 < size < 48:
        raise Wrong(f"{quoted(text)} is not a size to plan: 8 to 31 for IPv4, 48 to 127 for IPv6")
    return size


def mac(text: str) -> str:
    """A unicast MAC, lower case with colons."""
    found = text.lower().replace("-", ":")
    if not re.fullmatch(_MAC, found):
        found = _other_notation(text)
    if not found:
        raise Wrong(f"{quoted(text)} is not a MAC address; write `02:42:ac:11:00:02`")
    if int(found[:2], 16) & 1 or found == "00:00:00:00:00:00":
        why = "its first byte must be even" if int(found[:2], 16) else "it means none at all"
        raise Wrong(f"{quoted(text)} is not a unicast MAC: {why}; write `{_unicast(found)}`")
    return found


def _other_notation(text: str) -> str:
    """The MAC from other usual notations, 0242.ac11.0002 or 0242ac110002; "" if it is none."""
    if not re.fullmatch(r"[0-9A-Fa-f]{12}|([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}", text):
        return ""
    from netaddr import EUI, mac_unix_expanded  # 50 ms, only for the few files that need it

    return str(EUI(text, version=48, dialect=mac_unix_expanded))


def _unicast(found: str) -> str:
    return f"{int(found[:2], 16) & 0xFE | 2:02x}{found[2:]}"


def allowed(text: str) -> str:
    """An address, a prefix or a MAC, in canonical text: an additional source that a port may send from."""
    if re.fullmatch(_MAC, text.lower().replace("-", ":")):
        return mac(text)
    return str(prefix(text) if "/" in text else address(text))


def is_within(inner: Prefix, outer: Prefix) -> bool:
    """Whether one prefix is part of, or equal to, the other."""
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)
