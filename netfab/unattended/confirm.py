"""`--confirm`: a change that is rolled back unless a user, or a reply from an address, confirms it.

A child that outlives the connection keeps the previous state, and applies it on timeout. The command
tells it how the change went; if the command dies first, the child rolls back at once.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from ipaddress import IPv4Address, IPv6Address
from time import monotonic

from netfab import fabric
from netfab.errors import NetfabError, StoreError, UndoFailed
from netfab.imperative import adhoc
from netfab.plan.leases import Lease
from netfab.store.store import Part, Record
from netfab.system.files import public_directory
from netfab.system.poll import readable
from netfab.topology.adhoc import NAME
from netfab.tuples import NamedTuple
from netfab.where import Where, need_root, opened_store

PATIENCE = 10.0  # seconds to wait for an idle child to end, and for a client's message
PROBING = 0.5  # seconds between two probes of the address
_APPLIED, _NOTHING = b"+", b"-"
_CONFIRMED, _TOO_EARLY, _SAME_CONNECTION = b"confirmed", b"early", b"same"
_SUFFIX = ".confirm"
_CERTAIN = Record("", "", 0, "", "")  # the change stays
_GONE = Record("", "", 0, "", "", "gone")  # another command removed the fabric meanwhile
ATTEMPTS = 3  # to roll back


class Terms(NamedTuple):
    """How long the child waits once the change is made, and which address it probes."""

    seconds: float
    probe: IPv4Address | IPv6Address | None = None


class Before(NamedTuple):
    """A fabric as it was in the store."""

    name: str
    record: Record | None
    leases: frozenset[Lease]
    part: Part | None = None  # of a fabric over several hosts


class Attempt:
    """The change that is about to be made: the caller sets whether it changed anything."""

    changed = True


class Armed:
    """A child that rolls the change back, unless it is told the outcome, and that is then confirmed."""

    def __init__(self, before: Before, terms: Terms, where: Where) -> None:
        """Raises NetfabError while another change awaits confirmation."""
        door, (self._line, theirs) = _door(before.name, where), socket.socketpair()
        if _forked():
            _keep_only(theirs.fileno(), door.fileno())
            _wait(before, terms, where, door, theirs.fileno())
        theirs.close()
        door.close()

    def applied(self) -> None:
        """The change was made: the time runs from now on.

        Returns when the child knows what it may roll back: it leaves changes after that alone.
        Raises NetfabError if it was killed.
        """
        try:
            self._line.sendall(_APPLIED)
            self._wait()
            self.close()
        except ConnectionError as error:
            raise NetfabError(
                "the change stays: the process that was to roll it back was killed",
                hint="to go back, apply what was there before",
            ) from error

    def nothing(self) -> None:
        """Nothing changed. Returns when the child is gone, so that another change may begin."""
        with suppress(ConnectionError):
            self._line.sendall(_NOTHING)
            self._wait()
        self.close()

    def _wait(self) -> None:
        """Wait until the child has closed the line. Raises ConnectionError if it never read our message."""
        self._line.settimeout(PATIENCE)
        with suppress(TimeoutError):
            self._line.recv(1)

    def close(self) -> None:
        """Close the line: a child that was told nothing rolls the change back now."""
        self._line.close()


@contextmanager
def armed(name: str, terms: Terms, where: Where) -> Iterator[Attempt]:
    """Within this, change that fabric. Raises NetfabError, before anything, while another change waits."""
    need_root("apply --confirm")
    with opened_store(where) as store:
        before = Before(name, store.record(name), store.leases(name))
    keeper, attempt = Armed(before, terms, where), Attempt()
    try:
        yield attempt
        tell = keeper.applied if attempt.changed else keeper.nothing
        tell()
    except UndoFailed:
        raise
    except BaseException:
        keeper.nothing()
        raise
    finally:
        keeper.close()


def confirm(name: str | None, where: Where) -> str:
    """Confirm a change; returns the name of its fabric. Raises NetfabError."""
    need_root("confirm")
    with suppress(FileNotFoundError):
        files = sorted(file.name for file in os.scandir(where.run) if file.name.endswith(_SUFFIX))
        for one in [file.removesuffix(_SUFFIX) for file in files] if name is None else [name]:
            said = _asked(_path(one, where))
            if said == _CONFIRMED:
                return one
            if said == _SAME_CONNECTION:
                raise NetfabError(
                    f"fabric {one}: this is the connection that it was changed over",
                    hint="a new one shows that this host can be reached: open it, and confirm there",
                )
            if said == _TOO_EARLY:
                raise NetfabError(f"fabric {one} is being changed", hint="confirm when that is done")
    raise NetfabError(
        f"no change of fabric {name} waits to be confirmed" if name else "no change waits to be confirmed",
        hint="what was not confirmed in time is rolled back",
    )


def _path(name: str, where: Where) -> str:
    return f"{where.run}/{name}{_SUFFIX}"


def _door(name: str, where: Where) -> socket.socket:
    """The socket that `confirm` connects to. Raises NetfabError."""
    path = _path(name, where)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as other:
            other.connect(path)
            raise NetfabError(
                f"a change of fabric {name} waits to be confirmed", hint=f"netfab confirm {name}"
            )
        with suppress(FileNotFoundError):
            os.unlink(path)
        _bind(door, path)
        os.chmod(path, 0o600)
        door.listen()
    except OSError as error:
        raise NetfabError(f"{path}: {error}") from error
    return door


def _bind(door: socket.socket, path: str) -> None:
    while True:
        public_directory(os.path.dirname(path))
        with suppress(FileNotFoundError):  # another command just removed it with its last file
            door.bind(path)
            return


def _asked(path: str) -> bytes:
    """The answer of the child at that socket; b"" if it is gone.

    After a confirmation it is gone on return, so that another change may begin.
    """
    said = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE)
        line.connect(path)
        line.sendall(_connection() + b"\n")
        while more := line.recv(100):
            said += more
    return said


def _connection() -> bytes:
    """An identifier of the ssh connection (ssh(1)); b"" on the machine itself."""
    return os.environb.get(b"SSH_CONNECTION", b"").replace(b"\n", b" ")


def _forked() -> bool:
    """Fork; True in the child, a daemon that outlives session, terminal and parent."""
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.chdir("/")
    return True


def _keep_only(*kept: int) -> None:
    """Close the command's other descriptors: a lock in two processes is not released by one."""
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number not in kept:
            with suppress(OSError):
                os.close(number)


