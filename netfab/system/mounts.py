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
_TRIES = 128  # at a path; runc's number


_int, _uint, _text, _pointer, _size = (
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
_fsopen = system_call(NR_FSOPEN, _text, _uint)
_fsconfig = system_call(NR_FSCONFIG, _int, _uint, _text, _text, _int)
_fsmount = system_call(NR_FSMOUNT, _int, _uint, _uint)
_open_tree = system_call(NR_OPEN_TREE, _int, _text, _uint)
_move_mount = system_call(NR_MOVE_MOUNT, _int, _text, _int, _text, _uint)
_mount_setattr = system_call(NR_MOUNT_SETATTR, _int, _text, _uint, _pointer, _size)
_openat2 = system_call(NR_OPENAT2, _int, _text, _pointer, _size)
_pivot_root = system_call(NR_PIVOT_ROOT[machine], _text, _text)


def new_mount(fstype: str, attributes: int, options: tuple[tuple[str, str | None], ...] = ()) -> int:
    """A new file system, mounted nowhere yet; its descriptor. An option without a value is a flag."""
    context = _fsopen(fstype.encode(), _CLOEXEC, path=fstype)
    for key, value in options:
        kind = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
        text = None if value is None else os.fsencode(value)
        _fsconfig(context, kind, key.encode(), text, 0, path=f"{fstype} {key}={value}")
    _fsconfig(context, _FSCONFIG_CMD_CREATE, None, None, 0, path=fstype)
    mount = _fsmount(context, _CLOEXEC, attributes, path=fstype)
    os.close(context)
    return mount


def clone_mount(directory: int, path: str, *, recursive: bool = False) -> int:
    """A detached copy of the mount at a path, to bind it elsewhere. "": what `directory` holds."""
    flags = (
        _OPEN_TREE_CLONE | os.O_CLOEXEC | (0 if path else AT_EMPTY_PATH) | (AT_RECURSIVE if recursive else 0)
    )
    return _open_tree(directory, os.fsencode(path), flags, path=path)


def attach_mount(mount: int, directory: int, name: str = "") -> None:
    """Put a detached mount on what a descriptor holds, or on a name below it, which is not followed.

    By name only where nobody else can have made it: on a file system of the kernel's, or one that is new.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if name else _MOVE_MOUNT_T_EMPTY_PATH)
    _move_mount(mount, b"", directory, name.encode(), flags, path=name or None)


def restrict_mount(mount: int, attributes: int) -> None:
    """Set MOUNT_ATTR_* on a detached mount and all below, and let no mount made elsewhere come in."""
    attr = (ctypes.c_uint64 * 4)(attributes, 0, _MS_PRIVATE, 0)  # struct mount_attr
    _mount_setattr(mount, b"", AT_EMPTY_PATH | AT_RECURSIVE, ctypes.byref(attr), ctypes.sizeof(attr))


def restrict_only(mount: int, attributes: int) -> None:
    """Set MOUNT_ATTR_* on one mount, wherever it is attached, and on nothing below it."""
    attr = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    _mount_setattr(mount, b"", AT_EMPTY_PATH, ctypes.byref(attr), ctypes.sizeof(attr))


def open_below(root: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2): open a path that RESOLVE_* keeps below `root`. Always close-on-exec."""
    how = _how(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_TRIES):
        # EAGAIN: something, anywhere on the machine, was renamed or mounted while a `..` was followed.
        with suppress(BlockingIOError):
            return _openat2(root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how), path=path)
    return _openat2(root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how), path=path)


@cache
def _how(flags: int, mode: int, resolve: int) -> ctypes.Array[ctypes.c_uint64]:
    """struct open_how, which the kernel only reads. A dozen serve for thousands of directories."""
    return (ctypes.c_uint64 * 3)(flags, mode, resolve)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _pivot_root(os.fsencode(new), os.fsencode(old), path=new)


def filesystem_magic(fd: int) -> int:
    """The kind of file system that a descriptor lies on; fstatfs(2)."""
    answer = (ctypes.c_long * 32)()  # struct statfs is 120 bytes, f_type its first word
    checked(libc.fstatfs(fd, ctypes.byref(answer)))
    return int(answer[0])
