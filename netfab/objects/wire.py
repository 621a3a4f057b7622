"""rtnetlink messages as data, to bytes and back (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h).

A request names links and namespaces by Name; their ifindex or file descriptor is filled in when it is
encoded. About seventeen times faster than a general library, which is the independent oracle of the tests
(docs/decisions/0001). Opens no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from struct import Struct
from typing import Any

from netfab.objects.base import Name
from netfab.tuples import NamedTuple

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38

NLM_F_REQUEST = 0x1
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300
NEW = NLM_F_CREATE | NLM_F_EXCL

AF_INET, AF_BRIDGE, AF_INET6 = 2, 7, 10
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254  # linux/rtnetlink.h
IFF_UP, IFF_MULTICAST, IFF_LOWER_UP = 0x1, 0x1000, 0x10000  # linux/if.h

IFINFO = Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
IFADDR = Struct("=BBBBi")  # ifaddrmsg: family, prefixlen, flags, scope, index
RTMSG = Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
NDMSG = Struct("=BxxxiHBB")  # ndmsg: family, ifindex, state, flags, type
TCMSG = Struct("=BxxxiIII")  # tcmsg: family, ifindex, handle, parent, info
NEXTHOP = Struct("=HBBi")  # rtnexthop: len, flags, hops, ifindex
_HEADER = Struct("=IHHII")  # nlmsghdr: len, type, flags, seq, pid
_U32 = Struct("=I")

MARK = 0x6E  # 'n': IFA_PROTO and rtm_protocol of what netfab added

# A tuple is nested attributes, a Body or Hops.
Value = bytes | str | Name | tuple  # type: ignore[type-arg]  # mypy has no recursive NamedTuple
Resolve = Callable[[Name], int]


class Body(NamedTuple):
    """A fixed header and the attributes after it. A Name among the header's fields stands for its number."""

    header: Struct
    fields: tuple[int | Name, ...]
    attrs: tuple[tuple[int, Value], ...]


class Hops(NamedTuple):
    """RTA_MULTIPATH: (link, weight, attributes) of each next hop."""

    hops: tuple[tuple[Name, int, tuple[tuple[int, Value], ...]], ...]


class Words(NamedTuple):
    """A text that is formatted only when read: hardly any request is refused."""

    form: str  # for str.format
    parts: tuple[object, ...]

    def __str__(self) -> str:
        return self.form.format(*self.parts)


class Request(NamedTuple):
    """One message to rtnetlink; links that it `makes` get their ifindex when it is encoded.

    `ifindex`: the preferred one, if it is free.
    """

    space: str
    type: int
    flags: int
    body: Body
    makes: tuple[Name, ...] = ()
    doing: str | Words = ""  # for the error message, in the words of the plan
    ends: bool = False  # part of a delete, though not by its type: fine if its object is gone
    there: bool = False  # fine if what it makes exists already
    ifindex: int = 0
    alone: bool = False  # sent when all before it succeeded; else the kernel goes on after a refusal


def u8(value: int) -> bytes:
    """One byte."""
    return bytes((value,))


def u16(value: int) -> bytes:
    """Two bytes in host byte order, as `number` reads them."""
    return value.to_bytes(2, "little")


u32 = _U32.pack


def mac(text: str) -> bytes:
    """aa:bb:cc:dd:ee:ff as six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def encode(request: Request, resolve: Resolve, sequence: int) -> bytes:
    """The whole message, padded. Raises what `resolve` raises for a name that has no number."""
    body = _body(request.body, resolve)
    return _HEADER.pack(16 + len(body), request.type, request.flags | NLM_F_REQUEST, sequence, 0) + body


def _body(body: Body, resolve: Resolve) -> bytes:
    fields = [field if isinstance(field, int) else resolve(field) for field in body.fields]
    return body.header.pack(*fields) + attributes(body.attrs, resolve)


def attributes(attrs: tuple[tuple[int, Value], ...], resolve: Resolve) -> bytes:
    """Attributes, each padded to four bytes (netlink(7))."""
    out = []
    for kind, value in attrs:
        data = value if isinstance(value, bytes) else _encoded(value, resolve)
        size = len(data)
        out.append(_attribute(size).pack(4 + size, kind, data))
    return b"".join(out)


@cache
def _attribute(size: int) -> Struct:
    """An attribute with a value of that many bytes: rtattr, value, padding."""
    return Struct(f"=HH{size}s{-size & 3}x")


def no_name(name: Name) -> int:
    """For messages that contain no names."""
    raise LookupError(name)


def _encoded(value: str | tuple[Any, ...], resolve: Resolve) -> bytes:
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, Name):
        return u32(resolve(value))
    if isinstance(value, Body):
        return _body(value, resolve)
    if isinstance(value, Hops):
        return _hops(value, resolve)
    return attributes(value, resolve)


def _hops(value: Hops, resolve: Resolve) -> bytes:
    out = b""
    for link, weight, attrs in value.hops:
        inner = attributes(attrs, resolve)
        out += NEXTHOP.pack(8 + len(inner), 0, weight - 1, resolve(link)) + inner
    return out


def messages(data: bytes) -> list[tuple[int, int, int, int, int]]:
    """(type, flags, sequence, start, end) of each message in a datagram; start is where its body begins."""
    found = []
    offset, size = 0, len(data)
    while offset + 16 <= size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if not 16 <= length <= size - offset:
            break
        found.append((kind, flags, sequence, offset + 16, offset + length))
        offset += (length + 3) & ~3
    return found


class _Layout(NamedTuple):
    """Where a message's attributes are, as two formats that read them without a loop."""

    headers: Struct
    expected: tuple[int, ...]  # what `headers` reads from a message with this layout
    paths: tuple[int, ...]
    values: Struct

    @classmethod
    def of(cls, start: int, found: list[_Found], wanted: frozenset[int] | None) -> _Layout:
        """The layout of attributes that were found after `start`."""
        kept = [one for one in found if wanted is None or one.path in wanted]
        return cls(
            _format(start, [(one.begin - 4, one.begin, "I") for one in found]),
            tuple(one.header for one in found),
            tuple(one.path for one in kept),
            _format(start, [(one.begin, one.end, f"{one.end - one.begin}s") for one in kept]),
        )


