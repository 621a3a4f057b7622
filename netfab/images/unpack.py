"""A layer's members written as overlayfs wants them: below a descriptor of a directory, and nowhere else.

Every name is opened by openat2 in the layer's root, so a symlink of the layer means the layer's own files
(CVE-2018-15664 and its kin), and its last part is never followed. A whiteout becomes a character device 0:0,
an opaque directory an attribute (Documentation/filesystems/overlayfs.rst).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from errno import ENOTSUP

from netfab.errors import NetfabError
from netfab.images.config import BadImage
from netfab.images.members import Member, members
from netfab.images.streams import Stream
from netfab.system.mounts import open_below
from netfab.system.process import user_namespace_is_initial
from netfab.system.trees import IN_ROOT, make_directories, remove_at

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_PARENTS = 64


def unpack(stream: Stream, directory: str, check: Callable[[], None]) -> None:
    """Unpack the tar into an empty directory. `check` may raise, between two files.

    Raises BadImage; NetfabError if it can't be written.
    """
    tree = _Tree(directory)
    try:
        for member in members(stream):
            check()
            try:
                tree.write(member, stream)
            except (OSError, ValueError, OverflowError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise NetfabError(f"can't unpack {member.parent}/{member.name}: {reason}") from error
        tree.set_times()
    finally:
        tree.close()


class _Tree:
    """The layer's files, and descriptors of directories likely to contain the next ones."""

    def __init__(self, directory: str) -> None:
        self._root = os.open(directory, _DIRECTORY | os.O_CLOEXEC)
        self._parents: dict[str, int] = {"": self._root}
        self._times: dict[str, int] = {}
        initial = user_namespace_is_initial()
        self._opaque = "trusted.overlay.opaque" if initial else "user.overlay.opaque"
        self._may_own = initial
        self._writers: dict[str, Callable[[Member, int, Stream], None]] = {
            "file": self._file,
            "directory": self._directory,
            "symlink": self._symlink,
            "hardlink": self._hardlink,
            "fifo": self._fifo,
            "whiteout": self._whiteout,
            "opaque": lambda member, parent, _: os.setxattr(parent, self._opaque, b"y"),
        }

    def write(self, member: Member, stream: Stream) -> None:
        """Write one member, replacing what has its name in this layer."""
        parent = self._parents.get(member.parent)
        if parent is None:
            parent = self._open_parent(member.parent)
        writer = self._writers[member.kind]
        try:
            writer(member, parent, stream)
        except FileExistsError:
            self._forget_parents()  # the one being replaced may be among them
            parent = self._open_parent(member.parent)
            remove_at(parent, member.name)
            writer(member, parent, stream)

    def _open_parent(self, path: str) -> int:
        if len(self._parents) > _OPEN_PARENTS:
            self._forget_parents()
        if path not in self._parents:
            try:
                fd = open_below(self._root, path, os.O_RDONLY | os.O_DIRECTORY, IN_ROOT)
            except FileNotFoundError:
                self._make_directories(path)
                fd = open_below(self._root, path, os.O_RDONLY | os.O_DIRECTORY, IN_ROOT)
            self._parents[path] = fd
        return self._parents[path]

    def _make_directories(self, path: str) -> None:
        try:
            os.close(make_directories(self._root, path))
        except FileExistsError as error:
            raise BadImage(f"{path} in this layer leads by a symlink to what it does not have") from error

    def _forget_parents(self) -> None:
        while len(self._parents) > 1:
            os.close(self._parents.popitem()[1])

    def _file(self, member: Member, parent: int, stream: Stream) -> None:
        fd = os.open(member.name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if member.sparse:
                _write_sparse(fd, member, stream)
            else:
                _write_all(fd, member.size, stream)
            self._own(fd, member)
            os.utime(fd, ns=(member.mtime, member.mtime))
        finally:
            os.close(fd)

    def _directory(self, member: Member, parent: int, stream: Stream) -> None:
        hides = False
        if member.name:
            try:
                os.mkdir(member.name, 0o700, dir_fd=parent)
            except FileExistsError:
                found = os.stat(member.name, dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    os.unlink(member.name, dir_fd=parent)
                    os.mkdir(member.name, 0o700, dir_fd=parent)
                    hides = stat.S_ISCHR(found.st_mode)  # a whiteout: what is below stays hidden
                    self._forget_parents_but(member.parent)
        path = f"{member.parent}/{member.name}".strip("/")
        fd = os.open(member.name or ".", _DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        try:
            if hides:
                os.setxattr(fd, self._opaque, b"y")
            self._own(fd, member)
        finally:
            os.close(fd)
        self._times[path] = member.mtime

    def _forget_parents_but(self, path: str) -> None:
        for other in [each for each in self._parents if each not in ("", path)]:
            os.close(self._parents.pop(other))

    def _own(self, fd: int, member: Member) -> None:
        """Set owner, then mode, then attributes: each would reset some of the next."""
        try:
            os.fchown(fd, member.uid, member.gid)
        except OSError:  # an owner not mapped in this user namespace: it stays ours
            if self._may_own:
                raise
        os.fchmod(fd, member.mode)
        for name, value in member.xattrs:
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno != ENOTSUP and self._may_own:
                    raise

    def _own_name(self, member: Member, parent: int) -> None:
        """The same for what can't be opened. A symlink has no mode."""
        try:
            os.chown(member.name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        except OSError:
            if self._may_own:
                raise
        os.utime(member.name, ns=(member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)

    def _symlink(self, member: Member, parent: int, stream: Stream) -> None:
        os.symlink(member.target, member.name, dir_fd=parent)
        self._own_name(member, parent)

    def _fifo(self, member: Member, parent: int, stream: Stream) -> None:
        os.mkfifo(member.name, 0o600, dir_fd=parent)
        os.chmod(member.name, member.mode, dir_fd=parent)
        self._own_name(member, parent)

    def _hardlink(self, member: Member, parent: int, stream: Stream) -> None:
        above, _, name = member.target.rpartition("/")
        source = open_below(self._root, above or ".", os.O_PATH | os.O_DIRECTORY, IN_ROOT)
        try:
            os.link(name or ".", member.name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            if not _is_same(source, name, parent, member.name):
                raise
        finally:
            os.close(source)

    def _whiteout(self, member: Member, parent: int, stream: Stream) -> None:
        with suppress(FileExistsError):  # the layer has a file of its own: that hides what is below
            os.mknod(member.name, stat.S_IFCHR, 0, dir_fd=parent)

    def set_times(self) -> None:
        """Set directories' times, once nothing more is written into them."""
        for path, mtime in self._times.items():
            with suppress(FileNotFoundError, NotADirectoryError):  # it was replaced by something else
                fd = open_below(self._root, path or ".", _DIRECTORY, IN_ROOT)
                try:
                    os.utime(fd, ns=(mtime, mtime))
                finally:
                    os.close(fd)

    def close(self) -> None:
        """Close all descriptors."""
        self._forget_parents()
        os.close(self._root)


def _is_same(source: int, name: str, parent: int, link: str) -> bool:
    """Whether a hard link would be to itself."""
    one = os.stat(name or ".", dir_fd=source, follow_symlinks=False)
    return os.path.samestat(one, os.stat(link, dir_fd=parent, follow_symlinks=False))


def _write_all(fd: int, size: int, stream: Stream) -> None:
    for piece in stream.content(size):
        size -= len(piece)
        written = os.write(fd, piece)
        while written < len(piece):
            written += os.write(fd, memoryview(piece)[written:])
    if size:
        raise BadImage("this layer is truncated inside a file")


def _write_sparse(fd: int, member: Member, stream: Stream) -> None:
    for offset, length in member.sparse:
        os.lseek(fd, offset, os.SEEK_SET)
        _write_all(fd, length, stream)
    os.ftruncate(fd, member.size)
