"""A container's root file system: overlay, /proc, /sys, /dev, what is masked, bind mounts, files.

What is made here is written down (system/calls.py), and made by the container's process before it gives its
rights away, in its own mount namespace. Every path that an image or an earlier run of the container controls
is opened by openat2 below a descriptor of the root; mounts go onto such descriptors, so no symlink leads out
and nothing can be swapped. Nothing here imports, and no code of the root is loaded.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import suppress
from functools import partial

from netfab.runtime.identity import identify
from netfab.runtime.layers import Layers, Part
from netfab.runtime.spec import DEVICE_LINKS, DEVICES, INIT, Mount, Spec
from netfab.system import linux
from netfab.system.calls import Calls, Register, at_once, library
from netfab.system.mounts import (
    AT_FDCWD,
    CGROUP2_SUPER_MAGIC,
    CGROUP_SUPER_MAGIC,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    Options,
    attach_mount,
    clone_mount,
    filesystem_magic,
    new_mount,
    note_open_below,
    open_below,
    pivot_root,
    restrict_mount,
    restrict_only,
)
from netfab.system.trees import IN_ROOT, STRICT, make_directories
from netfab.tuples import NamedTuple

_LOCKED_DOWN = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_READ_ONLY = MOUNT_ATTR_RDONLY | _LOCKED_DOWN
_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
_KERNEL_MAGICS = (PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC)

_LONGEST_OPTION = 255  # bytes; fsconfig(2)
_DESCRIPTORS = "/proc/self/fd/"  # followed by a number of up to seven digits
_MOST_AT_ONCE = _LONGEST_OPTION // (len(_DESCRIPTORS) + 8)  # lower directories that an option holds
MOST_PLACES = 2 + _MOST_AT_ONCE

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC

_openat, _dup3, _mkdirat, _mknodat, _symlinkat, _fchdir, _chdir, _umount = library(
    "openat", "dup3", "mkdirat", "mknodat", "symlinkat", "fchdir", "chdir", "umount2"
)


class Scratch(NamedTuple):
    """Where a root is assembled."""

    private: int  # address of the path of the directory that holds the upper and work layers
    places: range  # descriptor numbers to open directories at

    @property
    def path(self) -> str:
        """The path at that address."""
        return os.fsdecode(ctypes.string_at(self.private))


def mount_root(
    calls: Calls, root: Register, parts: tuple[Part, ...], layers: Layers, scratch: Scratch
) -> None:
    """Mount the layers and attach them; `root` will be a descriptor of the result."""
    if parts[0].target or len(parts[0].lower) > _MOST_AT_ONCE:
        calls.later(_mount_now, parts, layers, scratch, into=root)
        return
    _overlay(calls, parts[0], layers, scratch, into=root)
    place = calls.opened(_openat, AT_FDCWD, calls.text(layers.root), os.O_PATH | os.O_CLOEXEC)
    attach_mount(calls, root, place)
    for part in parts[1:]:
        mount = _overlay(calls, part, layers, scratch)
        attach_mount(calls, mount, note_open_below(calls, root, part.target, os.O_PATH, STRICT))


def _overlay(
    calls: Calls, part: Part, layers: Layers, scratch: Scratch, into: Register | None = None
) -> Register:
    """`volatile`: the layer need not survive a crash, and without it every unmount syncs the whole disk.

    Directories are passed as /proc/self/fd/N: an option holds 255 bytes, and a colon in a path would need
    escapes.
    """
    above = calls.opened(_openat, AT_FDCWD, scratch.private, _DIRECTORY, path="its private layer")
    upper, work = part.private(".")
    lower = map(partial(_named, calls, AT_FDCWD), part.lower, scratch.places[2:])
    trust: Options = (("userxattr", None),) if not layers.initial_user_namespace else ()
    options: Options = (
        ("upperdir", _named(calls, above, upper, scratch.places[0])),
        ("workdir", _named(calls, above, work, scratch.places[1])),
        ("lowerdir", ":".join(lower)),
        ("volatile", None),
    )
    return new_mount(calls, "overlay", MOUNT_ATTR_NODEV, (*options, *trust), into=into)


def _named(calls: Calls, directory: int | Register, path: str, place: int) -> str:
    """The /proc name of a directory, which is opened at that descriptor number."""
    opened = calls.opened(_openat, directory, calls.text(path), _DIRECTORY, path=path)
    calls.make(_dup3, opened, place, os.O_CLOEXEC)
    return f"{_DESCRIPTORS}{place}"


def _mount_now(parts: tuple[Part, ...], layers: Layers, scratch: Scratch) -> int:
    """For cases that depend on the kernel's answers: a root without an overlay of its own, or many layers."""
    if parts[0].target:
        return _mount_parts(parts, layers, scratch)
    root = _attach_root(_overlay_now(parts[0], layers, scratch), layers)
    for part in parts[1:]:
        _attach_now(_overlay_now(part, layers, scratch), root, part)
    return root