class _Found(NamedTuple):
    """An attribute, and where its value begins and ends."""

    path: int
    header: int
    begin: int
    end: int


def _format(at: int, parts: list[tuple[int, int, str]]) -> Struct:
    """A format that reads parts after `at`, given by begin, end and format each."""
    out = "="
    for begin, end, code in parts:
        out += f"{begin - at}x{code}"
        at = end
    return Struct(out)


_LAYOUTS: dict[tuple[int, frozenset[int] | None], list[_Layout]] = {}  # by the length of the attributes
_FEW = 8  # layouts cached for one length: names are padded, so each of their lengths has its own


def inside(*kinds: int) -> int:
    """The path to a nested attribute, the outermost type first, as in `parse`; equal to no type."""
    path = 0
    for kind in kinds:
        path = path << 16 | kind
    return path


def parse(data: bytes, start: int, end: int, wanted: frozenset[int] | None = None) -> dict[int, bytes]:
    """Attributes by type, the last of a type winning; nested ones stay bytes.

    `wanted` as in `located`.
    """
    return dict(zip(*located(data, start, end, wanted), strict=True))


def located(
    data: bytes, start: int, end: int, wanted: frozenset[int] | None = None
) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    """Types and values of attributes, in order.

    With `wanted` only those types, nested ones by their paths, up to the last one found: a link has forty
    attributes. A wanted attribute has no wanted one inside. Most messages of one length have one of a few
    layouts, which are cached.
    """
    layouts = _LAYOUTS.setdefault((end - start, wanted), [])
    for layout in layouts:
        if layout.headers.unpack_from(data, start) == layout.expected:
            return layout.paths, layout.values.unpack_from(data, start)
    found = _found(data, start, end, wanted)
    if len(layouts) < _FEW:
        layouts.append(_Layout.of(start, found, wanted))
    kept = [one for one in found if wanted is None or one.path in wanted]
    return tuple(one.path for one in kept), tuple(data[one.begin : one.end] for one in kept)


def every(data: bytes, wanted: int) -> list[bytes]:
    """The values of all attributes of one type, in order."""
    return [data[one.begin : one.end] for one in _found(data, 0, len(data), None) if one.path == wanted]


def _found(data: bytes, start: int, end: int, wanted: frozenset[int] | None, outer: int = 0) -> list[_Found]:
    """The attributes within the one of path `outer`, up to the last of the wanted ones."""
    found: list[_Found] = []
    left = set(_ways(wanted or frozenset(), outer))
    while start + 4 <= end:
        (header,) = _U32.unpack_from(data, start)
        length = header & 0xFFFF
        if not 4 <= length <= end - start:
            break
        path = outer << 16 | _kind(header)
        found.append(_Found(path, header, start + 4, start + length))
        if path in left and wanted is not None and path not in wanted:
            found += _found(data, start + 4, start + length, wanted, path)
        left.discard(path)
        if wanted is not None and not left:
            break
        start += (length + 3) & ~3
    return found


@cache
def _ways(wanted: frozenset[int], outer: int) -> frozenset[int]:
    """The paths, one level inside `outer`, that are wanted or lead to a wanted one."""
    ways = set()
    for path in wanted:
        while path and path >> 16 != outer:
            path >>= 16
        ways.add(path)
    return frozenset(ways - {0})


def _kind(header: int) -> int:
    """The type of an attribute, without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
    return header >> 16 & 0x3FFF


def parse_hops(data: bytes) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    """(ifindex, weight, attributes) of each next hop of RTA_MULTIPATH."""
    offset = 0
    while offset + 8 <= len(data):
        length, _, hops, index = NEXTHOP.unpack_from(data, offset)
        if not 8 <= length <= len(data) - offset:
            break
        yield index, hops + 1, parse(data, offset + 8, offset + length)
        offset += (length + 3) & ~3


def number(data: bytes) -> int:
    """An unsigned integer of any size in host byte order (little endian on all that netfab supports)."""
    return int.from_bytes(data, "little")


def text(data: bytes) -> str:
    """A NUL-terminated string; names found in the kernel may hold any byte."""
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
