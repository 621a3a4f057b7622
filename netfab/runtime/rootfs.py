"""A container's root file system: overlay, /proc, /sys, /dev, what is masked, bind mounts, files.

Runs in the container's process before it gives its rights away, and in its own mount namespace. Every path that an image
or an earlier run of the container controls is opened by openat2 below a descriptor of the root; mounts go onto such
descriptors, so no symlink leads out and nothing can be swapped. Nothing here imports, and no code of the root is loaded.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import NamedTuple

from netfab.runtime.identity import identify
from netfab.runtime.layers import Layers, Part
from netfab.runtime.spec import (
    DEVICE_LINKS,
    DEVICES,
    MASKED_IN_EACH_CPU,
    MASKED_IN_PROC,
    MASKED_IN_SYS,
    READ_ONLY_IN_PROC,
    TTY_DEVICE,
    Mount,
    Spec,
)
from netfab.system import linux
from netfab.system.mounts import (
    AT_FDCWD,
    CGROUP2_SUPER_MAGIC,
    CGROUP_SUPER_MAGIC,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    SYSFS_MAGIC,
    attach_mount,
    clone_mount,
    filesystem_magic,
    new_mount,
    open_below,
    pivot_root,
    restrict_mount,
)

_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_LOCKED_DOWN = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_KERNEL_MAGICS = (PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC)


def mount_root(parts: tuple[Part, ...], layers: Layers, private: str) -> int:
    """Stack the layers and attach them; a descriptor of the root. `private` is the directory of upper and work."""
    if parts[0].target:
        root = _attach_root(new_mount("tmpfs", MOUNT_ATTR_NODEV, (("mode", "0755"),)), layers)
        for link, text in layers.host_links:
            os.symlink(text, link, dir_fd=root)
        for name in ("proc", "sys", "dev"):
            os.mkdir(name, 0o755, dir_fd=root)
        for part in parts:
            os.mkdir(part.target, 0o755, dir_fd=root)
            _attach_where_allowed(part, layers, private, root)
        return root
    root = _attach_root(_overlay(parts[0], layers, private), layers)
    for part in parts[1:]:
        attach_mount(_overlay(part, layers, private), open_below(root, part.target, os.O_PATH, _STRICT))
    return root


def _attach_root(mount: int, layers: Layers) -> int:
    attach_mount(mount, os.open(layers.root, os.O_PATH | os.O_CLOEXEC))
    return mount


def _attach_where_allowed(part: Part, layers: Layers, private: str, root: int) -> None:
    try:
        mount = _overlay(part, layers, private)
    except OSError as error:
        if error.errno != errno.EINVAL:  # something is mounted below it: it stays empty
            raise
        return
    attach_mount(mount, open_below(root, part.target, os.O_PATH, _STRICT))


def _overlay(part: Part, layers: Layers, private: str) -> int:
    """`volatile`: nobody needs this layer on disk after a crash, and without it every unmount syncs the whole disk.

    Directories go as /proc/self/fd/N: an option holds 255 bytes, and a colon in a path would need escapes.
    """
    paths = (*part.lower, *part.private(private))
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in paths]
    *lower, upper, work = (f"/proc/self/fd/{fd}" for fd in fds)
    trust: tuple[tuple[str, str | None], ...] = (
        (("userxattr", None),) if not layers.initial_user_namespace else ()
    )
    options = (
        ("lowerdir", ":".join(lower)),
        ("upperdir", upper),
        ("workdir", work),
        ("volatile", None),
        *trust,
    )
    try:
        return new_mount("overlay", MOUNT_ATTR_NODEV, options)
    finally:
        for fd in fds:
            os.close(fd)


def mount_kernel_filesystems(root: int, layers: Layers, cgroup_mounts: tuple[tuple[str, str], ...]) -> None:
    """/dev, /proc and /sys, and what is masked or read-only in them."""
    dev = _mount_at(
        root, "dev", "tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, (("mode", "0755"), ("size", "64k"))
    )
    _fill_dev(dev, layers.initial_user_namespace)
    covers = _Covers(dev, layers.empty)
    proc = _mount_at(root, "proc", "proc", _LOCKED_DOWN)
    if filesystem_magic(proc) != PROC_SUPER_MAGIC:
        raise OSError(errno.EINVAL, "not a proc file system", "/proc")
    for name in MASKED_IN_PROC:
        _mask(proc, name, covers)
    for name in READ_ONLY_IN_PROC:
        _make_read_only(proc, name)
    _mount_sys(root, cgroup_mounts, covers)


def _mount_at(
    root: int, name: str, fstype: str, attributes: int, options: tuple[tuple[str, str | None], ...] = ()
) -> int:
    """A new file system on a directory of the root, which must not be a symlink."""
    target = _directory(root, name)
    mount = new_mount(fstype, attributes, options)
    attach_mount(mount, target)
    os.close(target)
    return mount


def _directory(root: int, name: str) -> int:
    try:
        return open_below(root, name, os.O_PATH | os.O_DIRECTORY, _STRICT)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=root)
        return open_below(root, name, os.O_PATH | os.O_DIRECTORY, _STRICT)


def _fill_dev(dev: int, initial_user_namespace: bool) -> None:
    devices = (*((name, 1, minor) for name, minor in DEVICES), TTY_DEVICE)
    for name, major, minor in devices:
        if initial_user_namespace:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=dev)
        else:
            _bind_device(dev, name)
    for name, text in DEVICE_LINKS:
        os.symlink(text, name, dir_fd=dev)
    pts = (("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620"))
    _mount_at(
        dev,
        "pts",
        "devpts",
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
        (*pts, *((("gid", "5"),) if initial_user_namespace else ())),
    )
    _mount_at(dev, "shm", "tmpfs", _LOCKED_DOWN, (("mode", "1777"), ("size", "64m")))
    _mount_at(dev, "mqueue", "mqueue", _LOCKED_DOWN)


def _bind_device(dev: int, name: str) -> None:
    """In a user namespace nobody makes devices: those of the host are shown."""
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=dev))
    attach_mount(clone_mount(AT_FDCWD, f"/dev/{name}"), open_below(dev, name, os.O_PATH, _STRICT))


class _Covers(NamedTuple):
    """What masks are made of: the container's own /dev (for its null), and an empty read-only directory's path."""

    dev: int
    empty: str


def _mask(below: int, name: str, covers: _Covers) -> None:
    """Nothing to read: an empty read-only directory, or /dev/null. What the kernel lacks needs no mask."""
    try:
        target = open_below(below, name, os.O_PATH, _STRICT)
    except FileNotFoundError:
        return
    directory = stat.S_ISDIR(os.fstat(target).st_mode)
    cover = clone_mount(AT_FDCWD, covers.empty) if directory else clone_mount(covers.dev, "null")
    attach_mount(cover, target)
    os.close(cover)
    os.close(target)


def _make_read_only(below: int, name: str) -> None:
    try:
        target = open_below(below, name, os.O_PATH, _STRICT)
    except FileNotFoundError:
        return
    mount = clone_mount(target, "", recursive=True)
    restrict_mount(mount, MOUNT_ATTR_RDONLY | _LOCKED_DOWN)
    attach_mount(mount, target)
    os.close(target)
    os.close(mount)


def _mount_sys(root: int, cgroup_mounts: tuple[tuple[str, str], ...], covers: _Covers) -> None:
    sys = _mount_at(root, "sys", "sysfs", MOUNT_ATTR_RDONLY | _LOCKED_DOWN)
    for name in MASKED_IN_SYS:
        _mask(sys, name, covers)
    cpus = open_below(sys, "devices/system/cpu", os.O_RDONLY | os.O_DIRECTORY, _STRICT)
    for name in os.listdir(cpus):
        if name.startswith("cpu") and name[3:].isdigit():
            _mask(cpus, f"{name}/{MASKED_IN_EACH_CPU}", covers)
    os.close(cpus)
    _mount_cgroups(sys, cgroup_mounts)


def _mount_cgroups(sys: int, mounts: tuple[tuple[str, str], ...]) -> None:
    """(file system, v1 controllers) of each hierarchy that the container has a leaf in; a lone v2 one is all there is."""
    read_only = MOUNT_ATTR_RDONLY | _LOCKED_DOWN
    if mounts == (("cgroup2", ""),):
        _mount_at(sys, "fs/cgroup", "cgroup2", read_only)
    elif mounts:
        below = _mount_at(sys, "fs/cgroup", "tmpfs", _LOCKED_DOWN, (("mode", "0755"),))
        for fstype, controllers in mounts:
            options = tuple((controller, None) for controller in controllers.split(",") if controller)
            _mount_at(below, controllers or "unified", fstype, read_only, options)


def bind_mounts(root: int, spec: Spec) -> None:
    """What the host gives: name resolution files and the spec's own mounts."""
    for source, target in ((spec.hosts_file, "etc/hosts"), (spec.resolv_conf, "etc/resolv.conf")):
        if source:
            _bind(root, Mount(source, target))
    for mount in spec.mounts:
        _bind(root, mount)


