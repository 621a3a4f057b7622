"""Nodes on other hosts, by name: run a command in one, read logs, start and stop programs."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from netfab.errors import NetfabError, NotAll, raise_rest
from netfab.hosts import simulated
from netfab.kernel.capture import Frame
from netfab.nodes import by_name as local
from netfab.remote.channel import Transport
from netfab.remote.messages import Message, understood
from netfab.remote.party import Connect, Party, connect, party
from netfab.remote.ssh import Ssh, command
from netfab.store.book import Entry
from netfab.tuples import NamedTuple
from netfab.where import Where, opened_book

if TYPE_CHECKING:
    from netfab.nodes.stats import Uses


class There(NamedTuple):
    """A node of a multi-host fabric, on another host or on this one."""

    entry: Entry
    node: str
    host: str

    @property
    def name(self) -> str:
        """The node's name on its host."""
        return f"{self.entry.name}/{self.node}"

    @property
    def destination(self) -> str:
        """How its host is reached; "" if it is this machine."""
        return self.entry.hosts.get(self.host, "")


def find(words: Iterable[str], where: Where) -> dict[str, There]:
    """Those words, `node` or `fabric/node`, that name nodes of fabrics in the book. Raises NetfabError."""
    entries = opened_book(where).entries()
    found = {word: _find(word, entries) for word in words}
    return {word: there[0] for word, there in found.items() if there}


def all_nodes(where: Where) -> list[There]:
    """Every node of every fabric in the book."""
    return [
        There(entry, name, node["host"])
        for entry in opened_book(where).entries()
        for name, node in entry.summary["nodes"].items()
    ]


def _find(word: str, entries: Iterable[Entry]) -> list[There]:
    fabric, _, node = word.rpartition("/")
    found = [
        There(entry, node, entry.summary["nodes"][node]["host"])
        for entry in entries
        if fabric in ("", entry.name) and node in entry.summary["nodes"]
    ]
    if len(found) > 1:
        names = ", ".join(there.name for there in found)
        raise NetfabError(f"{node} is a node of several fabrics: {names}", hint="name one of these")
    return found


def execute(there: There, argv: tuple[str, ...], where: Where, **options: Any) -> int:
    """Run a command in the node with our standard streams; returns its exit status."""
    if there.host in simulated.names():
        with simulated.inside(there.host):
            return local.execute(there.name, argv, where, **options)
    if not there.destination:
        return local.execute(there.name, argv, where, **options)
    _install(there, where)
    words = {"node": there.name, "argv": list(argv), **options}
    words["env"] = [list(pair) for pair in words.get("env", ())]
    argv_of_ssh = command(there.destination, {"exec": words}, terminal=bool(options.get("terminal")))
    return subprocess.run(argv_of_ssh, check=False).returncode


def _install(there: There, where: Where) -> None:
    """Install netfab's modules there first, as standard input will be the command's."""

    def way(_: str, destination: str, __: Where) -> Ssh:
        return Ssh(destination)

    with party({there.host: there.destination}, where, way) as one:
        one.call("programs", {})


def logs(
    nodes: Iterable[There],
    where: Where,
    tell: Callable[[str, bytes], None],
    lines: int | None = None,
    follow: bool = False,
    way: Connect = connect,
    here: Sequence[str] = (),
) -> None:
    """Call `tell` with (node, line) for nodes' output; with `follow`, until all have ended, concurrently.

    `here`: nodes of this host, whose output is read the same way.
    """
    places = _places(nodes)
    if here:
        places["this host"] = _Place("", "", list(here))
    with _party_of(places, where, way) as together:
        questions = {
            label: {"verb": "logs", "nodes": place.nodes, "lines": lines, "follow": follow}
            for label, place in places.items()
        }
        together.ask_all(questions, tell=lambda label, line: tell(*_written(label, line)))


def _written(host: str, line: Message) -> tuple[str, bytes]:
    with understood(host):
        return line["node"], line["text"].encode("utf-8", "surrogateescape")


def capture(
    there: There,
    interface: str,
    filter: str,
    where: Where,
    tell: Callable[[local.Heard], None],
    way: Connect = connect,
) -> None:
    """Call `tell` with frames as `nodes.capture` yields them, until a signal: raises Interrupted then."""
    question = {
        "verb": "capture",
        "node": there.name,
        "interface": interface,
        "filter": filter,
        "follow": True,
    }
    with party({there.host: there.destination}, where, way) as together:
        together.ask_all({there.host: question}, tell=lambda host, line: tell(_heard(host, line)))


def _heard(host: str, line: Message) -> local.Heard:
    with understood(host):
        frames = [
            Frame(str(interface), int(time), bool(outgoing), bytes.fromhex(data))
            for interface, time, outgoing, data in line["frames"]
        ]
        return local.Heard(frames, int(line["lost"]))


