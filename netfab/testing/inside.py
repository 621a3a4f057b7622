"""What is done in a sandbox, each in a process that ends with its call (broker.py), so it may go anywhere.

What takes time to begin with (`talks`) gets the line to its caller, and the file descriptors that came by it.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from netfab import fabric as api
from netfab.errors import Location, NetfabError
from netfab.hosts import simulated
from netfab.kernel.netlink import Netlink
from netfab.nodes import opened_namespace
from netfab.objects.base import HOST, Name, node_space
from netfab.objects.link import set_up
from netfab.objects.wire import encode
from netfab.system import linux
from netfab.testing.line import Line, failure
from netfab.topology.checks import check_text, parsed_check
from netfab.topology.grammar import Wrong
from netfab.topology.schema import Check, Topology
from netfab.tuples import NamedTuple
from netfab.where import HERE


class Place(NamedTuple):
    """A node of a fabric, and the simulated host that it is on, if any."""

    fabric: str
    node: str
    host: str = ""


class Applied(NamedTuple):
    """What came of a topology. `summary`: as `status -o json` has it."""

    fabric: str
    summary: Mapping[str, Any]
    hosts: tuple[str, ...]
    checks: tuple[str, ...]


class Reached(NamedTuple):
    """What came of trying. `why`: the first thing that is wrong, with the way so far."""

    holds: bool
    reason: str
    why: str


_hosts: list[int] = []  # what simulated hosts last as long as: this process's, before its forks


def apply(text: str, file: str, directory: str, environ: Mapping[str, str]) -> Applied:
    """Make the sandbox match the topology; its hosts, if it has any, are simulated. Raises NetfabError."""
    topology = _loaded(text, file, directory, environ)
    if topology.hosts:
        from netfab import across, simulate

        if not simulated.names():
            _hosts.extend(simulate.begin(topology))
        summary = across.apply(topology, across.hosts_of(topology), file).summary
    else:
        api.apply(topology, file)
        summary = _summary(topology.name)
    checks = tuple(map(check_text, topology.checks))
    return Applied(topology.name, summary, tuple(topology.hosts), checks)


def shown(text: str, file: str, directory: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The whole topology, as `netfab config` prints it, and its graph for mermaid."""
    from netfab.diagnose.graph import mermaid
    from netfab.topology.config import config

    topology = _loaded(text, file, directory, environ)
    return config(topology), mermaid(topology)


def plan(text: str, file: str, directory: str, environ: Mapping[str, str]) -> list[str]:
    """What `apply` would change, a line each."""
    from netfab.engine.diff import describe

    topology = _loaded(text, file, directory, environ)
    if topology.hosts:
        from netfab import across

        changes: Sequence[Mapping[str, Any]] = across.plan(topology, across.hosts_of(topology)).changes
    else:
        changes = describe(api.plan(topology, file).changes)
    return [f"{each['action']} {each['kind']} {each['name']}" for each in changes]


def _loaded(text: str, file: str, directory: str, environ: Mapping[str, str]) -> Topology:
    from netfab.loading import read

    return read(text.encode(), file, directory, environ)


def _summary(fabric: str) -> dict[str, Any]:
    (record,) = (record for record in api.records() if record.name == fabric)
    found: dict[str, Any] = json.loads(record.summary)
    return found


def reconcile(fabric: str, hosts: Sequence[str]) -> None:
    """All as it was applied."""
    if hosts:
        from netfab import across

        if (entry := across.known(fabric)) is not None:
            across.reconcile(entry)
    else:
        api.reconcile(fabric)


def status(fabric: str, hosts: Sequence[str]) -> dict[str, Any]:
    """As `netfab status -o json` prints it."""
    if hosts:
        from netfab import across

        entry = across.known(fabric)
        return across.status(entry) if entry is not None else {}
    return api.status(fabric)


def enter_host(host: str) -> None:
    """This process in a simulated host, or where it is."""
    if host:
        simulated.enter(host)


def enter(place: Place) -> None:
    """This process in the network of a node; `host` is what the nodes run on. Raises NetfabError."""
    enter_host(place.host)
    if place.node != "host":
        netns = opened_namespace(place.fabric, place.node, _node(place))
        linux.setns(netns, linux.CLONE_NEWNET)
        os.close(netns)


def _node(place: Place) -> Mapping[str, Any]:
    nodes: Mapping[str, Mapping[str, Any]] = _summary(place.fabric)["nodes"]
    return nodes[place.node]


def names(place: Place) -> dict[str, tuple[str, ...]]:
    """The addresses of each name, as a program in the node finds them."""
    from netfab.diagnose.trials import names_in

    enter_host(place.host)
    with open(_node(place)["hosts"] or "/etc/hosts", encoding="utf-8") as file:
        return names_in(file.read())


def new_socket(line: Line, _: list[int], place: Place, family: int, kind: int, protocol: int) -> None:
    """A socket that was born in a node. Talks."""
    enter(place)
    with socket.socket(family, kind, protocol) as made:
        line.tell(None, [made.fileno()])


