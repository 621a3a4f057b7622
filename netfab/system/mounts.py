"""The mount API of file descriptors, and paths that can't leave their root.

A mount is made detached, changed while nobody sees it, then moved onto a descriptor of its place: no path is
looked up twice, so none can be swapped between check and use (open_tree(2), move_mount(2), fsopen(2),
mount_setattr(2), openat2(2)).
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache
from struct import pack

from netfab.system.calls import Calls, Instead, Register
from netfab.system.calls import system_call as noted
from netfab.system.libc import (
    NR_FSCONFIG,
    NR_FSMOUNT,
    NR_FSOPEN,
    NR_MOUNT_SETATTR,
    NR_MOVE_MOUNT,
    NR_OPEN_TREE,
    NR_OPENAT2,
    NR_PIVOT_ROOT,
    checked,
    libc,
    machine,
    system_call,
)

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MOUNT_ATTR_RDONLY = 0x1  # linux/mount.h
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8

RESOLVE_NO_MAGICLINKS = 0x02  # linux/openat2.h
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

PROC_SUPER_MAGIC = 0x9FA0  # linux/magic.h
SYSFS_MAGIC = 0x62656572
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
NSFS_MAGIC = 0x6E736673
DEVPTS_SUPER_MAGIC = 0x1CD1

_CLOEXEC = 0x1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_OPEN_TREE_CLONE = 0x1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MS_PRIVATE = 0x40000
_TRIES = 128  # for a path; as many as runc


_openat2 = system_call(NR_OPENAT2, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


_nothing = ctypes.create_string_buffer(b"")
_EMPTY = ctypes.addressof(_nothing)

# Options of a file system. A value may be the address of text that is known only when used; "": a flag.
Options = tuple[tuple[str, str | int | None], ...]


def new_mount(
    calls: Calls, fstype: str, attributes: int, options: Options = (), into: Register | None = None
) -> Register:
    """Create a file system, not mounted yet; its descriptor."""
    context = calls.opened(noted, NR_FSOPEN, calls.text(fstype), _CLOEXEC, path=fstype)
    for key, value in options:
        kind = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
        text = 0 if value is None else calls.text(value) if isinstance(value, str) else value
        calls.make(noted, NR_FSCONFIG, context, kind, calls.text(key), text, path=f"{fstype} {key}")
    calls.make(noted, NR_FSCONFIG, context, _FSCONFIG_CMD_CREATE, path=fstype)
    return calls.opened(noted, NR_FSMOUNT, context, _CLOEXEC, attributes, path=fstype, into=into)


def clone_mount(
    calls: Calls, directory: int | Register, path: str | int, *, recursive: bool = False
) -> Register:
    """A detached copy of the mount at a path, to bind it elsewhere. "": at `directory` itself.

    Instead of the path, the address of one that is known only when used.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    if not path:
        flags |= AT_EMPTY_PATH
    where, shown = (calls.text(path), path) if isinstance(path, str) else (path, "")
    return calls.opened(noted, NR_OPEN_TREE, directory, where, flags, path=shown)


def attach_mount(calls: Calls, mount: int | Register, directory: int | Register, name: str = "") -> None:
    """Attach a detached mount to a descriptor's file, or to a name below it, which is not followed.

    By name only where nobody else can have created it: on a file system of the kernel's, or a new one.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if name else _MOVE_MOUNT_T_EMPTY_PATH)
    calls.make(noted, NR_MOVE_MOUNT, mount, _EMPTY, directory, calls.text(name), flags, path=name)


def restrict_mount(calls: Calls, mount: int | Register, attributes: int) -> None:
    """Set MOUNT_ATTR_* on a detached mount and all below, and let no mount propagate into it."""
    _set_attributes(calls, mount, AT_EMPTY_PATH | AT_RECURSIVE, attributes, _MS_PRIVATE)


def restrict_only(calls: Calls, mount: int, attributes: int) -> None:
    """Set MOUNT_ATTR_* on one mount, wherever it is attached, and on nothing below it."""
    _set_attributes(calls, mount, AT_EMPTY_PATH, attributes, 0)


def _set_attributes(
    calls: Calls, mount: int | Register, flags: int, attributes: int, propagation: int
) -> None:
    attr = pack("4Q", attributes, 0, propagation, 0)  # struct mount_attr
    calls.make(noted, NR_MOUNT_SETATTR, mount, _EMPTY, flags, calls.memory(attr), len(attr))


def open_below(root: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2): open a path that RESOLVE_* keeps below `root`. Always close-on-exec."""
    how = _how(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_TRIES):
        # EAGAIN: something anywhere on the machine was renamed or mounted while a `..` was followed.
        with suppress(BlockingIOError):
            return _openat2(root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how), path=path)
    return _openat2(root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how), path=path)


def note_open_below(
    calls: Calls, root: Register, path: str, flags: int, resolve: int, instead: Instead | None = None
) -> Register:
    """The same as a call of a list, for paths without `..`: these cause no EAGAIN."""
    how = pack("3Q", flags | os.O_CLOEXEC, 0, resolve)
    return calls.opened(
        noted, NR_OPENAT2, root, calls.text(path), calls.memory(how), len(how), path=path, instead=instead
    )


@cache
def _how(flags: int, mode: int, resolve: int) -> ctypes.Array[ctypes.c_uint64]:
    """struct open_how, which the kernel only reads. Cached: a dozen serve thousands of directories."""
    return (ctypes.c_uint64 * 3)(flags, mode, resolve)


def pivot_root(calls: Calls, new: str, old: str) -> None:
    """pivot_root(2)."""
    calls.make(noted, NR_PIVOT_ROOT[machine], calls.text(new), calls.text(old), path=new)


def filesystem_magic(fd: int) -> int:
    """The magic number of a descriptor's file system; fstatfs(2)."""
    answer = (ctypes.c_long * 32)()  # struct statfs is 120 bytes, f_type its first word
    checked(libc.fstatfs(fd, ctypes.byref(answer)))
    return int(answer[0])
