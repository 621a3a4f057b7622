"""The keys of a node, with how each is read. What they make together is nodes.py's."""

from __future__ import annotations

from typing import Any, Final

from netfab.errors import Location, TopologyError
from netfab.topology import addresses, grammar, meanings, phrases
from netfab.topology.grammar import NAME, quoted, shown
from netfab.topology.image import source
from netfab.topology.phrases import Forwarding
from netfab.topology.port import FLAG, PORT, bounded
from netfab.topology.reading import (
    ANY_SCALAR,
    Json,
    Reader,
    Run,
    free_text,
    list_of,
    listed,
    map_of,
    named,
    parsed,
    pattern,
    read_record,
    record_schema,
    reserved,
    scalar,
    text_of,
    words,
)
from netfab.topology.schema import (
    PLANNED,
    Bridged,
    Command,
    ContainerMode,
    FileSpec,
    HostMode,
    Mode,
    Mount,
    NoneMode,
    Places,
    Ready,
    RouteSpec,
)
from netfab.topology.tree import Map, Scalar, Sequence, Tree
from netfab.tuples import NamedTuple

SHELL: Final = ("/bin/sh", "-c")
NODE_NAME: Final = scalar(grammar.node_name, pattern(NAME))
NETWORK_NAME: Final = scalar(grammar.name, pattern(NAME))
HOST_NAME: Final = NETWORK_NAME


class Joined(NamedTuple):
    """A network that a node joins, with the port keys written there."""

    network: str
    port: dict[str, Any]
    at: Places


def _networks(tree: Tree, path: str, run: Run) -> tuple[Joined, ...]:
    """`[front, back]`, `{front: {ip: 10.1.2.3}}`, or names and one-key maps mixed."""
    if type(tree) is Map:
        return tuple(_joined(tree, path, run))
    found: list[Joined] = []
    for index, item in enumerate(list_of(tree, path, run).items):
        inner = f"{path}[{index}]"
        try:
            if type(item) is Map:
                if len(item.values) != 1:
                    raise run.error(
                        item,
                        inner,
                        "a network with its port's keys is expected here: `{front: {ip: 10.1.2.3}}`",
                    )
                found += _joined(item, inner, run)
            else:
                at = run.at(item, inner)
                found.append(Joined(NETWORK_NAME.read(item, inner, run), {}, Places(at)))
        except TopologyError as error:
            run.note(error)
    return tuple(found)


def _joined(tree: Map, path: str, run: Run) -> list[Joined]:
    found = []
    for key, value in tree.values.items():
        if key.startswith("x-"):
            continue
        inner = f"{path}.{shown(key)}"
        place = tree.keys[key]
        try:
            name = NETWORK_NAME.read(place, inner, run)
            port = read_record(PORT, map_of(value, inner, run), inner, run)
        except TopologyError as error:
            run.note(error)
            continue
        found.append(Joined(name, port.values, Places(run.at(place, inner), port.at.keys)))
    return found


def _networks_schema() -> Json:
    one = {"type": ["object", "null"], "additionalProperties": record_schema(PORT, meanings.PORT)}
    return {"anyOf": [one, {"type": "array", "items": {"anyOf": [NETWORK_NAME.schema, one]}}]}


_ARGUMENTS: Final = listed(free_text())


def _command(tree: Tree, path: str, run: Run) -> Command:
    """A list is the program's arguments; a text is for the shell."""
    if type(tree) is Scalar and not tree.is_null:
        return (*SHELL, text_of(tree, path, run, free=True))
    items = list_of(tree, path, run).items
    if not items or (type(items[0]) is Scalar and not items[0].text):
        raise run.error(
            tree, path, "a program is expected: `[python3, -m, http.server]`, or a text for the shell"
        )
    return _ARGUMENTS.read(tree, path, run)


COMMAND: Final[Reader[Command]] = Reader(_command, {"anyOf": [ANY_SCALAR, _ARGUMENTS.schema]})


def _entrypoint(tree: Tree, path: str, run: Run) -> Command:
    """A single empty word means none, as in Docker."""
    found = _ARGUMENTS.read(tree, path, run)
    return () if found == ("",) else found


