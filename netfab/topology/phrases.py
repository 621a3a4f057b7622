"""Texts of several words: publish, mounts, routes, readiness and link ends."""

from __future__ import annotations

import posixpath
import re
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, cast

from netfab.errors import Location
from netfab.topology.addresses import address, host_address, prefix
from netfab.topology.grammar import (
    Wrong,
    interface_name,
    node_name,
    port_number,
    quoted,
    whole,
)
from netfab.topology.schema import DEVICE_ENDS, Address, Mount, Prefix, Publish, Ready, RouteSpec
from netfab.tuples import NamedTuple

ROUTE_KINDS = ("unicast", "blackhole", "unreachable", "prohibit")
MAX_PATTERN = 1000  # characters of a regular expression


class Forwarding(NamedTuple):
    """`publish` as written: ranges of equal length, or the host's is dealt out to the nodes of a `scale`."""

    host_address: Address | None
    host_ports: range
    node_ports: range
    protocol: Literal["tcp", "udp", "sctp"]

    def ports(self, at: Location) -> tuple[Publish, ...]:
        pairs = zip(self.host_ports, self.node_ports, strict=True)
        return tuple(Publish(self.host_address, host, node, self.protocol, at) for host, node in pairs)

    def dealt(self, index: int) -> Forwarding:
        """The part for the node with that index (from 0) in its `scale`."""
        share = len(self.node_ports)
        return self._replace(host_ports=self.host_ports[index * share : (index + 1) * share])


def forwarding(text: str) -> Forwarding:
    """`[ADDRESS:]HOSTPORT[-LAST]:NODEPORT[-LAST][/tcp|udp|sctp]`."""
    match = re.fullmatch(
        r"(?:(\[[^]]*\]|[^:]*):)?(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?(?:/([a-z]+))?", text, re.ASCII
    )
    if match is None:
        raise Wrong(
            f"{quoted(text)} publishes nothing{_publish_hint(text)}; "
            "write `8080:80` or `127.0.0.1:5353:53/udp`"
        )
    host, first, last, node_first, node_last, protocol = match.groups()
    if protocol not in (None, "tcp", "udp", "sctp"):
        raise Wrong(f"{quoted(text)}: `{protocol}` is not one of `tcp`, `udp`, `sctp`")
    return Forwarding(
        None if host is None else _published_address(host),
        _ports(first, last),
        _ports(node_first, node_last),
        cast('Literal["tcp", "udp", "sctp"]', protocol or "tcp"),
    )


def _publish_hint(text: str) -> str:
    if re.fullmatch(r"\d+", text, re.ASCII):
        return " (the host's port is missing)"
    return " (an IPv6 address stands in brackets)" if text.count(":") > 3 and "[" not in text else ""


def _published_address(text: str) -> Address:
    bracketed = text.startswith("[")
    found = address(text[1:-1] if bracketed else text)
    if bracketed != isinstance(found, IPv6Address):
        raise Wrong(f"{quoted(text)}: brackets are for IPv6 addresses")
    if isinstance(found, IPv6Address) and found.is_loopback:
        raise Wrong("`[::1]` can't be published: the kernel routes nothing from it; `127.0.0.1` can")
    if found.is_multicast or found == IPv4Address("255.255.255.255"):
        raise Wrong(f"{quoted(text)} is not an address of a host")
    return found


def _ports(first: str, last: str | None) -> range:
    start, end = port_number(first), port_number(last or first)
    if start > end:
        raise Wrong(f"`{first}-{last}` counts backwards; write `{last}-{first}`")
    return range(start, end + 1)


