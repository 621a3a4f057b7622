"""The state of a fabric's containers, from their records: no supervisor is needed for the answer."""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic

from netfab import TYPE_CHECKING
from netfab.runtime.paths import Paths
from netfab.runtime.protocol import MESSAGE_LIMIT
from netfab.runtime.record import EXITED, RESTARTING, RUNNING, Record, read_record, read_spec
from netfab.runtime.spec import Spec
from netfab.system import json
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from netfab.system.sockets import Socket

_PATIENCE = 5.0  # seconds for a supervisor that is busy, however many containers it is asked about
_LEAST = 0.001  # seconds: 0 would mean not to wait at all
PAUSED, STOPPED = "paused", "stopped"  # shown for records that say running, and exited


class Status(NamedTuple):
    """A container's status. exit_code None: not ended, or its end was not seen (never taken for 0)."""

    state: str  # running | paused | restarting | exited | stopped (by a user, until it is started again)
    pid: int  # 0 unless it runs
    exit_code: int | None
    oom: bool
    started: float  # seconds since the epoch
    ended: float
    restarts: int
    error: str  # why it could not be started
    spec: Spec

    @property
    def over(self) -> bool:
        """Whether it has ended and will not be restarted."""
        return self.state in (EXITED, STOPPED)


def status(paths: Paths) -> dict[str, Status]:
    """Every container of the fabric that was started and not removed, by name."""
    try:
        names = sorted(os.listdir(paths.records))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    until = monotonic() + _PATIENCE
    found = ((name, _status_of(paths, name, until)) for name in names)
    return {name: one for name, one in found if one is not None}


def any_lives(paths: Paths) -> bool:
    """Whether any container is not over; stops reading at the first such."""
    with suppress(FileNotFoundError, NotADirectoryError):
        until = monotonic() + _PATIENCE
        found = (_status_of(paths, name, until) for name in os.listdir(paths.records))
        return any(one is not None and not one.over for one in found)
    return False


def status_of(paths: Paths, name: str) -> Status | None:
    """One container's status; None if there is none."""
    return _status_of(paths, name, monotonic() + _PATIENCE)


def _status_of(paths: Paths, name: str, until: float) -> Status | None:
    known = read_record(paths.record(name))
    with suppress(FileNotFoundError, ValueError, TypeError):
        spec = read_spec(paths.spec(name))
        if known is not None:
            return _status(paths, name, known, spec, until)
    return None


def _status(paths: Paths, name: str, known: Record, spec: Spec, until: float) -> Status:
    if known.state == RUNNING and not known.lives:
        # It has just ended, or did while no supervisor ran: look again once that is settled.
        supervised = _all_is_noted(paths, until)
        known = read_record(paths.record(name)) or known
        if not supervised and known.state == RUNNING and not known.lives:
            known = known._replace(state=EXITED, pid=0)
    if known.state == RESTARTING and not supervisor_lives(paths):
        known = known._replace(state=EXITED)
    return Status(
        _state(known),
        known.pid,
        known.exit_code,
        known.oom,
        known.started,
        known.ended,
        known.restarts,
        known.error,
        spec,
    )


def _all_is_noted(paths: Paths, until: float) -> bool:
    """Whether a supervisor runs, and has recorded all that had ended before it was asked.

    `until`: how long to wait for one that is suspended or busy.
    """
    try:
        with connect(paths) as door:
            door.settimeout(max(until - monotonic(), _LEAST))
            door.send(json.dumps({"verb": "wait", "names": []}).encode())
            return bool(door.recv(MESSAGE_LIMIT))
    except TimeoutError:
        return True
    except OSError:
        return False


def _state(known: Record) -> str:
    if known.state == RUNNING and known.paused:
        return PAUSED
    return STOPPED if known.state == EXITED and known.stopped else known.state


def supervisor_lives(paths: Paths) -> bool:
    """Whether the fabric's supervisor takes requests."""
    try:
        connect(paths).close()
    except OSError:
        return False
    return True


def connect(paths: Paths) -> Socket:
    """A connection to the supervisor. Raises OSError if there is none."""
    from netfab.system.sockets import AF_UNIX, SOCK_SEQPACKET, Socket

    directory = os.open(paths.fabric_run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    door = Socket(AF_UNIX, SOCK_SEQPACKET)
    try:
        # Through the directory's descriptor: a socket's path holds 107 bytes.
        door.connect(f"/proc/self/fd/{directory}/{os.path.basename(paths.socket)}")
    except OSError:
        door.close()
        raise
    finally:
        os.close(directory)
    return door