def _overlay_now(part: Part, layers: Layers, scratch: Scratch) -> int:
    if len(part.lower) > _MOST_AT_ONCE:
        return _overlay_of_many(part, layers, scratch)
    return at_once(_overlay, part, layers, scratch)


def _attach_root(mount: int, layers: Layers) -> int:
    at_once(attach_mount, mount, os.open(layers.root, os.O_PATH | os.O_CLOEXEC))
    return mount


def _attach_now(mount: int, root: int, part: Part) -> None:
    at_once(attach_mount, mount, open_below(root, part.target, os.O_PATH, STRICT))


def _mount_parts(parts: tuple[Part, ...], layers: Layers, scratch: Scratch) -> int:
    """A root that is a plain directory of the private layer, with an overlay per directory of the host."""
    top = at_once(clone_mount, AT_FDCWD, f"{scratch.path}/top")
    at_once(restrict_mount, top, MOUNT_ATTR_NODEV)
    root = _attach_root(top, layers)
    for link, text in layers.host_links:
        with suppress(FileExistsError):
            os.symlink(text, link, dir_fd=root)
    for part in parts:
        with suppress(FileExistsError):
            os.mkdir(part.target, 0o755, dir_fd=root)
        _attach_where_allowed(part, layers, scratch, root)
    return root


def _attach_where_allowed(part: Part, layers: Layers, scratch: Scratch, root: int) -> None:
    try:
        mount = _overlay_now(part, layers, scratch)
    except OSError as error:
        if error.errno != errno.EINVAL:  # there are mounts below it: it stays empty
            raise
        return
    _attach_now(mount, root, part)


def _overlay_of_many(part: Part, layers: Layers, scratch: Scratch) -> int:
    """Layers of an image that exceed one option: appended one by one, which needs Linux 6.7."""
    paths = (*part.lower, *part.private(scratch.path))
    fds = [os.open(path, _DIRECTORY) for path in paths]
    *lower, upper, work = (f"{_DESCRIPTORS}{fd}" for fd in fds)
    trust: Options = (("userxattr", None),) if not layers.initial_user_namespace else ()
    above: Options = (("upperdir", upper), ("workdir", work), ("volatile", None), *trust)
    try:
        one_by_one = (*(("lowerdir+", path) for path in lower), *above)
        return at_once(new_mount, "overlay", MOUNT_ATTR_NODEV, one_by_one)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    options = [f"{key}={value}" if value else key for key, value in (("lowerdir", ":".join(lower)), *above)]
    linux.mount("overlay", layers.root, "overlay", linux.MS_NODEV, ",".join(options))  # a page: 220 layers
    mount = at_once(clone_mount, AT_FDCWD, layers.root)
    linux.umount(layers.root)
    return mount


