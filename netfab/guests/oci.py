"""crun and runc, and Podman, which runs them and has no daemon: read from the files in which they keep state.

Tried with crun 1.8.1, runc 1.1.5 and Podman 4.3.1. crun writes `status` (libcrun/status.c), runc `state.json`
(libcontainer/container_linux.go); both tell the start time of the process, so that a number that is another's
by now is seen. The names of Podman's containers are in the lists of containers/storage (containers.go).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from netfab.errors import NoAnswer
from netfab.guests.guest import Candidate, Guest, guest_of_manager, is_full_id, is_name, names_in
from netfab.system.proc import start_ticks
from netfab.tuples import NamedTuple

_MOST = 8 << 20  # bytes of one of their files
_LISTS = ("containers.json", "volatile-containers.json")  # `--rm` is volatile


class Runtime(NamedTuple):
    """An OCI runtime that keeps a directory for each container."""

    kind: str  # "crun" or "runc"
    directory: str
    file: str
    pid_key: str
    start_key: str

    def candidates(self) -> Iterator[Candidate]:
        """Containers that were created and not deleted. Raises OSError."""
        for id in sorted(os.listdir(self.directory)):
            if is_name(id) and os.path.exists(self._path(id)):
                yield Candidate(self, id)

    def guest(self, candidate: Candidate) -> Guest:
        """Raises NoGuest, GuestGone, NoAnswer, OSError."""
        return guest_of_manager(candidate, lambda: self.pid(candidate.id))

    def pid(self, id: str) -> Any:
        """Its first process; None if it ended or does not exist. Raises NoAnswer, OSError."""
        try:
            state = _parsed(self._path(id))
        except FileNotFoundError:
            return None
        if not isinstance(state, dict):
            raise NoAnswer(self._path(id), "is not what the runtime writes")
        pid, started = state.get(self.pid_key), state.get(self.start_key)
        if isinstance(pid, int) and pid > 1 and start_ticks(pid) != started:
            return None
        return pid

    def _path(self, id: str) -> str:
        return f"{self.directory}/{id}/{self.file}"


def crun(directory: str) -> Runtime:
    """crun's containers in that `--root`."""
    return Runtime("crun", directory, "status", "pid", "process-start-time")


def runc(directory: str) -> Runtime:
    """runc's containers in that `--root`."""
    return Runtime("runc", directory, "state.json", "init_process_pid", "init_process_start")


class Podman(NamedTuple):
    """Podman's containers, which one of the runtimes knows by the same id."""

    storage: tuple[str, ...]  # default graphroot and runroot of storage.conf(5)
    runtimes: tuple[Runtime, ...]
    configuration: str = ""  # that storage.conf; "": none
    kind: str = "podman"

    def candidates(self) -> Iterator[Candidate]:
        """Its containers, also the stopped ones. Raises NoAnswer, OSError."""
        for path in self._lists():
            listed = _parsed(path)
            if not isinstance(listed, list):
                raise NoAnswer(path, "is not a list of containers")
            for entry in listed:
                id = entry.get("id") if isinstance(entry, dict) else None
                if isinstance(id, str) and is_full_id(id):
                    yield Candidate(self, id, names_in(entry.get("names")))

    def guest(self, candidate: Candidate) -> Guest:
        """Raises NoGuest, GuestGone, NoAnswer, OSError."""
        return guest_of_manager(candidate, lambda: self._pid(candidate.id))

    def _lists(self) -> Iterator[str]:
        """One directory for each storage driver; not every root has one."""
        for root in dict.fromkeys((*self.storage, *_roots_in(self.configuration))):
            with suppress(FileNotFoundError):
                for name in sorted(os.listdir(root)):
                    if name.endswith("-containers"):
                        paths = (f"{root}/{name}/{file}" for file in _LISTS)
                        yield from (path for path in paths if os.path.exists(path))

    def _pid(self, id: str) -> Any:
        return next((pid for runtime in self.runtimes if (pid := runtime.pid(id))), None)


def _roots_in(configuration: str) -> list[str]:
    """Where it makes Podman keep containers. Raises NoAnswer if invalid."""
    try:
        with open(configuration, "rb") as file:
            text = file.read(_MOST)
    except OSError:
        return []
    import tomllib  # most hosts have no such file

    try:
        told = tomllib.loads(text.decode()).get("storage", {})
        return [told[key] for key in ("graphroot", "runroot") if isinstance(told.get(key), str)]
    except (ValueError, AttributeError, RecursionError) as error:
        raise NoAnswer(configuration, f"makes no sense: {error}") from error


def _parsed(path: str) -> Any:
    """A JSON file. Raises FileNotFoundError, OSError; NoAnswer if it is too large or invalid."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(fd, "rb") as file:
        text = file.read(_MOST + 1)
    if len(text) > _MOST:
        raise NoAnswer(path, f"is larger than {_MOST >> 20} MiB")
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    raise NoAnswer(path, "is not JSON, or too deep")