def _image(tree: Tree, path: str, run: Run) -> str:
    """`host`, a path, an archive, or a registry's name; relative paths become absolute."""
    return parsed(lambda text: str(source(text, run.files.directory(tree))), tree, path, run)


def _mode(tree: Tree, path: str, run: Run) -> Mode:
    text = text_of(tree, path, run)
    kind, _, node = text.partition(":")
    if kind == "container" and node:
        return ContainerMode(parsed(lambda _: grammar.node_name(node), tree, path, run))
    if kind == "service" and node:
        raise run.error(
            tree, path, f"{quoted(text)}: did you mean `container:{shown(node)}`? compose calls it service"
        )
    if text not in _MODES:
        raise run.error(
            tree, path, f"{quoted(text)} is not one of `bridge`, `host`, `none`, `container:NODE`"
        )
    return _MODES[text]


_MODES: Final[dict[str, Mode]] = {"bridge": Bridged(), "host": HostMode(), "none": NoneMode()}


def _publish(tree: Tree, path: str, run: Run) -> tuple[Forwarding, Location]:
    return parsed(phrases.forwarding, tree, path, run), run.at(tree, path)


def _route(tree: Tree, path: str, run: Run) -> RouteSpec:
    return parsed(lambda text: phrases.route(text, run.at(tree, path)), tree, path, run)


def _mount(tree: Tree, path: str, run: Run) -> Mount:
    directory, at = run.files.directory(tree), run.at(tree, path)
    return parsed(lambda text: phrases.mount(text, directory, at), tree, path, run)


_FILE: Final[dict[str, Reader[Any]]] = {
    "content": free_text(),
    "source": scalar(str, ANY_SCALAR),
    "mode": scalar(grammar.file_mode, pattern("(0o?)?[0-7]{3,4}")),
    "owner": scalar(grammar.user, ANY_SCALAR),
}


def _files(tree: Tree, path: str, run: Run) -> tuple[FileSpec, ...]:
    found = []
    entries = map_of(tree, path, run)
    for key, value in entries.values.items():
        inner = f"{path}.{shown(key)}"
        try:
            target = parsed(phrases.absolute, entries.keys[key], inner, run)
            found.append(_file(target, value, inner, run))
        except TopologyError as error:
            run.note(error)
    return tuple(found)


def _file(target: str, tree: Tree, path: str, run: Run) -> FileSpec:
    if type(tree) is Scalar and not tree.is_null:
        raise run.error(tree, path, "a map is expected: `{content: text}` or `{source: ./file}`")
    wrong = len(run.errors)
    entry = map_of(tree, path, run)
    written = read_record(_FILE, entry, path, run)
    values, source = written.values, written.values.get("source")
    if source is not None:
        try:
            source = phrases.path(source, run.files.directory(entry.values["source"]))
        except grammar.Wrong as error:
            run.error_at(written.at.of("source"), str(error))
    if ("content" in values) == ("source" in values) and wrong == len(run.errors):
        raise run.error(tree, path, "exactly one of `content` and `source` is expected")
    return FileSpec(
        target,
        values.get("content"),
        source,
        values.get("mode", 0o644),
        values.get("owner", "0:0"),
        run.at(tree, path),
    )


_READY: Final[dict[str, Reader[Any]]] = {
    "tcp": scalar(lambda text: Ready("tcp", port=grammar.port_number(text)), bounded(1, 65535).schema),
    "http": scalar(phrases.ready_http, pattern(r":\d+(/.*)?")),
    "exec": Reader(lambda tree, path, run: Ready("exec", argv=_command(tree, path, run)), COMMAND.schema),
    "log": scalar(phrases.ready_log, ANY_SCALAR),
    "within": scalar(grammar.seconds, pattern(r"\d+(\.\d+)?(us|ms|s|m|h)")),
}


def _readiness(tree: Tree, path: str, run: Run) -> Ready:
    if type(tree) is Scalar:
        return parsed(phrases.ready, tree, path, run)
    wrong = len(run.errors)
    values = dict(read_record(_READY, map_of(tree, path, run), path, run).values)
    within: float = values.pop("within", 60.0)
    if not values and wrong < len(run.errors):
        raise run.errors.pop()  # the single key that could not be read
    if len(values) != 1:
        raise run.error(tree, path, "exactly one of `tcp`, `http`, `exec` and `log` is expected")
    (found,) = values.values()
    ready: Ready = found
    return ready._replace(within=within)