def mount_kernel_filesystems(
    calls: Calls, root: Register, layers: Layers, cgroup_mounts: tuple[tuple[str, str], ...]
) -> None:
    """Mount /dev, /proc and /sys, and mask or protect paths in them.

    Names below these are the kernel's or our own, so mounts there go by name.
    """
    dev = _mount_on_directory(calls, root, "dev", "tmpfs", _SAFE, (("mode", "0755"), ("size", "64k")))
    _fill_dev(calls, dev, layers.initial_user_namespace)
    proc = _mount_on_directory(calls, root, "proc", "proc", _LOCKED_DOWN)
    sys = _mount_on_directory(calls, root, "sys", "sysfs", _READ_ONLY)
    for name in layers.read_only_in_proc:
        mount = clone_mount(calls, proc, name, recursive=True)
        restrict_mount(calls, mount, _READ_ONLY)
        attach_mount(calls, mount, proc, name)
    for below, masked in ((proc, layers.masked_in_proc), (sys, layers.masked_in_sys)):
        for name, is_directory in masked:
            place = (AT_FDCWD, layers.empty) if is_directory else (dev, "null")
            cover = clone_mount(calls, *place)
            restrict_mount(calls, cover, MOUNT_ATTR_RDONLY)
            attach_mount(calls, cover, below, name)
    _mount_cgroups(calls, sys, cgroup_mounts)


def _mount_on_directory(
    calls: Calls, root: Register, name: str, fstype: str, attributes: int, options: Options = ()
) -> Register:
    """A new file system on a directory of an image, which must not be a symlink."""
    target = note_open_below(
        calls, root, name, os.O_PATH | os.O_DIRECTORY, STRICT, partial(_make_and_open, calls, root, name)
    )
    mount = new_mount(calls, fstype, attributes, options)
    attach_mount(calls, mount, target)
    return mount


def _make_and_open(calls: Calls, root: Register, name: str, refused: OSError) -> int:
    if refused.errno != errno.ENOENT:
        raise refused
    os.mkdir(name, 0o755, dir_fd=calls.value(root))
    return open_below(calls.value(root), name, os.O_PATH | os.O_DIRECTORY, STRICT)


def _mount_in_new(
    calls: Calls, below: Register, name: str, fstype: str, attributes: int, options: Options = ()
) -> None:
    """A new file system on a new directory of a file system of ours."""
    calls.make(_mkdirat, below, calls.text(name), 0o755)
    attach_mount(calls, new_mount(calls, fstype, attributes, options), below, name)


def _fill_dev(calls: Calls, dev: Register, initial_user_namespace: bool) -> None:
    for name, major, minor in DEVICES:
        if initial_user_namespace:
            calls.make(_mknodat, dev, calls.text(name), stat.S_IFCHR | 0o666, os.makedev(major, minor))
        else:  # in a user namespace device nodes can't be made: the host's are bind-mounted
            calls.make(_openat, dev, calls.text(name), _NEW, 0o666)
            attach_mount(calls, clone_mount(calls, AT_FDCWD, f"/dev/{name}"), dev, name)
    for name, text in DEVICE_LINKS:
        calls.make(_symlinkat, calls.text(text), dev, calls.text(name))
    tty_group = (("gid", "5"),) if initial_user_namespace else ()
    options: Options = (("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620"), *tty_group)
    _mount_in_new(calls, dev, "pts", "devpts", _SAFE, options)
    _mount_in_new(calls, dev, "shm", "tmpfs", _LOCKED_DOWN, (("mode", "1777"), ("size", "64m")))
    _mount_in_new(calls, dev, "mqueue", "mqueue", _LOCKED_DOWN)


def _mount_cgroups(calls: Calls, sys: Register, mounts: tuple[tuple[str, str], ...]) -> None:
    """(file system, v1 controllers) of each hierarchy to show; v2 alone takes the whole of /sys/fs/cgroup."""
    if mounts == (("cgroup2", ""),):
        attach_mount(calls, new_mount(calls, "cgroup2", _READ_ONLY), sys, "fs/cgroup")
    elif mounts:
        below = new_mount(calls, "tmpfs", _LOCKED_DOWN, (("mode", "0755"),))
        attach_mount(calls, below, sys, "fs/cgroup")
        for fstype, controllers in mounts:
            options = tuple((controller, None) for controller in controllers.split(",") if controller)
            _mount_in_new(calls, below, controllers or "unified", fstype, _READ_ONLY, options)


