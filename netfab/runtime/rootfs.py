"""A container's root file system: overlay, /proc, /sys, /dev, what is masked, bind mounts, files.

Runs in the container's process before it gives its rights away, and in its own mount namespace. Every path
that an image or an earlier run of the container controls is opened by openat2 below a descriptor of the root;
mounts go onto such descriptors, so no symlink leads out and nothing can be swapped. Nothing here imports, and
no code of the root is loaded.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from netfab.runtime.identity import identify
from netfab.runtime.layers import Layers, Part
from netfab.runtime.spec import DEVICE_LINKS, DEVICES, INIT, Mount, Spec
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
    SYSFS_MAGIC,
    attach_mount,
    clone_mount,
    filesystem_magic,
    new_mount,
    open_below,
    pivot_root,
    restrict_mount,
    restrict_only,
)
from netfab.system.trees import IN_ROOT, STRICT, make_directories

_LOCKED_DOWN = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_READ_ONLY = MOUNT_ATTR_RDONLY | _LOCKED_DOWN
_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
_KERNEL_MAGICS = (PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC)

_LONGEST_OPTION = 255  # bytes; fsconfig(2)

Options = tuple[tuple[str, str | None], ...]  # of a file system; without a value: a flag


def mount_root(parts: tuple[Part, ...], layers: Layers, private: str) -> int:
    """Stack the layers and attach them; a descriptor of the root. `private` has the upper and work ones."""
    if parts[0].target:
        return _mount_parts(parts, layers, private)
    root = _attach_root(_overlay(parts[0], layers, private), layers)
    for part in parts[1:]:
        attach_mount(_overlay(part, layers, private), open_below(root, part.target, os.O_PATH, STRICT))
    return root


def _attach_root(mount: int, layers: Layers) -> int:
    attach_mount(mount, os.open(layers.root, os.O_PATH | os.O_CLOEXEC))
    return mount


def _mount_parts(parts: tuple[Part, ...], layers: Layers, private: str) -> int:
    """A root that is a plain directory of the private layer, with an overlay per directory of the host."""
    top = clone_mount(AT_FDCWD, f"{private}/top")
    restrict_mount(top, MOUNT_ATTR_NODEV)
    root = _attach_root(top, layers)
    for link, text in layers.host_links:
        with suppress(FileExistsError):
            os.symlink(text, link, dir_fd=root)
    for part in parts:
        with suppress(FileExistsError):
            os.mkdir(part.target, 0o755, dir_fd=root)
        _attach_where_allowed(part, layers, private, root)
    return root


def _attach_where_allowed(part: Part, layers: Layers, private: str, root: int) -> None:
    try:
        mount = _overlay(part, layers, private)
    except OSError as error:
        if error.errno != errno.EINVAL:  # something is mounted below it: it stays empty
            raise
        return
    attach_mount(mount, open_below(root, part.target, os.O_PATH, STRICT))


def _overlay(part: Part, layers: Layers, private: str) -> int:
    """`volatile`: nobody needs this layer after a crash, and without it every unmount syncs the whole disk.

    Directories go as /proc/self/fd/N: an option holds 255 bytes, and a colon in a path would need escapes.
    """
    paths = (*part.lower, *part.private(private))
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in paths]
    *lower, upper, work = (f"/proc/self/fd/{fd}" for fd in fds)
    trust: Options = (("userxattr", None),) if not layers.initial_user_namespace else ()
    above: Options = (("upperdir", upper), ("workdir", work), ("volatile", None), *trust)
    try:
        if len(joined := ":".join(lower)) <= _LONGEST_OPTION:
            return new_mount("overlay", MOUNT_ATTR_NODEV, (("lowerdir", joined), *above))
        return _overlay_of_many(tuple(lower), above, layers.root)
    finally:
        for fd in fds:
            os.close(fd)


def _overlay_of_many(lower: tuple[str, ...], above: Options, scratch: str) -> int:
    """An image's layers, more than an option holds: one by one, which kernels before 6.7 don't know."""
    try:
        return new_mount("overlay", MOUNT_ATTR_NODEV, (*(("lowerdir+", path) for path in lower), *above))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    options = [f"{key}={value}" if value else key for key, value in (("lowerdir", ":".join(lower)), *above)]
    linux.mount("overlay", scratch, "overlay", linux.MS_NODEV, ",".join(options))  # a page: 220 layers
    mount = clone_mount(AT_FDCWD, scratch)
    linux.umount(scratch)
    return mount


def mount_kernel_filesystems(root: int, layers: Layers, cgroup_mounts: tuple[tuple[str, str], ...]) -> None:
    """/dev, /proc and /sys, and what is masked or read-only in them.

    Below these, names are the kernel's or our own, so mounts go there by name.
    """
    dev = _mount_on_directory(root, "dev", "tmpfs", _SAFE, (("mode", "0755"), ("size", "64k")))
    _fill_dev(dev, layers.initial_user_namespace)
    proc = _mount_on_directory(root, "proc", "proc", _LOCKED_DOWN)
    if filesystem_magic(proc) != PROC_SUPER_MAGIC:
        raise OSError(errno.EINVAL, "not a proc file system", "/proc")
    sys = _mount_on_directory(root, "sys", "sysfs", _READ_ONLY)
    for name in layers.read_only_in_proc:
        mount = clone_mount(proc, name, recursive=True)
        restrict_mount(mount, _READ_ONLY)
        attach_mount(mount, proc, name)
    for below, masked in ((proc, layers.masked_in_proc), (sys, layers.masked_in_sys)):
        for name, is_directory in masked:
            cover = clone_mount(AT_FDCWD, layers.empty) if is_directory else clone_mount(dev, "null")
            restrict_mount(cover, MOUNT_ATTR_RDONLY)
            attach_mount(cover, below, name)
    _mount_cgroups(sys, cgroup_mounts)


def _mount_on_directory(root: int, name: str, fstype: str, attributes: int, options: Options = ()) -> int:
    """A new file system on a directory of an image, which must not be a symlink."""
    try:
        target = open_below(root, name, os.O_PATH | os.O_DIRECTORY, STRICT)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=root)
        target = open_below(root, name, os.O_PATH | os.O_DIRECTORY, STRICT)
    mount = new_mount(fstype, attributes, options)
    attach_mount(mount, target)
    os.close(target)
    return mount


def _mount_in_new(below: int, name: str, fstype: str, attributes: int, options: Options = ()) -> None:
    """A new file system on a new directory of a file system that is our own."""
    os.mkdir(name, 0o755, dir_fd=below)
    attach_mount(new_mount(fstype, attributes, options), below, name)


def _fill_dev(dev: int, initial_user_namespace: bool) -> None:
    for name, major, minor in DEVICES:
        if initial_user_namespace:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=dev)
        else:  # in a user namespace nobody makes devices: those of the host are shown
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=dev))
            attach_mount(clone_mount(AT_FDCWD, f"/dev/{name}"), dev, name)
    for name, text in DEVICE_LINKS:
        os.symlink(text, name, dir_fd=dev)
    tty_group = (("gid", "5"),) if initial_user_namespace else ()
    options: Options = (("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620"), *tty_group)
    _mount_in_new(dev, "pts", "devpts", _SAFE, options)
    _mount_in_new(dev, "shm", "tmpfs", _LOCKED_DOWN, (("mode", "1777"), ("size", "64m")))
    _mount_in_new(dev, "mqueue", "mqueue", _LOCKED_DOWN)


def _mount_cgroups(sys: int, mounts: tuple[tuple[str, str], ...]) -> None:
    """(file system, v1 controllers) of each hierarchy to show; v2 alone has the whole place."""
    if mounts == (("cgroup2", ""),):
        attach_mount(new_mount("cgroup2", _READ_ONLY), sys, "fs/cgroup")
    elif mounts:
        below = new_mount("tmpfs", _LOCKED_DOWN, (("mode", "0755"),))
        attach_mount(below, sys, "fs/cgroup")
        for fstype, controllers in mounts:
            options = tuple((controller, None) for controller in controllers.split(",") if controller)
            _mount_in_new(below, controllers or "unified", fstype, _READ_ONLY, options)


def bind_init(root: int, program: str) -> None:
    """Show an init of the host's in /dev, which is our own."""
    dev = open_below(root, "dev", os.O_PATH | os.O_DIRECTORY, STRICT)
    os.close(os.open(INIT, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o755, dir_fd=dev))
    mount = clone_mount(AT_FDCWD, program)
    restrict_mount(mount, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    attach_mount(mount, dev, INIT)


def make_read_only(root: int, parts: tuple[Part, ...]) -> None:
    """The root and the host's other file systems below it; nothing that is mounted on them."""
    for target in ("", *(part.target for part in parts if part.target)):
        mount = open_below(root, target or ".", os.O_PATH, STRICT)
        try:
            restrict_only(mount, MOUNT_ATTR_RDONLY)
        except OSError as error:
            if error.errno != errno.EINVAL:  # nothing could be mounted there
                raise
        os.close(mount)


def bind_mounts(root: int, spec: Spec) -> None:
    """What the host gives: files for name resolution, which containers may share, and the spec's mounts."""
    for source, target in ((spec.hosts_file, "etc/hosts"), (spec.resolv_conf, "etc/resolv.conf")):
        if source:
            _bind(root, Mount(source, target, read_only=True))
    for mount in spec.mounts:
        _bind(root, mount)


def _bind(root: int, mount: Mount) -> None:
    source = clone_mount(AT_FDCWD, mount.source, recursive=True)
    restrict_mount(source, MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if mount.read_only else 0))
    directory = _is_directory(source)
    target = _open_or_make(root, mount.target.strip("/"), directory)
    if _is_directory(target) != directory:
        raise OSError(errno.ENOTDIR if directory else errno.EISDIR, "not of one kind", mount.target)
    if filesystem_magic(target) in _KERNEL_MAGICS:
        raise OSError(errno.EPERM, "mounts onto the kernel's own file systems are refused", mount.target)
    attach_mount(source, target)
    os.close(source)
    os.close(target)


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _open_or_make(root: int, path: str, directory: bool) -> int:
    """O_PATH descriptor of a path in the root, made if it is missing; symlinks stay inside the root."""
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
    left = memoryview(content.encode("utf-8", "surrogateescape"))
    while left:
        left = left[os.write(fd, left) :]
    os.close(fd)


def enter_root(root: int) -> None:
    """Make the root `/`, and let go of everything else that was mounted."""
    os.fchdir(root)
    pivot_root(".", ".")
    linux.umount(".")
    os.chdir("/")