def execute(line: Line, fds: list[int], place: Place, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    """Run a program in a node with these three streams; says its exit status. Talks.

    A number that comes by the line is a signal for it.
    """
    enter_host(place.host)
    child = os.fork()
    if child == 0:
        _become(line, fds, place, argv, env)
    pidfd = os.pidfd_open(child)
    for fd in fds:
        os.close(fd)
    line.tell(None)
    heard = [pidfd, line.fileno()]
    while pidfd not in (ready := select.select(heard, [], [])[0]):
        if line.fileno() in ready:
            try:
                number, _ = line.hear()
            except EOFError:  # nobody listens; it runs on
                heard.remove(line.fileno())
            else:
                os.kill(child, number)
    line.tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _become(line: Line, fds: list[int], place: Place, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    code = 1
    try:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        code = api.execute(f"{place.fabric}/{place.node}", argv, env=tuple(env.items()))
    except NetfabError as error:
        line.tell(failure(error))
    finally:
        os._exit(code)


def ping(place: Place, address: str, within: float) -> float | None:
    """Seconds until an address answers an echo request; None where it does not within that time."""
    from ipaddress import ip_address

    from netfab.kernel.echo import answering

    enter(place)
    return answering([ip_address(address)], within).get(ip_address(address))


def tried(place: Place, sentence: str, hosts: Sequence[str]) -> Reached:
    """What comes of a sentence of `checks`, and why, where it fails."""
    from netfab.diagnose.trials import trials_of

    check = _check(sentence)
    if hosts:
        from netfab import across

        entry = across.known(place.fabric)
        assert entry is not None
        (trial,) = trials_of([check], entry.summary)
        (verdict,) = across.tried(entry, [trial])
    else:
        from netfab.checks import tried

        (trial,) = trials_of([check], _summary(place.fabric))
        (verdict,) = tried(place.fabric, [trial])
    if verdict.holds or not check.reaches:
        return Reached(verdict.holds, verdict.reason, "")
    return Reached(verdict.holds, verdict.reason, why(place, sentence, hosts))


def why(place: Place, sentence: str, hosts: Sequence[str]) -> str:
    """Whether one reaches the other, by which way, and what is wrong where not, as `netfab why` says it."""
    from netfab.looking import Here
    from netfab.why import lines, why

    check = _check(sentence)._replace(via="", within=None)
    if hosts:
        from netfab import across
        from netfab.remote.asking import There
        from netfab.remote.party import party

        entry = across.known(place.fabric)
        assert entry is not None
        with party(entry.hosts, HERE) as together:
            asked = {host: There(together, host, place.fabric) for host in entry.hosts}
            return "\n".join(lines(check, why(check, place.fabric, entry.summary, asked)))
    here = {"": Here(place.fabric)}
    return "\n".join(lines(check, why(check, place.fabric, _summary(place.fabric), here)))


def _check(sentence: str) -> Check:
    try:
        return parsed_check(sentence, Location("the test", 1, 1, ""))
    except Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong


def routes(place: Place) -> list[str]:
    """The node's routes, as netfab names them: `default via 10.0.0.1 dev eth0`."""
    from netfab.hosts.local import LocalHost
    from netfab.objects.route import Route

    enter_host(place.host)
    space = node_space(place.fabric, place.node)
    with LocalHost(place.fabric) as host:
        own = host.observe(place.fabric, spaces={HOST, space}).own
    found = (thing for thing in own.values() if type(thing) is Route and thing.space == space)
    return [str(route).removeprefix("route ").removesuffix(f" in {place.node}") for route in found]


def set_link(place: Place, interface: str, up: bool) -> None:
    """An interface of a node, or of what nodes run on, up or down."""
    enter(place)
    switch(interface, up)


def switch(interface: str, up: bool) -> None:
    """An interface of the network that this process is in, up or down. Raises OSError."""
    index = socket.if_nametoindex(interface)
    request = set_up(Name(HOST, interface), up, interface)
    refused = Netlink().batch([(1, encode(request, lambda _: index, 1))])
    if refused:
        raise OSError(*refused[1])


def drift(fabric: str, hosts: Sequence[str]) -> list[str]:
    """What is not as it was applied, a line each."""
    from netfab.engine.diff import describe

    if hosts:
        from netfab import across

        entry = across.known(fabric)
        changes = across.drift(entry) if entry is not None else ()
        return [f"{each['host']}: {_changed(each)}" for each in changes]
    return [_changed(each) for each in describe(api.drift(fabric))]


def _changed(change: Mapping[str, Any]) -> str:
    return f"{change['action']} {change['kind']} {change['name']} {change['why']}".rstrip()


def logs(fabric: str, hosts: Sequence[str]) -> dict[str, str]:
    """What the programs of nodes have written, by node."""
    found: dict[str, list[str]] = {}
    for host in hosts or ("",):
        with simulated.inside(host) if host else nullcontext():
            running = [each["node"] for each in api.programs() if each["fabric"] == fabric]
            for node, line in api.logs([f"{fabric}/{node}" for node in running]):
                found.setdefault(node, []).append(line.decode(errors="replace").rstrip("\n"))
    return {node: "\n".join(lines) + "\n" for node, lines in found.items()}
