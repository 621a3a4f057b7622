"""Which directories a container's root file system is stacked from.

The supervisor makes the base layers once, on a tmpfs that only its own mount namespace has: what hides the
host's secrets and gives every container its mount points. They lie between an image (below) and the
container's private layer (above), so hiding costs nothing per container, and nothing of it is left when the
supervisor ends. They can't lie on the host's own disk: overlayfs refuses a layer that is inside another one.
Mounting is for rootfs.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from errno import ENOENT

from netfab.runtime.paths import Paths
from netfab.runtime.spec import (
    HIDDEN_DIRECTORIES,
    HIDDEN_FILES,
    HOST_KEYS,
    MASKED_IN_EACH_CPU,
    MASKED_IN_PROC,
    MASKED_IN_SYS,
    READ_ONLY_IN_PROC,
)
from netfab.system import linux
from netfab.system.trees import remove_tree
from netfab.tuples import NamedTuple

_MOUNT_POINTS = ("proc", "sys", "dev", "etc")
_EMPTY_FILES = ("etc/hosts", "etc/resolv.conf")
_HOSTNAME = ("etc/hostname", "/proc/sys/kernel/hostname")  # a symlink, right in every container
_READ_ONLY = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_WELL_KNOWN_KEYS = ("ssh_host_rsa_key", "ssh_host_ecdsa_key", "ssh_host_ed25519_key")

# Other file systems of the host that `image: host` also shows, each by an overlay of its own: overlayfs does
# not show mounts on its lower directory.
_SHOWN_FILESYSTEMS = frozenset(["bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs", "zfs"])


class Part(NamedTuple):
    """An overlay: lower directories, topmost first, and its path in the root (relative; "": the root)."""

    lower: tuple[str, ...]
    target: str

    def private(self, directory: str) -> tuple[str, str]:
        """Its upper and work directories in a container's private layer."""
        suffix = f"+{self.target.replace('/', '+')}" if self.target else ""
        return f"{directory}/upper{suffix}", f"{directory}/work{suffix}"


class Layers(NamedTuple):
    """The layers that containers of a supervisor are stacked from."""

    host: tuple[Part, ...]
    host_links: tuple[tuple[str, str], ...]  # top-level symlinks to make, if the root is no overlay
    directory_base: str
    root: str  # where a container attaches its root, in its own mount namespace
    empty: str  # an empty read-only directory, to mask others
    initial_user_namespace: bool
    masked_in_proc: tuple[tuple[str, bool], ...]  # those that this kernel has; whether a directory
    masked_in_sys: tuple[tuple[str, bool], ...]
    read_only_in_proc: tuple[str, ...]
    state: str  # images lie below this directory

    def of(self, image: str) -> tuple[Part, ...]:
        """The parts of `host` as it is now (a disk may be unmounted), of an image's id or of a directory.

        Raises FileNotFoundError for the id of an image that is not here.
        """
        if image == "host":
            return tuple(part for part in self.host if os.path.isdir(part.lower[-1]))
        if not image.startswith("sha256:"):
            return (Part((self.directory_base, image), ""),)
        from netfab.images.layout import image_of  # with `re`, a sixth of a supervisor's start-up time

        found = image_of(self.state, image)
        if found is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), image)
        return (Part((self.directory_base, *found.layers), ""),)