def _bind(root: int, mount: Mount) -> None:
    source = clone_mount(AT_FDCWD, mount.source, recursive=True)
    restrict_mount(source, MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if mount.read_only else 0))
    directory = stat.S_ISDIR(os.fstat(source).st_mode)
    target = _open_or_make(root, mount.target.strip("/"), directory)
    if filesystem_magic(target) in _KERNEL_MAGICS:
        raise OSError(errno.EPERM, "mounts onto the kernel's own file systems are refused", mount.target)
    attach_mount(source, target)
    os.close(source)
    os.close(target)


def _open_or_make(root: int, path: str, directory: bool) -> int:
    """O_PATH descriptor of a path in the root, made if it is missing; symlinks are followed inside the root."""
    try:
        return open_below(root, path, os.O_PATH, _IN_ROOT)
    except FileNotFoundError:
        if directory:
            return make_directories(root, path)
        parent = make_directories(root, os.path.dirname(path))
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(os.open(os.path.basename(path), flags, 0o644, dir_fd=parent))
        return open_below(root, path, os.O_PATH, _IN_ROOT)


def make_directories(root: int, path: str) -> int:
    """mkdir -p inside the root; an O_PATH descriptor of the last directory."""
    flags = os.O_PATH | os.O_DIRECTORY
    here = open_below(root, ".", flags, _IN_ROOT)
    parts = [part for part in path.split("/") if part]
    for end, name in enumerate(parts, 1):
        try:
            following = open_below(root, "/".join(parts[:end]), flags, _IN_ROOT)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=here)
            following = open_below(here, name, flags, _STRICT)
        os.close(here)
        here = following
    return here


def write_files(root: int, spec: Spec) -> None:
    """The spec's files, each in place of whatever has its name."""
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
    left = memoryview(content.encode())
    while left:
        left = left[os.write(fd, left) :]
    os.close(fd)


def enter_root(root: int) -> None:
    """Make the root `/`, and let go of everything else that was mounted."""
    os.fchdir(root)
    pivot_root(".", ".")
    linux.umount(".")
    os.chdir("/")