def _wait(before: Before, terms: Terms, where: Where, door: socket.socket, told: int) -> None:
    """The child. Never returns."""
    code = 1
    try:
        known = _is_wanted(before.name, terms, where, door, told)
        with suppress(OSError):
            os.unlink(_path(before.name, where))  # while still listening: afterwards it may be another's
            os.rmdir(where.run)  # if it is empty
        door.close()
        code = 0 if known is _CERTAIN or _is_taken_back(before, known, where) else 1
    finally:
        os._exit(code)


def _is_taken_back(before: Before, applied: Record | None, where: Where) -> bool:
    """Roll back; whether that succeeded. Failures go to syslog(3)."""
    from syslog import LOG_DAEMON, LOG_ERR, syslog

    for _ in range(ATTEMPTS):
        try:
            _go_back(before, applied, where._replace(lock_timeout=600.0))
        except (NetfabError, OSError) as error:
            syslog(LOG_DAEMON | LOG_ERR, f"netfab: taking fabric {before.name} back: {error}")
        else:
            return True
    return False


def _is_wanted(name: str, terms: Terms, where: Where, door: socket.socket, told: int) -> Record | None:
    """_CERTAIN if the change stays; else the record of what is to be rolled back; None: unknown."""
    applied: Record | None = None
    deadline: float | None = None
    waiting: list[int] = [told, door.fileno()]
    while True:
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            return applied
        looks = left is not None and terms.probe is not None
        ready = readable(waiting, min(left or 0, PROBING) if looks else left)
        if told in ready:
            said = os.read(told, 1)
            if said != _APPLIED:
                return _CERTAIN if said == _NOTHING else None
            with suppress(StoreError), opened_store(where) as store:  # else roll back whatever is there
                applied = store.record(name) or _GONE
            deadline, waiting = monotonic() + terms.seconds, [door.fileno()]
            os.close(told)  # this lets the command continue
        elif door.fileno() in ready:
            if _is_confirmed(door, deadline is not None):
                return _CERTAIN
        elif looks and terms.probe is not None:
            from netfab.kernel.echo import answers

            with suppress(OSError):  # no way to probe, which proves nothing
                if answers(terms.probe, PROBING):
                    return _CERTAIN


def _is_confirmed(door: socket.socket, applied: bool) -> bool:
    """Answer one client; whether it confirmed."""
    with suppress(OSError), door.accept()[0] as line:
        line.settimeout(PATIENCE)
        theirs, ours = line.recv(1000).rstrip(b"\n"), _connection()
        answer = _CONFIRMED if applied else _TOO_EARLY
        if ours and theirs == ours:
            answer = _SAME_CONNECTION
        line.sendall(answer)
        if answer == _CONFIRMED:
            line.detach()  # closed when this process ends
            return True
    return False


def _go_back(before: Before, applied: Record | None, where: Where) -> None:
    """Restore the fabric, unless another command has changed it since. Raises NetfabError."""
    with adhoc.alone(where) if before.name == NAME else nullcontext():
        if applied is not None:
            with opened_store(where) as store:
                if store.record(before.name) != applied:
                    return
        if before.record is None:
            fabric.destroy(before.name, where)
        else:
            fabric.go_back(before.record, before.leases, where, before.part)
