"""A guest's network namespace, held open; and no other namespace of it.

What is opened belongs to the run that was found: a pidfd tells that its process still lives after the
namespace was opened and the start time compared, so its number was nobody else's in between; pidfd_open(2).
"""

from __future__ import annotations

import os
from typing import Self

from netfab.errors import GuestGone, NotRoot
from netfab.guests.guest import Guest, refuse_our_own
from netfab.guests.namespaces import open_bound
from netfab.system.poll import readable
from netfab.system.proc import start_ticks
from netfab.tuples import NamedTuple


class Opened(NamedTuple):
    """A guest's network namespace by a file descriptor, and how to tell that it is still the guest's."""

    fd: int  # for setns(2), and for moving interfaces
    path: str
    pidfd: int | None = None  # of its process; None: only the path is known

    @classmethod
    def of(cls, guest: Guest) -> Self:
        """Raises GuestGone; NoGuest for our own namespace, and for a path that leads elsewhere; NotRoot."""
        try:
            opened = cls(open_bound(guest.path), guest.path) if guest.pid is None else cls._of_process(guest)
        except PermissionError as error:
            raise NotRoot(
                f"not allowed to enter {guest.label}", hint="only root is, with CAP_SYS_PTRACE"
            ) from error
        except OSError as error:
            raise GuestGone(guest.label) from error
        try:
            found = os.fstat(opened.fd)
            if guest.pid is None and str(found.st_ino) != guest.started:
                raise GuestGone(guest.label)
            refuse_our_own(guest.label, found)
        except BaseException:
            opened.close()
            raise
        return opened

    @classmethod
    def _of_process(cls, guest: Guest) -> Self:
        assert guest.pid is not None
        pidfd = os.pidfd_open(guest.pid)
        try:
            opened = cls(os.open(guest.path, os.O_RDONLY | os.O_CLOEXEC), guest.path, pidfd)
        except BaseException:
            os.close(pidfd)
            raise
        if str(start_ticks(guest.pid)) != guest.started or not opened.lives():
            opened.close()
            raise GuestGone(guest.label)
        return opened

    def lives(self) -> bool:
        """Whether that run of the guest continues, and its name still refers to it."""
        if self.pidfd is not None:
            return not readable([self.pidfd], 0)
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.fd)
        if self.pidfd is not None:
            os.close(self.pidfd)


def open_namespace(guest: Guest) -> int:
    """A file descriptor of its network namespace, which the caller closes. Raises as `Opened.of` does."""
    opened = Opened.of(guest)
    if opened.pidfd is not None:
        os.close(opened.pidfd)
    return opened.fd
