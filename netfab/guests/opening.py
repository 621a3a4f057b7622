"""A guest's network namespace, held open; and no other namespace of it.

What is opened belongs to the run that was found: a pidfd tells that its process still lives after the
namespace was opened and the start time compared, so its number was nobody else's in between; pidfd_open(2).
"""

from __future__ import annotations

import os

from netfab.errors import GuestGone, NotRoot
from netfab.guests.guest import Guest, refuse_our_own
from netfab.guests.namespaces import open_bound
from netfab.system.poll import readable
from netfab.system.proc import start_ticks


def open_namespace(guest: Guest) -> int:
    """A file descriptor, for setns(2) and for moving interfaces, which the caller closes.

    Raises GuestGone; NoGuest for our own namespace, and for a path that is now something else; NotRoot.
    """
    try:
        fd = open_bound(guest.path) if guest.pid is None else _open_of_process(guest, guest.pid)
    except PermissionError as error:
        raise NotRoot(
            f"not allowed to enter {guest.label}", hint="only root is, with CAP_SYS_PTRACE"
        ) from error
    except OSError as error:
        raise GuestGone(guest.label) from error
    try:
        found = os.fstat(fd)
        if guest.pid is None and str(found.st_ino) != guest.started:
            raise GuestGone(guest.label)
        refuse_our_own(guest.label, found)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_of_process(guest: Guest, pid: int) -> int:
    pidfd = os.pidfd_open(pid)
    try:
        fd = os.open(guest.path, os.O_RDONLY | os.O_CLOEXEC)
        if str(start_ticks(pid)) != guest.started or _ended(pidfd):
            os.close(fd)
            raise GuestGone(guest.label)
        return fd
    finally:
        os.close(pidfd)


def _ended(pidfd: int) -> bool:
    return bool(readable([pidfd], 0))