def act(verb: str, nodes: Iterable[There], where: Where, way: Connect = connect, **more: Any) -> None:
    """One of Docker's verbs, for nodes' programs. Raises NetfabError, as lifecycle's functions do."""
    errors, done = list[NetfabError](), list[str]()
    for entry, by_host in _by_host(nodes):
        with party({host: entry.hosts.get(host, "") for host in by_host}, where, way) as together:
            message = {"verb": "call", "function": verb}
            said = together.ask(
                {host: {**message, "arguments": {"nodes": names, **more}} for host, names in by_host.items()}
            )
        for host, answer in said.items():
            if isinstance(answer, NetfabError):
                errors.append(answer)
            done += _done_of(answer, by_host[host])
    raise_rest(errors, done)


def _done_of(answer: Message | NetfabError, names: Iterable[str]) -> Iterable[str]:
    if isinstance(answer, NotAll):
        return answer.done
    return () if isinstance(answer, NetfabError) else names


def copy_out(there: There, path: str, target: str, where: Where, way: Connect = connect) -> list[str]:
    """Copy from the files of the node's program, as inside.copy_out does. Raises NetfabError."""
    from netfab.nodes.copying import writer_on_host
    from netfab.remote.copies import part_of
    from netfab.runtime.places import name_of

    question = {"verb": "copy_out", "node": there.name, "path": path, "follow": True}
    with (
        writer_on_host(target, name_of(path)) as writer,
        party({there.host: there.destination}, where, way) as one,
    ):
        one.ask_all({there.host: question}, tell=lambda _, line: writer.take(part_of(line.get("part"))))
        return writer.finish()


def copy_in(source: str, there: There, path: str, where: Where, way: Connect = connect) -> list[str]:
    """Copy to the files of the node's program, as inside.copy_in does. Raises NetfabError."""
    from netfab.nodes.copying import read_on_host
    from netfab.remote.copies import bunches
    from netfab.runtime.places import name_of

    begin = {"verb": "copy_in", "node": there.name, "path": path, "name": name_of(source)}
    with party({there.host: there.destination}, where, way) as one:
        one.ask_all({there.host: begin})
        for bunch in bunches(read_on_host(source)):
            one.ask_all({there.host: {"verb": "parts", "parts": bunch}})
        said = one.ask_all({there.host: {"verb": "parts", "parts": [], "last": True}})
    with understood(there.host):
        return [str(name) for name in said[there.host]["left_out"]]


def inspect(there: There, where: Where, way: Connect = connect) -> dict[str, Any]:
    """The node's desired and actual state, and its host."""
    with party({there.host: there.destination}, where, way) as one:
        said = one.call("inspect", {"what": there.name})[there.host]
    with understood(there.host):
        return {**said, "host": there.host}


def wait(there: There, where: Where, way: Connect = connect) -> int | None:
    """The exit code of the node's program once it has ended for good; None: unknown."""
    message = {"verb": "call", "function": "wait", "arguments": {"node": there.name}, "follow": True}
    with party({there.host: there.destination}, where, way) as one:
        said = one.ask_all({there.host: message})[there.host]
    with understood(there.host):
        (code,) = said["value"]
        return None if code is None else int(code)


@contextmanager
def usage(nodes: Iterable[There], where: Where, way: Connect = connect) -> Iterator[Callable[[], Uses]]:
    """Yields a function that returns the current resource usage of these nodes' programs."""
    from netfab.objects.decode import decoder
    from netfab.runtime.usage import Usage

    read, places = decoder(Usage), _places(nodes)
    with _party_of(places, where, way) as together:
        questions = {
            label: {"verb": "call", "function": "usage", "arguments": {"nodes": place.nodes}}
            for label, place in places.items()
        }

        def used() -> Uses:
            found: dict[tuple[str, str], Usage] = {}
            for host, answer in together.ask_all(questions).items():
                with understood(host):
                    found |= {(str(fabric), str(node)): read(use) for fabric, node, *use in answer["value"]}
            return found

        yield used


class _Place(NamedTuple):
    """A host, how it is reached, and the selected nodes there."""

    host: str
    destination: str
    nodes: list[str]


def _places(nodes: Iterable[There]) -> dict[str, _Place]:
    """The nodes' hosts, by unique label: two fabrics may use one name for different hosts."""
    found: dict[tuple[str, str], _Place] = {}
    for there in nodes:
        place = found.setdefault((there.host, there.destination), _Place(there.host, there.destination, []))
        place.nodes.append(there.name)
    called = Counter(host for host, _ in found)
    return {
        f"{host} at {destination}" if called[host] > 1 and destination else host: place
        for (host, destination), place in found.items()
    }


def _party_of(places: Mapping[str, _Place], where: Where, way: Connect) -> AbstractContextManager[Party]:
    def reach(label: str, destination: str, where: Where) -> Transport:
        return way(places[label].host, destination, where)

    return party({label: place.destination for label, place in places.items()}, where, reach)


def _by_host(nodes: Iterable[There]) -> list[tuple[Entry, Mapping[str, list[str]]]]:
    """The names of nodes, by fabric and host."""
    entries: dict[str, Entry] = {}
    names: dict[str, dict[str, list[str]]] = {}
    for there in nodes:
        entries[there.entry.name] = there.entry
        names.setdefault(there.entry.name, {}).setdefault(there.host, []).append(there.name)
    return [(entry, names[name]) for name, entry in entries.items()]
