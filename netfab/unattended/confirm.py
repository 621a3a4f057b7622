"""`--confirm`: a change that is taken back unless somebody says, or an address shows, that all is well.

A child that outlives the connection holds what was before, and applies it when its time is over. The command
tells it how that went; when it dies before, the child takes the way back at once.
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

PATIENCE = 10.0  # seconds for the end of a child that has nothing to do, and for the word of who knocks
PROBING = 0.5  # seconds between two looks whether the address answers
_APPLIED, _NOTHING = b"+", b"-"
_CONFIRMED, _TOO_EARLY, _SAME_CONNECTION = b"confirmed", b"early", b"same"
_SUFFIX = ".confirm"
_CERTAIN = Record("", "", 0, "", "")  # there is nothing to take back
_GONE = Record("", "", 0, "", "", "gone")  # another command took it away meanwhile
ATTEMPTS = 3  # at the way back


class Terms(NamedTuple):
    """How long the child waits once the change is made, and for whom."""

    seconds: float
    probe: IPv4Address | IPv6Address | None = None


class Before(NamedTuple):
    """A fabric as the store had it."""

    name: str
    record: Record | None
    leases: frozenset[Lease]
    part: Part | None = None  # of a fabric over several hosts


class Attempt:
    """The change that is about to be made."""

    changed = True


class Armed:
    """A child that takes the change back, unless it is told how that went, and then that it is to stay."""

    def __init__(self, before: Before, terms: Terms, where: Where) -> None:
        """Raises NetfabError while another change waits."""
        door, (self._line, theirs) = _door(before.name, where), socket.socketpair()
        if _forked():
            _keep_only(theirs.fileno(), door.fileno())
            _wait(before, terms, where, door, theirs.fileno())
        theirs.close()
        door.close()

    def applied(self) -> None:
        """It was made: the time runs from now on.

        Returns when the child knows what it may take back: a change that comes then is another one's.
        Raises NetfabError when it was killed.
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
        """All is as it was. Returns when the child is gone: another change may come."""
        with suppress(ConnectionError):
            self._line.sendall(_NOTHING)
            self._wait()
        self.close()

    def _wait(self) -> None:
        """Until the child has let go of the line. Raises ConnectionError where it never heard us."""
        self._line.settimeout(PATIENCE)
        with suppress(TimeoutError):
            self._line.recv(1)

    def close(self) -> None:
        """A child that was told nothing takes the change back now."""
        self._line.close()


@contextmanager
def armed(name: str, terms: Terms, where: Where) -> Iterator[Attempt]:
    """Within this, change that fabric. Raises NetfabError, with nothing begun, while another change waits."""
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
    """Say that the host is still there; the fabric whose change stays. Raises NetfabError."""
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
    """Where `confirm` knocks. Raises NetfabError."""
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
        with suppress(FileNotFoundError):  # another command removed it with its last file, just now
            door.bind(path)
            return


def _asked(path: str) -> bytes:
    """What the child at that door says; b"" where there is none any more.

    When it is confirmed it is gone by then: another change may come.
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
    """What tells one ssh connection from another; b"" for who is on the machine (ssh(1))."""
    return os.environb.get(b"SSH_CONNECTION", b"").replace(b"\n", b" ")


def _forked() -> bool:
    """True in a child that no end of a session, terminal or parent ends."""
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
    """Let go of what the command had open: a lock that two hold is not let go by one of them."""
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
            os.unlink(_path(before.name, where))  # while we listen: once we do not, it may be another's
            os.rmdir(where.run)  # where nothing else is in it
        door.close()
        code = 0 if known is _CERTAIN or _is_taken_back(before, known, where) else 1
    finally:
        os._exit(code)


def _is_taken_back(before: Before, applied: Record | None, where: Where) -> bool:
    """Whether it could be; who has to know otherwise reads the system's log."""
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
    """_CERTAIN when the change stays; else the record of what is to be taken back; None: it is not known."""
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
            with suppress(StoreError), opened_store(where) as store:  # else it goes, whatever it is by then
                applied = store.record(name) or _GONE
            deadline, waiting = monotonic() + terms.seconds, [door.fileno()]
            os.close(told)  # the command goes on
        elif door.fileno() in ready:
            if _is_confirmed(door, deadline is not None):
                return _CERTAIN
        elif looks and terms.probe is not None:
            from netfab.kernel.echo import answers

            with suppress(OSError):  # there is no way to ask, which shows nothing
                if answers(terms.probe, PROBING):
                    return _CERTAIN


def _is_confirmed(door: socket.socket, applied: bool) -> bool:
    """Answer one who knocked."""
    with suppress(OSError), door.accept()[0] as line:
        line.settimeout(PATIENCE)
        theirs, ours = line.recv(1000).rstrip(b"\n"), _connection()
        answer = _CONFIRMED if applied else _TOO_EARLY
        if ours and theirs == ours:
            answer = _SAME_CONNECTION
        line.sendall(answer)
        if answer == _CONFIRMED:
            line.detach()  # it ends with this process
            return True
    return False


def _go_back(before: Before, applied: Record | None, where: Where) -> None:
    """Make the fabric what it was, unless another command has changed it since. Raises NetfabError."""
    with adhoc.alone(where) if before.name == NAME else nullcontext():
        if applied is not None:
            with opened_store(where) as store:
                if store.record(before.name) != applied:
                    return
        if before.record is None:
            fabric.destroy(before.name, where)
        else:
            fabric.go_back(before.record, before.leases, where, before.part)
