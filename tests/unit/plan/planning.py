"""Plans of a few lines of YAML, and what is in them as the text that people read."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from textwrap import dedent
from typing import Any, TypeVar

from netfab.objects.address import Address
from netfab.objects.base import HOST, node_space
from netfab.objects.container import Container
from netfab.objects.file import File
from netfab.objects.route import Route
from netfab.objects.veth import End, Veth
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.planner import Plan, plan
from netfab.plan.subnets import Reservation
from netfab.topology.load import load
from netfab.topology.schema import Topology

RUN = "/run/netfab"
Kind = TypeVar("Kind")


def read(text: str) -> Topology:
    return load(dedent(text).encode(), "lab.yaml", "/lab", {}, None)


def planned(text: str, leases: Iterable[Lease] = (), **facts: Any) -> Plan:
    """The plan of that file; `facts` are the fields of Facts."""
    return plan(read(text), leases, Facts(**facts), RUN)


def held(prefix: str, holder: str = "routed via tun0 on this host") -> tuple[Reservation, ...]:
    return (Reservation(ip_network(prefix), holder),)


def subnets(found: Plan) -> dict[str, str]:
    return {name: " ".join(map(str, s.prefixes)) for name, s in found.layout.segments.items()}


def subnet_leases(found: Plan) -> frozenset[Lease]:
    return frozenset(lease for lease in found.claims if lease.kind in ("subnet", "shared"))


def addresses(found: Plan, node: str) -> list[str]:
    """What a node has, lo's last: `eth0 10.0.0.2/24`; link-local ones left out."""
    space = HOST if node == HOST else node_space(found.fabric.name, node)
    return [
        f"{thing.link.text} {thing.address}/{thing.length}"
        for thing in sorted(of_kind(found, Address), key=lambda thing: thing.link.text == "lo")
        if thing.link.space == space and not thing.address.is_link_local
    ]


def routes(found: Plan, node: str) -> list[str]:
    """A node's routes as `ip route` would show them."""
    space = HOST if node == HOST else node_space(found.fabric.name, node)
    return [
        " ".join([
            str(thing.destination) if thing.destination.prefixlen else "default",
            " + ".join(map(str, thing.hops)) or thing.kind,
            *([f"metric {thing.metric}"] if thing.metric not in (0, 1024) else []),
        ])
        for thing in of_kind(found, Route)
        if thing.space == space
    ]  # fmt: skip


def of_kind(found: Plan, kind: type[Kind]) -> list[Kind]:
    return [thing for thing in found.fabric.values() if isinstance(thing, kind)]


def ends(found: Plan) -> dict[str, End]:
    """Every interface inside a node, as `node eth0`."""
    prefix = node_space(found.fabric.name, "")
    return {
        f"{end.link.space.removeprefix(prefix)} {end.link.text}": end
        for veth in of_kind(found, Veth)
        for end in (veth.a, veth.b)
        if end.link.space != HOST
    }


def file_of(found: Plan, node: str, which: str) -> list[str]:
    """The lines of a node's `hosts` or `resolv` file, those about localhost left out."""
    path = getattr(found.names[node], which)
    (file,) = (thing for thing in of_kind(found, File) if thing.path == path)
    return [line for line in file.content.splitlines() if "localhost" not in line]


def container(found: Plan, node: str) -> Container:
    (program,) = (thing for thing in of_kind(found, Container) if thing.name == node)
    return program
