"""Labs running on this machine: how one announces itself, and how its user finds and joins it.

A lab listens on an abstract socket (unix(7)), which exists as long as the lab's first process: a
killed lab leaves nothing behind. The socket's name proves nothing; the lab's user and its
first process are taken from the peer credentials that the kernel reports.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

from netfab.errors import NetfabError
from netfab.system import linux
from netfab.tuples import NamedTuple

_PREFIX = "netfab-lab"
_NAMESPACES = {
    "user": linux.CLONE_NEWUSER,
    "mnt": linux.CLONE_NEWNS,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
    "uts": linux.CLONE_NEWUTS,
    "ipc": linux.CLONE_NEWIPC,
}


class Lab(NamedTuple):
    """A sandbox in which a fabric was applied. pid: its first process."""

    name: str
    pid: int


def announced(name: str) -> socket.socket:
    """A socket by which this process is found as a lab's first, once it listens.

    It belongs to the network namespace that it was created in, wherever its process moves.
    """
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.bind(f"\0{_PREFIX}/{name}/{os.urandom(8).hex()}")
    return door


def take_in(door: socket.socket) -> None:
    """Accept and close connections, in a thread: if nobody accepted them, later clients could not connect.

    A socket's queue is limited (listen(2)), and clients that are gone stay in it.
    """

    def hang_up() -> None:
        with suppress(OSError):  # the socket was closed
            while True:
                door.accept()[0].close()

    Thread(target=hang_up, daemon=True).start()


def find(name: str = "") -> Lab:
    """This user's lab of that name or PID; without one, the only lab. Raises NetfabError."""
    labs = list(_labs())
    found = [lab for lab in labs if name in ("", lab.name, str(lab.pid))]
    if len(found) == 1:
        return found[0]
    told = ", ".join(f"{lab.name} (process {lab.pid})" for lab in labs)
    if found:
        raise NetfabError(f"which lab? There are {told}", hint="name one, or give its process")
    if labs:
        raise NetfabError(f"you have no lab {name}; there are {told}")
    raise NetfabError("no lab of yours runs here", hint="`netfab lab FILE` starts one")


def _labs() -> Iterator[Lab]:
    """Every lab of this user."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        addresses = {line.split()[-1] for line in file if f" @{_PREFIX}/" in line}
    for address in sorted(addresses):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.setblocking(False)  # don't wait for one that does not accept
            door.connect(f"\0{address[1:]}")
            size = struct.calcsize("3i")
            pid, user, _ = struct.unpack("3i", door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
            if user == os.getuid() and pid:
                yield Lab(address.split("/")[1], pid)


def enter(lab: Lab) -> None:
    """Move this single-threaded process into a lab; its children are in the lab's PID namespace, too.

    Raises NetfabError.
    """
    try:
        pidfd = os.pidfd_open(lab.pid)
        if lab not in _labs():  # the PID may have been reused before it was opened
            raise ProcessLookupError(errno.ESRCH, "it has ended")
        kinds = [kind for kind in _NAMESPACES if not _same(kind, lab.pid)]
        linux.setns(pidfd, sum(_NAMESPACES[kind] for kind in kinds))
        os.close(pidfd)
    except OSError as error:
        raise NetfabError(f"can't enter the lab {lab.name}: {error.strerror}") from error


def _same(kind: str, pid: int) -> bool:
    return os.path.samefile(f"/proc/self/ns/{kind}", f"/proc/{pid}/ns/{kind}")