def _ready(tree: Tree, path: str, run: Run) -> tuple[Ready, ...]:
    if type(tree) is Sequence:
        return _READINESSES.read(tree, path, run)
    return (_readiness(tree, path, run),)


_READY_SCHEMA: Final[Json] = {"anyOf": [pattern(r"tcp/\d+"), record_schema(_READY, meanings.READY)]}
_READINESSES: Final = listed(Reader(_readiness, _READY_SCHEMA))
_ROUTES: Final = listed(Reader(_route, pattern(".*")))
_LOOPBACK: Final = listed(scalar(addresses.host_address, pattern("[0-9a-fA-F:.]+")), alone=True)


def _name_server(text: str) -> str:
    """An address in canonical text, or a node's name."""
    return str(addresses.address(text)) if ":" in text or text[:1].isdigit() else grammar.node_name(text)


GUEST_KINDS: Final = ("docker", "podman", "crun", "runc", "lxc", "pid", "netns")


def _attached(text: str) -> str:
    kind, colon, name = text.partition(":")
    if kind not in GUEST_KINDS or not colon or not name:
        raise grammar.Wrong(
            f"{quoted(text)} is not a container; write `docker:NAME` (or {', '.join(GUEST_KINDS[1:])})"
        )
    return text


def _device(text: str) -> str:
    if not text.startswith("/dev/"):
        raise grammar.Wrong(f"{quoted(text)} is not a device; write `/dev/net/tun`")
    return phrases.absolute(text)


NODE: Final[dict[str, Reader[Any]]] = {
    "kind": NETWORK_NAME,
    "image": Reader(_image, ANY_SCALAR),
    "command": words({"none": ()}, COMMAND),
    "entrypoint": words({"none": ()}, Reader(_entrypoint, _ARGUMENTS.schema)),
    "mode": Reader(_mode, pattern(f"bridge|host|none|container:{NAME}")),
    "networks": Reader(_networks, _networks_schema()),
    "publish": listed(Reader(_publish, pattern(r".*\d+(-\d+)?:\d+(-\d+)?(/(tcp|udp|sctp))?"))),
    "routes": words(
        {"auto": (True, ()), "none": (False, ())},
        Reader(lambda *args: (True, _ROUTES.read(*args)), _ROUTES.schema),
    ),
    "forward": FLAG,
    "loopback": words({"true": PLANNED, "false": ()}, _LOOPBACK),
    "env": named(grammar.variable, free_text(), data=True),
    "mounts": listed(Reader(_mount, ANY_SCALAR)),
    "devices": reserved("devices", listed(scalar(_device, ANY_SCALAR)), ()),
    "hostname": scalar(grammar.hostname, ANY_SCALAR),
    "user": scalar(grammar.user, ANY_SCALAR),
    "workdir": scalar(phrases.absolute, ANY_SCALAR),
    "read_only": FLAG,
    "init": FLAG,
    "sysctls": named(grammar.sysctl, scalar(str, ANY_SCALAR), data=True),
    "cap_add": listed(scalar(grammar.capability, ANY_SCALAR)),
    "cap_drop": listed(scalar(grammar.capability, ANY_SCALAR)),
    "memory": scalar(grammar.memory, pattern(r"\d+(\.\d+)?([kmgtKMGT]?(i?[bB])?)")),
    "cpus": scalar(grammar.processors, {"type": ["number", "string"]}),
    "pids": bounded(1, 2**22),
    "restart": scalar(grammar.restart, pattern(r"no|always|unless-stopped|on-failure(:\d+)?")),
    "dns": listed(scalar(_name_server, pattern(f"{NAME}|[0-9a-fA-F:.]+")), alone=True),
    "files": Reader(
        _files, {"type": ["object", "null"], "additionalProperties": record_schema(_FILE, meanings.FILE)}
    ),
    "exec": listed(COMMAND),
    "ready": Reader(_ready, {"anyOf": [_READY_SCHEMA, _READINESSES.schema]}),
    "depends_on": listed(NODE_NAME, alone=True),
    "scale": bounded(1, 100_000),
    "runs_on": listed(HOST_NAME, alone=True),
    "attach": scalar(_attached, ANY_SCALAR),
}
