"""What commands ask of the runtime: start, stop, signal, pause, change, remove containers, hold ports.

Requests go through the fabric's supervisor, which is started when needed. All are idempotent: starting what
runs and stopping what does not are no errors. The state of containers is in status.py.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from netfab.errors import NetfabError, PortBusy, RuntimeFailed, raise_all
from netfab.runtime import cgroups, ports, summons
from netfab.runtime.paths import Paths
from netfab.runtime.protocol import BUSY, DESCRIPTOR_LIMIT, MESSAGE_LIMIT, NAME_LIMIT, error_from
from netfab.runtime.record import EXITED, Record, write_record
from netfab.runtime.spec import Spec
from netfab.runtime.status import connect, status, status_of, supervisor_lives
from netfab.system.replace import replace_file
from netfab.system.rest import rest
from netfab.system.sockets import Socket, send_descriptors
from netfab.system.trees import remove_tree

_T = TypeVar("_T")

STOP_TIMEOUT = 10.0  # seconds, docker's

_PATIENCE = 20.0  # seconds until a supervisor that starts or ends has done so
_GLANCE = 0.005  # seconds between two polls meanwhile
_SUCCESSORS = 5  # supervisors that are asked the same, if each exits without an answer


def start(paths: Paths, spec: Spec, netns: int) -> None:
    """Start one container in the network namespace that is open as `netns`."""
    start_all(paths, [(spec, netns)])


def start_all(paths: Paths, wanted: Iterable[tuple[Spec, int]]) -> None:
    """Start containers, all at once. On return each runs its program, and its `exec` commands are done.

    Raises all errors together; containers that could be started then run.
    """
    known = status(paths)
    fresh: list[tuple[Spec, int]] = []
    errors: list[NetfabError] = []
    for spec, netns in wanted:
        running = known.get(spec.name)
        if running is None or running.over:
            fresh.append((spec, netns))
        elif running.spec != spec:
            errors.append(NetfabError(f"{spec.name} runs already, as something else", hint="remove it first"))
    if fresh:
        errors += _start(paths, fresh)
    raise_all(errors)


def _start(paths: Paths, fresh: list[tuple[Spec, int]]) -> list[NetfabError]:
    """The next specs are written while the supervisor gets ready, and while it starts others."""
    _make_records(paths)
    specs = [spec for spec, _ in fresh]
    _write_specs(paths, specs[:1])
    summons.call(paths)  # from here on a crash leaves files by which it is found
    _write_specs(paths, specs[1:DESCRIPTOR_LIMIT])
    failed: dict[str, NetfabError] = {}
    for number, batch in enumerate(_batches(fresh, DESCRIPTOR_LIMIT), 1):
        request = {"verb": "start", "names": [spec.name for spec, _ in batch]}
        following = specs[number * DESCRIPTOR_LIMIT :][:DESCRIPTOR_LIMIT]
        answer = _ask(paths, request, [netns for _, netns in batch], partial(_write_specs, paths, following))
        failed |= {name: error_from(name, described) for name, described in answer["failed"].items()}
    return [*failed.values(), *_run_commands(paths, [spec for spec, _ in fresh if spec.name not in failed])]


def _run_commands(paths: Paths, specs: list[Spec]) -> Iterator[NetfabError]:
    if not any(spec.exec for spec in specs):
        return
    from netfab.runtime.exec import run_in_container

    for spec in specs:
        for argv in spec.exec:
            if code := run_in_container(paths, spec.name, argv, privileged=True):
                yield NetfabError(f"{spec.name}: exec: {' '.join(argv)}: exit status {code}")


def _make_records(paths: Paths) -> None:
    with suppress(FileExistsError):
        os.makedirs(paths.records, mode=0o700)
    os.chmod(f"{paths.records}/", 0o700)  # environments may hold secrets; the slash: fails for a file


def _write_specs(paths: Paths, specs: Iterable[Spec]) -> None:
    for spec in specs:
        _write_spec(paths, spec)


def _write_spec(paths: Paths, spec: Spec) -> None:
    file = paths.spec(spec.name)
    with suppress(FileExistsError):
        os.mkdir(os.path.dirname(file), 0o700)
    replace_file(file, spec.to_json())


def ensure_supervisor(paths: Paths) -> None:
    """Make sure that a supervisor answers; a new one adopts the containers of its predecessor."""
    with _connected(paths, time.monotonic() + _PATIENCE):
        pass


def stop(paths: Paths, names: Iterable[str], timeout: float = STOP_TIMEOUT) -> None:
    """Stop containers; records, logs and layers stay. `timeout`: seconds for those that handle SIGTERM."""
    known = status(paths)
    living = [name for name in names if name in known and (known[name].pid or not known[name].over)]
    for batch in _batches(living, NAME_LIMIT):
        _ask(paths, {"verb": "stop", "names": batch, "timeout": timeout})


def halt(paths: Paths, spec: Spec) -> None:
    """Leave it stopped: a running one is stopped, one not started counts as started and stopped.

    A container without a command has nothing but its layer.
    """
    if not spec.argv:
        os.makedirs(paths.layer(spec.name), mode=0o700, exist_ok=True)
    elif status_of(paths, spec.name) is None:
        _make_records(paths)
        _write_spec(paths, spec)
        write_record(paths.record(spec.name), Record(EXITED, stopped=True))
        summons.call(paths)  # from here on a crash leaves nothing that is not looked for
    else:
        stop(paths, [spec.name])


def send_signal(paths: Paths, names: Sequence[str], number: int) -> None:
    """Send a signal to the first process of each; after SIGKILL they have ended on return.

    Raises NetfabError, for all that don't run.
    """
    raise_all(_ask_each(paths, names, {"verb": "signal", "number": number}))


def pause(paths: Paths, names: Sequence[str], paused: bool = True) -> None:
    """Freeze every process of each, or thaw them. Raises NetfabError, for all that failed."""
    raise_all(_ask_each(paths, names, {"verb": "pause", "paused": paused}))


def _ask_each(paths: Paths, names: Sequence[str], request: dict[str, Any]) -> Iterator[NetfabError]:
    for batch in _batches(names, NAME_LIMIT):
        failed = _ask(paths, {**request, "names": batch})["failed"]
        yield from (error_from(name, described) for name, described in failed.items())


def update(paths: Paths, spec: Spec) -> None:
    """Change limits and restart policy while it runs; `spec` may differ from its own only in these."""
    known = status(paths).get(spec.name)
    if known is None:
        raise NetfabError(f"no container {spec.name}")
    if known.spec.changeable != spec.changeable:
        raise NetfabError(f"{spec.name}: only limits and the restart policy change while it runs")
    if known.spec == spec:
        return
    _write_spec(paths, spec)
    try:
        if not known.over:
            _ask(paths, {"verb": "update", "name": spec.name})
    except NetfabError:
        _write_spec(paths, known.spec)
        raise


def remove(paths: Paths, names: Iterable[str], timeout: float = STOP_TIMEOUT) -> None:
    """Stop containers and remove all that they left; with the last one, the supervisor's files too."""
    names = list(names)
    stop(paths, names, timeout)
    os.makedirs(paths.fabric_run, mode=0o755, exist_ok=True)  # names our cgroups
    hierarchies = cgroups.find_hierarchies(paths)
    for name in names:
        cgroups.remove_leaves(cgroups.existing_leaves(name, hierarchies))
        remove_tree(paths.layer(name))
        remove_tree(os.path.dirname(paths.spec(name)))
    _tidy(paths)


