"""What others hold on this host, in words: names that a fabric can't take, and ports on its bridges.

Pure; observe.py has read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from netfab.kernel.netns import DIRECTORY, FOREIGN
from netfab.objects.base import HOST, Name, Space
from netfab.objects.link import IFALIAS, LOOPBACK_IFINDEX, MASTER, Link, of_a_fabric, owned, related
from netfab.objects.wire import number, text

if TYPE_CHECKING:
    from netfab.objects.ovsdb import Switch, SwitchPort

OTHERS_XFRM = "another fabric's, or one that netfab did not make"


def is_of(space: Space, fabric: str) -> bool:
    """A node's namespace is a fabric's if its lo carries the mark, or if it is only the file for one."""
    return not space.links or any(
        link.ifindex == LOOPBACK_IFINDEX and owned(link, fabric) for link in space.links
    )


def names_of_others(
    fabric: str, spaces: Mapping[str, Space], named: Iterable[tuple[str, str]]
) -> dict[Name, str]:
    """Links and namespaces that are not the fabric's, and whose they are.

    `named`: what /run/netns has under the fabric's name, as Namespaces.named gives it.
    """
    links = {
        Name(space, link.name): _holder(link)
        for space, found in spaces.items()
        for link in found.links
        if not owned(link, fabric)
    }
    return links | dict(_namespaces_of_others(fabric, spaces, named))


def _namespaces_of_others(
    fabric: str, spaces: Mapping[str, Space], named: Iterable[tuple[str, str]]
) -> Iterator[tuple[Name, str]]:
    for name, what in named:
        inside = spaces.get(f"node {name}")
        if what == FOREIGN:
            yield Name("namespace", name), f"a file that netfab did not make, {DIRECTORY}/{name}"
        elif inside is not None and not is_of(inside, fabric):
            yield Name("namespace", name), f"a network namespace that netfab did not make, {DIRECTORY}/{name}"


def tables_of_others(tables: Iterable[tuple[str, str]]) -> dict[Name, str]:
    """Tables of nft, (family, name), that have a fabric's name but not its mark."""
    return {Name("firewall", family): f"one that netfab did not make, {table}" for family, table in tables}


def ports_of_others(fabric: str, host: Sequence[Link], switches: Sequence[Switch]) -> dict[Name, str]:
    """The fabric's bridges with ports of somebody else, and these ports in words."""

    own = {link.ifindex: link.name for link in host if link.kind == "bridge" and owned(link, fabric)}
    found: dict[Name, list[str]] = {}
    for link in host if own else ():
        bridge = own.get(number(link.attrs.get(MASTER, b"")))
        if bridge is not None and not related(link, fabric):
            found.setdefault(Name(HOST, bridge), []).append(f"{link.name}, {_holder(link)}")
    for switch in switches:
        if others := switch.others(fabric) if switch.fabric == fabric else ():
            found[Name(HOST, switch.name)] = [f"{port.name}, {_owner(port)}" for port in others]
    return {name: "; ".join(ports) for name, ports in found.items()}


def _holder(link: Link) -> str:
    label = text(link.attrs.get(IFALIAS, b""))
    if of_a_fabric(link):
        return f"another fabric's {link.kind} ({label or 'no label'})"
    return f"a {link.kind or 'network device'} that netfab did not make"


def _owner(port: SwitchPort) -> str:
    return f"a port of fabric {port.fabric}" if port.fabric else "a port that netfab did not make"