def mount(text: str, directory: str, at: Location) -> Mount:
    """`SOURCE:TARGET[:ro|rw]`; a relative source is taken from the file's directory."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if mode not in ("", "ro", "rw") or not target.startswith("/"):
        raise Wrong(f"{quoted(text)} is not a mount; write `./here:/there` or `./here:/there:ro`")
    target = posixpath.normpath("/" + target.lstrip("/"))
    if target == "/":
        raise Wrong(f"{quoted(text)} would hide all of the node's files; a root file system is an `image`")
    return Mount(path(source, directory), target, mode == "ro", at)


def path(text: str, directory: str) -> str:
    """An absolute path on the host; symbolic links are not resolved."""
    if not is_path(text):
        raise Wrong(f"{quoted(text)} is not a path: it begins with `/`, `./` or `../`")
    return posixpath.normpath(posixpath.join(directory, text))


def is_path(text: str) -> bool:
    """Whether it is a path, not a name."""
    return text in (".", "..") or text.startswith(("/", "./", "../"))


def absolute(text: str) -> str:
    """A path inside a node."""
    if not text.startswith("/"):
        raise Wrong(f"{quoted(text)} is not a path in the node: it begins with `/`")
    return posixpath.normpath("/" + text.lstrip("/"))


def route(text: str, at: Location) -> RouteSpec:
    """ip-route(8): `10.9.0.0/16 via hub dev eth1 metric 50`, `default via 10.0.0.1`, `blackhole PREFIX`."""
    words = text.split()
    kind = words.pop(0) if words and words[0] in ROUTE_KINDS else "unicast"
    if not words:
        raise Wrong(
            f"{quoted(text)} is not a route; write `10.9.0.0/16 via hub` or `default via 10.0.0.1 dev eth1`"
        )
    destination = _destination(words.pop(0))
    options: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word not in ("via", "dev", "metric") or word in options or not words:
            raise Wrong(
                f"{quoted(text)}: {quoted(word)} must be `via NODE`, `via ADDRESS`, `dev IF` or `metric N`, "
                "each once"
            )
        options[word] = words.pop(0)
    if (kind == "unicast") != bool(options.keys() & {"via", "dev"}):
        raise Wrong(
            f"{quoted(text)}: "
            + (
                "`via` or `dev` is expected"
                if kind == "unicast"
                else f"a {kind} route has neither `via` nor `dev`"
            )
        )
    via = _next_hop(options["via"]) if "via" in options else None
    if destination and via and not isinstance(via, str) and via.version != destination.version:
        raise Wrong(f"{quoted(text)}: `{via}` is not of the destination's family")
    return RouteSpec(
        destination,
        via,
        interface_name(options["dev"]) if "dev" in options else None,
        whole(options["metric"], 0, 2**32 - 1) if "metric" in options else None,
        cast('Literal["unicast", "blackhole", "unreachable", "prohibit"]', kind),
        at,
    )


def _destination(text: str) -> Prefix | None:
    if text == "default":
        return None
    return prefix(text if "/" in text else f"{text}/{address(text).max_prefixlen}")


def _next_hop(text: str) -> Address | str:
    return host_address(text) if ":" in text or text[:1].isdigit() else node_name(text)


def ready(text: str) -> Ready:
    """`tcp/80`, short for `{tcp: 80}`."""
    if not text.startswith("tcp/"):
        raise Wrong(
            f'{quoted(text)} is not a readiness test; write `tcp/80`, {{http: ":80/health"}}, {{exec: [cmd]}}'
            " or {log: regex}"
        )
    return Ready("tcp", port=port_number(text[4:]))


def ready_http(text: str) -> Ready:
    """`:80/health`: ready once that is answered."""
    match = re.fullmatch(r":(\d+)(/[\x21-\x7e]*)?", text, re.ASCII)
    if match is None:
        raise Wrong(f'{quoted(text)} is not a port and path; write `":80/health"`')
    return Ready("http", port=port_number(match[1]), path=match[2] or "/")


def ready_log(text: str) -> Ready:
    """A regular expression: ready once a line of the log matches."""
    import warnings  # only here: few files have such a pattern

    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(text[:MAX_PATTERN])
    except (re.error, RecursionError, OverflowError) as error:
        raise Wrong(f"{quoted(text)} is not a regular expression: {error}") from None
    if len(text) > MAX_PATTERN:
        raise Wrong(f"{quoted(text)} is longer than {MAX_PATTERN} characters")
    return Ready("log", regex=text)


def link_end(text: str) -> tuple[str, str | None]:
    """`web`, `web:eth5`; `host:IF`, `nic:IF` and `macvlan:IF` stay whole."""
    node, colon, interface = text.partition(":")
    if node in DEVICE_ENDS and colon:
        interface_name(interface)
        return text, None
    return node_name(node), interface_name(interface) if colon else None