def hold_ports(paths: Paths, wanted: Sequence[str]) -> None:
    """Make the supervisor hold exactly these ports of the host, each PROTOCOL/ADDRESS/NUMBER.

    Raises for all that can't be bound; the others are held then.
    """
    ports.mark(paths)
    if wanted or supervisor_lives(paths):
        failed = _ask(paths, {"verb": "hold", "ports": list(wanted)})["failed"]
        raise_all(_not_held(port, number) for port, number in failed.items())


def _not_held(held: str, number: int) -> NetfabError:
    protocol, address, port = held.split("/")
    if number == errno.EADDRINUSE:
        return PortBusy(port, protocol)
    return RuntimeFailed(f"port {port}/{protocol} of {address} can't be held: {os.strerror(number)}")


def release_ports(paths: Paths) -> None:
    """Hold no more ports; if there are no programs either, nothing is left of the supervisor."""
    hold_ports(paths, ())
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(paths.ports)
    _tidy(paths)


def _tidy(paths: Paths) -> None:
    """Remove what supervisors left, once there is nothing to supervise."""
    if _is_empty(paths.records) and not os.path.exists(paths.ports):
        os.makedirs(paths.fabric_run, mode=0o755, exist_ok=True)  # names our cgroups
        cgroups.remove_group(cgroups.find_hierarchies(paths))
        _remove_supervisor(paths)


