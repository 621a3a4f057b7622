"""The programs of the nodes: what each is started with, with all choices made and defaults filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netfab.plan.hosts import Names, namespace_holder
from netfab.plan.layout import Layout
from netfab.plan.seats import argv_of
from netfab.topology.schema import HostMode, Node, Topology

if TYPE_CHECKING:
    from netfab.objects.container import Container
    from netfab.objects.supervisor import Supervisor


def containers(
    topology: Topology, layout: Layout, names: Mapping[str, Names]
) -> Iterator[Container | Supervisor]:
    """One for each node with a command, and the supervisor of all."""
    made = [
        _container(topology, layout, node, argv, names[node.name])
        for node in topology.nodes.values()
        if layout.has(node.name) and (argv := argv_of(node))
    ]
    yield from made
    if made:
        from netfab.objects.supervisor import Supervisor

        yield Supervisor(topology.name)


def _filled(text: str, topology: Topology, layout: Layout, node: Node) -> str:
    if "{" not in text:
        return text
    from netfab.plan.placeholders import filled

    return filled(text, topology, layout, node)


def commands(topology: Topology, layout: Layout) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The commands of `exec:` in nodes without a program, by node; a container runs its own."""
    return {
        node.name: tuple(tuple(_filled(word, topology, layout, node) for word in argv) for argv in node.exec)
        for node in topology.nodes.values()
        if node.exec and layout.has(node.name) and not argv_of(node)
    }


def _container(
    topology: Topology, layout: Layout, node: Node, argv: tuple[str, ...], names: Names
) -> Container:
    from netfab.objects.container import ENDED, Container, Probe

    def fill(text: str) -> str:
        return text if node.by_command else _filled(text, topology, layout, node)

    holder = namespace_holder(topology, node)
    in_host = isinstance(holder.mode, HostMode)
    addresses = [interface.ip for nic in layout.nics[holder.name] for interface in nic.addresses]
    return Container(
        fabric=topology.name,
        name=node.name,
        argv=tuple(map(fill, argv)),
        image=node.image,
        env=tuple((key, fill(value)) for key, value in node.env),
        user=node.user,
        workdir=node.workdir or "/",
        read_only=node.read_only,
        init=node.init,
        stop_signal=node.stop_signal,
        hostname="" if in_host else node.hostname or node.name,
        mounts=tuple((mount.source, mount.target, mount.read_only) for mount in node.mounts),
        cap_add=node.cap_add,
        cap_drop=node.cap_drop,
        memory=node.memory,
        cpus=node.cpus,
        pids=node.pids,
        restart=node.restart,
        netns="" if in_host else f"/run/netns/{topology.name}.{holder.name}",
        hosts_file="" if in_host else names.hosts,
        resolv_conf="" if in_host else names.resolv,
        files=tuple((file.path, fill(file.content or ""), file.mode, file.owner) for file in node.files),
        exec=tuple(tuple(map(fill, command)) for command in node.exec),
        ready=tuple(Probe(*probe) for probe in node.ready),
        addresses=tuple(map(str, addresses)),
        depends_on=tuple(name for wanted in node.depends_on for name in _members(topology, wanted)),
        **(node.by_command._asdict() | {"state": ENDED} if node.by_command else {}),
    )


def _members(topology: Topology, name: str) -> Iterator[str]:
    """A node, or all of a scaled one; only those with a program to wait for."""
    one = topology.nodes.get(name)
    nodes = (one,) if one else (node for node in topology.nodes.values() if node.base == name)
    yield from (node.name for node in nodes if argv_of(node))