def bind_init(root: int, program: str) -> None:
    """Bind-mount an init of the host's in /dev, which is our own."""
    dev = open_below(root, "dev", os.O_PATH | os.O_DIRECTORY, STRICT)
    os.close(os.open(INIT, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o755, dir_fd=dev))
    mount = at_once(clone_mount, AT_FDCWD, program)
    at_once(restrict_mount, mount, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    at_once(attach_mount, mount, dev, INIT)


def make_read_only(root: int, parts: tuple[Part, ...]) -> None:
    """Make the root and the host's other file systems below it read-only; not what is mounted on them."""
    for target in ("", *(part.target for part in parts if part.target)):
        mount = open_below(root, target or ".", os.O_PATH, STRICT)
        try:
            at_once(restrict_only, mount, MOUNT_ATTR_RDONLY)
        except OSError as error:
            if error.errno != errno.EINVAL:  # nothing could be mounted there
                raise
        os.close(mount)


def bind_name_file(calls: Calls, root: Register, source: int, target: str) -> None:
    """Bind a host's file for name resolution, whose path is at that address; containers may share it."""
    copy = clone_mount(calls, AT_FDCWD, source, recursive=True)
    restrict_mount(calls, copy, MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY)
    # As we made it, unless a program of the container has replaced it.
    otherwise = partial(_place_instead, calls, root, target)
    attach_mount(calls, copy, note_open_below(calls, root, target, os.O_PATH, STRICT, otherwise))


def bind(root: int, mount: Mount) -> None:
    """Bind-mount a path of the host. Raises OSError."""
    source = at_once(clone_mount, AT_FDCWD, mount.source, recursive=True)
    at_once(restrict_mount, source, MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if mount.read_only else 0))
    target = _place(root, mount.target, _is_directory(source))
    at_once(attach_mount, source, target)
    os.close(source)
    os.close(target)


def _place_instead(calls: Calls, root: Register, target: str, _: OSError) -> int:
    return _place(calls.value(root), target, directory=False)


def _place(root: int, target: str, directory: bool) -> int:
    """The mount point, made if it is missing."""
    place = _open_or_make(root, target.strip("/"), directory)
    if _is_directory(place) != directory:
        raise OSError(errno.ENOTDIR if directory else errno.EISDIR, "not of one kind", target)
    if filesystem_magic(place) in _KERNEL_MAGICS:
        raise OSError(errno.EPERM, "mounts onto the kernel's own file systems are refused", target)
    return place


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _open_or_make(root: int, path: str, directory: bool) -> int:
    """O_PATH descriptor of a path in the root, made if it is missing; symlinks stay within the root."""
    try:
        return open_below(root, path, os.O_PATH, IN_ROOT)
    except FileNotFoundError:
        if directory:
            return make_directories(root, path)
        parent = make_directories(root, os.path.dirname(path))
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(os.open(os.path.basename(path), flags, 0o644, dir_fd=parent))
        return open_below(root, path, os.O_PATH, IN_ROOT)


def write_files(root: int, spec: Spec) -> None:
    """Write the spec's files, replacing what has their names."""
    for file in spec.files:
        parent = make_directories(root, os.path.dirname(file.path))
        _write(parent, os.path.basename(file.path), file.content, file.mode)
        if file.owner:
            owner = identify(root, file.owner)
            os.chown(os.path.basename(file.path), owner.uid, owner.gid, dir_fd=parent, follow_symlinks=False)
        os.close(parent)


def _write(parent: int, name: str, content: str, mode: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=parent)
    os.fchmod(fd, mode)
    left = memoryview(content.encode("utf-8", "surrogateescape"))
    while left:
        left = left[os.write(fd, left) :]
    os.close(fd)


def enter_root(calls: Calls, root: Register) -> None:
    """Make the root `/`, and detach everything else that was mounted."""
    calls.make(_fchdir, root)
    pivot_root(calls, ".", ".")
    calls.make(_umount, calls.text("."), linux.MNT_DETACH)
    calls.make(_chdir, calls.text("/"))