def make_layers(paths: Paths, scratch: str, initial_user_namespace: bool) -> Layers:
    """Mount a tmpfs at `scratch` and make the base layers there."""
    linux.mount("netfab", scratch, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0700")
    host_base, directory_base, root, empty = (
        f"{scratch}/{name}" for name in ("host", "directory", "root", "empty")
    )
    for directory in (host_base, directory_base, root, empty):
        os.mkdir(directory, 0o755)
    linux.mount(empty, empty, flags=linux.MS_BIND)
    linux.mount("", empty, flags=linux.MS_BIND | linux.MS_REMOUNT | _READ_ONLY)
    _make_base(directory_base)
    _make_base(host_base)
    # No guest can set `trusted` attributes; in a user namespace they can't be set at all.
    _hide(host_base, (paths.run, paths.state), "trusted" if initial_user_namespace else "user")
    host, links = (
        (_host_parts(host_base, paths), ()) if initial_user_namespace else _top_directories(host_base)
    )
    cpus = [name for name in _names("/sys/devices/system/cpu") if name[:3] == "cpu" and name[3:].isdecimal()]
    throttles = (f"devices/system/cpu/{cpu}/{MASKED_IN_EACH_CPU}" for cpu in cpus)
    return Layers(
        host,
        links,
        directory_base,
        root,
        empty,
        initial_user_namespace,
        _present("/proc", MASKED_IN_PROC),
        _present("/sys", (*MASKED_IN_SYS, *throttles)),
        tuple(name for name, _ in _present("/proc", READ_ONLY_IN_PROC)),
        paths.state,
    )


def _present(directory: str, names: Iterable[str]) -> tuple[tuple[str, bool], ...]:
    paths = ((name, f"{directory}/{name}") for name in names)
    return tuple((name, os.path.isdir(path)) for name, path in paths if os.path.lexists(path))


def _make_base(base: str) -> None:
    for directory in _MOUNT_POINTS:
        os.mkdir(f"{base}/{directory}", 0o755)
    for file in _EMPTY_FILES:
        os.close(os.open(f"{base}/{file}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    os.symlink(_HOSTNAME[1], f"{base}/{_HOSTNAME[0]}")


def _hide(base: str, own_directories: tuple[str, ...], attributes: str) -> None:
    for directory, mode in HIDDEN_DIRECTORIES:
        _mirror_parents(base, directory)
        os.mkdir(base + directory)
        os.chmod(base + directory, mode)
        os.setxattr(base + directory, f"{attributes}.overlay.opaque", b"y")
    keys, beginning = HOST_KEYS
    found = [name for name in _names(keys) if name.startswith(beginning)]
    for path in (
        *HIDDEN_FILES,
        *(f"{keys}/{name}" for name in {*found, *_WELL_KNOWN_KEYS}),
        *own_directories,
    ):
        real = os.path.realpath(path)
        _mirror_parents(base, real)
        if not os.path.lexists(base + real):
            os.mknod(base + real, stat.S_IFCHR)  # a whiteout: character device 0:0


def _mirror_parents(base: str, path: str) -> None:
    """Make the directories above `path`, with the owners and modes of the host's that they cover."""
    parts = path.split("/")[1:-1]
    for end in range(1, len(parts) + 1):
        directory = "/" + "/".join(parts[:end])
        if os.path.isdir(base + directory):
            continue
        os.mkdir(base + directory)
        if os.path.isdir(directory):
            _mirror(base + directory, os.stat(directory))


def _mirror(path: str, like: os.stat_result) -> None:
    """Copy owner and mode."""
    with suppress(OSError):  # the owner has no number in this user namespace: it stays ours
        os.chown(path, like.st_uid, like.st_gid)
    os.chmod(path, stat.S_IMODE(like.st_mode))


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _host_parts(base: str, paths: Paths) -> tuple[Part, ...]:
    hidden = (
        "/proc",
        "/sys",
        "/dev",
        paths.run,
        paths.state,
        *(directory for directory, _ in HIDDEN_DIRECTORIES),
    )
    others = sorted(
        {
            point
            for point, fstype in mount_points()
            if fstype in _SHOWN_FILESYSTEMS and point != "/" and os.path.isdir(point)
            if not any(point == above or point.startswith(above + "/") for above in hidden)
        }
    )
    return Part((base, "/"), ""), *(_part(base, point) for point in others)


def _top_directories(base: str) -> tuple[tuple[Part, ...], tuple[tuple[str, str], ...]]:
    """In a user namespace `/` can't be a lower directory: that would reveal what mounts cover."""
    skipped = {"proc", "sys", "dev"}
    entries = [entry for entry in os.scandir("/") if entry.name not in skipped]
    links = tuple((entry.name, os.readlink(entry.path)) for entry in entries if entry.is_symlink())
    return tuple(_part(base, entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)), links


def _part(base: str, directory: str) -> Part:
    """A directory of the host as an overlay of its own, without what the base layer hides in it."""
    opaque = any(directory == hidden for hidden, _ in HIDDEN_DIRECTORIES)
    lower = (base + directory,) if os.path.isdir(base + directory) else ()
    if not opaque:
        lower = (*lower, directory)
    return Part(lower, directory[1:])


def prepare_private_layer(directory: str, parts: tuple[Part, ...]) -> None:
    """An upper directory for each part, kept across starts, and an empty work directory.

    The work directory is overlayfs's scratch space, and with `volatile` it refuses a used one.
    """
    if not os.path.isdir(directory):
        os.makedirs(directory, mode=0o700)
        # A guest's set-user-ID programs must not be within reach of the host's users.
        os.chmod(os.path.dirname(directory), 0o700)
    if parts[0].target:
        os.makedirs(f"{directory}/top", exist_ok=True)  # the root itself, if it is no overlay
    for part in parts:
        upper, work = part.private(directory)
        remove_tree(work)
        os.mkdir(work)
        if not os.path.isdir(upper):
            os.mkdir(upper)
            _mirror(upper, os.stat(part.lower[0]))


def mount_points() -> list[tuple[str, str]]:
    """(path, file system) of every mount in this namespace, in mount order; proc_pid_mountinfo(5)."""
    with open("/proc/self/mountinfo", "rb") as file:
        lines = [line.split() for line in file]
    return [(_unescaped(fields[4]), fields[fields.index(b"-") + 1].decode()) for fields in lines]


def _unescaped(path: bytes) -> str:
    """Decode space, tab, newline and backslash, which are written as three octal digits."""
    first, *rest = path.split(b"\\")
    return os.fsdecode(first + b"".join(bytes([int(piece[:3], 8)]) + piece[3:] for piece in rest))
