"""Network namespaces: created, found, entered, deleted; and the sockets that were opened in them.

A socket stays in the namespace in which it was opened, so each is entered once. /run/netns is iproute2's
(ip-netns(8)): what netfab makes there can be used with `ip netns exec`.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOENT
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from netfab.errors import KernelRefused
from netfab.kernel.netlink import Netlink
from netfab.objects.base import HOST, Name
from netfab.system import linux
from netfab.system.files import public_directory

if TYPE_CHECKING:
    from netfab.kernel.ahead import Ahead
    from netfab.kernel.together import Together

DIRECTORY = "/run/netns"
NAMESPACE, LEFTOVER, FOREIGN = "namespace", "leftover", "foreign"  # kinds of files there
FEWEST = 50  # that are worth a child to create them ahead
_SPARE = 64  # file descriptors left for everything else


class Opened(Protocol):
    """A guest's open namespace."""

    @property
    def fd(self) -> int:
        """The namespace's file descriptor."""

    def lives(self) -> bool:
        """Whether it is still that guest's."""

    def close(self) -> None:
        """Close it."""


class GuestWentAway(FileNotFoundError):
    """A guest stopped or restarted meanwhile."""


class Namespaces:
    """Every network namespace that this command works in: the caller's own ("host"), and nodes by name.

    `open_guest` opens a Guest's namespace, or raises GuestWentAway.
    """

    def __init__(self, open_guest: Callable[[Any], Opened] | None = None) -> None:
        self._open_guest = open_guest
        self._guests: dict[str, Any] = {}  # by the name of their namespace
        self._opened: dict[str, Opened] = {}  # those that are open
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._sockets: dict[str, Netlink] = {HOST: Netlink()}
        self._ahead: Ahead | None = None
        self._unbound: dict[str, int] = {}  # by name: the group of one that is created but not bound yet
        self._ended: list[Netlink] = []  # sockets that keep deleted namespaces alive
        self._reading: Together | None = None  # likewise: a child that has sockets in some
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        there = len(os.listdir("/proc/self/fd"))  # the program that imports us may have many
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - there - _SPARE

    def close(self) -> None:
        """Close every namespace."""
        if self._ahead is not None:
            self._ahead.close()
        self.let_go_of_ended()
        for netlink in self._sockets.values():
            netlink.close()
        self._sockets.clear()
        self._close_guests()
        os.close(self._home)

    def _close_guests(self) -> None:
        while self._opened:
            self._opened.popitem()[1].close()

    def let_go_of_ended(self) -> None:
        """Have the kernel clean up the namespaces that were deleted."""
        while self._ended:
            self._ended.pop().close()
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def kept_by(self, reading: Together) -> None:
        """Keep this child, and so the sockets that it has in namespaces, instead of the previous one."""
        if self._reading is not None:
            self._reading.close()
        self._reading = reading

    def socket(self, space: str) -> Netlink:
        """The rtnetlink socket of a space, opened on first use.

        Raises OSError: no such namespace; KernelRefused if it could not be bound.
        """
        self._bind(space.removeprefix("node "))
        found = self._sockets.get(space)
        if found is None:
            with self.inside(space):
                found = Netlink()
            self._keep(space, found)
        return found

    def _keep(self, space: str, netlink: Netlink) -> None:
        if self._is_full:
            self.let_go_of_ended()
            self._close_guests()
            for other in [other for other in self._sockets if other != HOST]:
                self._sockets.pop(other).close()
        self._sockets[space] = netlink

    @property
    def _is_full(self) -> bool:
        """Whether descriptors run out; an open guest may take two."""
        return len(self._sockets) + len(self._ended) + 2 * len(self._opened) >= self._most

    @contextmanager
    def inside(self, space: str) -> Iterator[None]:
        """Run the block with this thread in the space's network namespace."""
        if space == HOST:
            yield
            return
        fd = self.open(space.removeprefix("node "))
        try:
            linux.setns(fd, linux.CLONE_NEWNET)
            yield
        finally:
            linux.setns(self._home, linux.CLONE_NEWNET)
            os.close(fd)

    @contextmanager
    def inside_new(self) -> Iterator[None]:
        """Run the block with this thread in a new network namespace, which goes when it is left."""
        try:
            linux.unshare(linux.CLONE_NEWNET)
            yield
        finally:
            linux.setns(self._home, linux.CLONE_NEWNET)

    def adopt(self, guest: Any) -> None:
        """Let the guest's name stand for that guest from now on."""
        name = guest.name.text
        if self._guests.get(name) != guest:
            self._guests[name] = guest
            for former in (self._opened.pop(name, None), self._sockets.pop(guest.space, None)):
                if former is not None:
                    former.close()

    def open(self, name: str) -> int:
        """A file descriptor of a node's namespace, by its name, or of the host's.

        Raises OSError; FileNotFoundError also if it is no namespace, or a guest that went away;
        KernelRefused if it could not be bound.
        """
        if name == HOST:
            return os.dup(self._home)
        self._bind(name)
        if name in self._guests and self._open_guest is not None:
            return os.dup(self._opened_guest(name, self._open_guest).fd)
        return self.open_bound(name)

    def _opened_guest(self, name: str, open_it: Callable[[Any], Opened]) -> Opened:
        """Opened once, and checked each time to be still the same. Raises GuestWentAway."""
        opened = self._opened.get(name)
        if opened is None or not opened.lives():
            if opened is not None:
                self._opened.pop(name).close()
            if self._is_full:
                self._close_guests()
            opened = self._opened[name] = open_it(self._guests[name])
        return opened

    @staticmethod
    def open_bound(name: str) -> int:
        """A file descriptor of /run/netns/NAME. Raises OSError as `open` does."""
        path = f"{DIRECTORY}/{name}"
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not _is_namespace(os.fstat(fd)):
            os.close(fd)
            raise FileNotFoundError(ENOENT, "no network namespace", path)
        return fd

    def create(self, name: Name, group: int) -> None:
        """Create a namespace that appears complete: lo grouped (our mark) and up, then bound.

        While they are created ahead, only its file exists until it is first used, so that the child works
        in parallel with what comes next. Raises OSError; FileExistsError if anything but an empty plain file
        of ours has the name.
        """
        path = f"{DIRECTORY}/{name.text}"
        _clear_the_way(path)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o000))
        if self._ahead is None:
            self._keep(f"node {name.text}", self._make(name.text, group))
        else:
            self._unbound[name.text] = group

    def bind_all(self) -> None:
        """Bind all that are created but not bound yet. Raises KernelRefused."""
        while self._unbound:
            self._bind(next(iter(self._unbound)))

    def give_up_unbound(self) -> None:
        """Bind none of them: their files are like those left by a killed command, and are removed as such."""
        self._unbound.clear()

    def _bind(self, name: str) -> None:
        """Bind that one, if it is not bound yet. Raises KernelRefused, and then no other is bound either."""
        group = self._unbound.pop(name, None) if self._unbound else None
        if group is None:
            return
        try:
            netlink = self._make(name, group)
        except OSError as error:
            self.give_up_unbound()
            doing = f"create namespace {name}"
            raise KernelRefused(doing, error.errno or EINVAL, error.strerror or "") from error
        if self._is_full:  # the others stay open, as a caller may be about to use one
            netlink.close()
        else:
            self._sockets[f"node {name}"] = netlink

    def _make(self, name: str, group: int) -> Netlink:
        path = f"{DIRECTORY}/{name}"
        try:
            netlink = self._ahead.take() if self._ahead is not None else None
            netlink = netlink or self._new(group)
            fd = netlink.namespace()
            try:
                linux.mount(f"/proc/self/fd/{fd}", path, flags=linux.MS_BIND)
            finally:
                os.close(fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        return netlink

    def _new(self, group: int) -> Netlink:
        from netfab.kernel.ahead import new_namespace

        try:
            return new_namespace(group)
        finally:
            linux.setns(self._home, linux.CLONE_NEWNET)

    def expect(self, names: Iterable[str], group: int) -> None:
        """Begin to create namespaces for nodes that have none, if they are many."""
        there: Container[str] = ()
        with suppress(OSError):
            there = set(os.listdir(DIRECTORY))
        missing = sum(name not in there for name in names)
        if missing >= FEWEST:
            from netfab.kernel.ahead import Ahead

            with suppress(OSError):  # no other process, no socket: they are created on use
                self._ahead = Ahead(missing, group)

    def delete(self, name: Name) -> None:
        """Unmount a namespace and remove its file; that it is gone already is fine.

        A socket in it keeps it until this command has read back what it did: the cleanup holds the kernel's
        rtnetlink lock, with a thousand namespaces for more than a tenth of a second.
        """
        if (netlink := self._sockets.pop(f"node {name.text}", None)) is not None:
            self._ended.append(netlink)
        self._unbound.pop(name.text, None)
        path = f"{DIRECTORY}/{name.text}"
        with suppress(FileNotFoundError):
            try:
                linux.umount(path)
            except OSError as error:
                if error.errno not in (EINVAL, ENOENT):  # EINVAL: not a mount point
                    raise
            os.unlink(path)

    def named(self, prefix: str, known: Mapping[str, str] = {}) -> Iterator[tuple[str, str]]:
        """(name, NAMESPACE, LEFTOVER or FOREIGN) of everything in /run/netns with that prefix.

        What is `known` is not examined again.
        """
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(DIRECTORY) as entries:
            for name in sorted(entry.name for entry in entries if entry.name.startswith(prefix)):
                with suppress(FileNotFoundError):  # ended meanwhile
                    yield name, known.get(name) or _what_is(f"{DIRECTORY}/{name}")


def prepare_directory() -> None:
    """Set up /run/netns as `ip netns add` does: a shared mount, whose binds every mount namespace sees."""
    public_directory(DIRECTORY)
    try:
        linux.mount("", DIRECTORY, flags=linux.MS_SHARED | linux.MS_REC)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        linux.mount(DIRECTORY, DIRECTORY, flags=linux.MS_BIND | linux.MS_REC)
        linux.mount("", DIRECTORY, flags=linux.MS_SHARED | linux.MS_REC)


def _is_namespace(found: os.stat_result) -> bool:
    return found.st_dev == _nsfs()


@cache
def _nsfs() -> int:
    """The device number of nsfs, which all namespaces share; from our own namespace, ns(7)."""
    return os.stat("/proc/self/ns/net").st_dev


def _what_is(path: str) -> str:
    """Told from a single look, as another command may be changing it.

    LEFTOVER: an empty plain file of mode 000 that a killed command left between creating and binding.
    """
    found = os.lstat(path)
    if _is_namespace(found):
        return NAMESPACE
    unused = stat.S_ISREG(found.st_mode) and found.st_size == 0 and stat.S_IMODE(found.st_mode) == 0
    return LEFTOVER if unused and found.st_uid == 0 else FOREIGN


def _clear_the_way(path: str) -> None:
    with suppress(FileNotFoundError):
        if _what_is(path) == LEFTOVER:
            os.unlink(path)