def _is_empty(directory: str) -> bool:
    try:
        return not os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return True


def _remove_supervisor(paths: Paths) -> None:
    """Wait until it has exited, then remove its files and the directories that are empty then."""
    summons.dismiss(paths)
    with suppress(FileNotFoundError, NotADirectoryError):
        lock = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
        with suppress(OSError), connect(paths) as door:  # usually it has exited already
            door.send(json.dumps({"verb": "end"}).encode())
        fcntl.flock(lock, fcntl.LOCK_EX)
        for file in (paths.socket, paths.supervisor_log, paths.lock):
            with suppress(FileNotFoundError):
                os.unlink(file)
        os.close(lock)
    state = os.path.dirname(paths.layers)
    for directory in (f"{paths.fabric_run}/layers", paths.records, paths.fabric_run, paths.layers, state):
        with suppress(OSError):  # missing, or others need it
            os.rmdir(directory)


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _ask(
    paths: Paths,
    request: dict[str, Any],
    descriptors: Sequence[int] = (),
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Send one request; its answer. If the supervisor exits or is killed meanwhile, its successor is asked.

    `meanwhile` is called after each time that it was sent. Raises RuntimeFailed.
    """
    for _ in range(_SUCCESSORS):
        with (
            _connected(paths, time.monotonic() + _PATIENCE) as door,
            suppress(ConnectionError),
        ):
            send_descriptors(door, json.dumps(request).encode(), descriptors)
            meanwhile()
            if answer := door.recv(MESSAGE_LIMIT):
                return read_answer(answer)
    raise RuntimeFailed(f"each supervisor of {paths.fabric} ended when asked to {request['verb']}")


def read_answer(answer: bytes) -> dict[str, Any]:
    """A supervisor's answer. Raises RuntimeFailed with what it could not do."""
    parsed: dict[str, Any] = json.loads(answer)
    if "error" in parsed:
        raise RuntimeFailed(parsed["error"], hint=parsed.get("hint", ""))
    return parsed


@contextmanager
def _connected(paths: Paths, deadline: float) -> Iterator[Socket]:
    while True:
        with suppress(FileNotFoundError, ConnectionRefusedError):
            door = connect(paths)
            break
        os.makedirs(paths.records, mode=0o700, exist_ok=True)
        if summons.summon(paths) == BUSY:
            # It is about to listen, or to exit. Neither sends an event, so poll; usually for a few
            # milliseconds.
            if time.monotonic() > deadline:
                raise RuntimeFailed(f"the supervisor of {paths.fabric} neither answers nor ends")
            rest(_GLANCE)
    summons.dismiss(paths)  # it gets its request now; or another supervisor was there first
    with door:
        yield door
