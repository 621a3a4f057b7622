"""Limits: one leaf per container in every hierarchy that is needed, at <hierarchy>/netfab/<fabric>/<name>.

Each controller is looked up: it may be in v1, v2, or a mix (hybrid). A v1 leaf is made only for limits that
were asked for: attaching to one takes 11 ms. A v2 leaf is free, because a process is cloned into it, so it is
always made where v2 is mounted. Only what has our name is removed: nothing is unmounted, and no directory
above `netfab` is deleted.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from netfab.errors import Unsupported
from netfab.runtime.paths import Paths
from netfab.runtime.spec import Spec
from netfab.tuples import NamedTuple

_OURS = "netfab"
_CPU_PERIOD = 100_000  # microseconds
# A v1 mount names all controllers of its hierarchy.
_V1_CONTROLLERS = frozenset(("memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "freezer"))
_UNLIMITED = {"memory": "max", "cpu": f"max {_CPU_PERIOD}", "pids": "max"}
_UNLIMITED_V1 = {"memory": "-1", "cpu": "-1", "pids": "max"}
_FILES = {"memory": "memory.max", "cpu": "cpu.max", "pids": "pids.max"}
_FILES_V1 = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"}
LIMITED = frozenset(_FILES)  # controllers that limits may need


class Hierarchies(NamedTuple):
    """What this machine mounts: v1 controller → (mount point, its controllers), and v2; and our name there.

    Sandboxes share the machine's cgroups but neither its /run nor its fabrics, so a fabric's name alone would
    not be unique.
    """

    group: str
    v1: Mapping[str, tuple[str, str]]
    v2: str | None
    v2_controllers: frozenset[str]

    @property
    def points(self) -> list[str]:
        """Their mount points, in a fixed order; v2 comes first if mounted."""
        return [*([self.v2] if self.v2 else []), *sorted({point for point, _ in self.v1.values()})]


class Leaf(NamedTuple):
    """A container's directory in one hierarchy. controllers: "" for v2."""

    path: str
    controllers: str


def find_hierarchies(paths: Paths, mountinfo: str = "/proc/self/mountinfo") -> Hierarchies:
    """Read once per process. A hierarchy that is mounted read-only does not count.

    Raises FileNotFoundError if the fabric has no directory in /run, and so no cgroups.
    """
    run = os.stat(paths.fabric_run)
    return mounted(f"{paths.fabric}.{run.st_dev:x}.{run.st_ino:x}", mountinfo)


def mounted(group: str = "", mountinfo: str = "/proc/self/mountinfo") -> Hierarchies:
    """The hierarchies mounted here, with our name."""
    v1: dict[str, tuple[str, str]] = {}
    v2: str | None = None
    with open(mountinfo, encoding="utf-8", errors="replace") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            point, fstype, options = before.split()[4], after.split()[0], after.split()[2].split(",")
            if fstype == "cgroup2" and v2 is None and os.access(point, os.W_OK):
                v2 = point
            elif fstype == "cgroup" and os.access(point, os.W_OK):
                together = ",".join(word for word in options if word in _V1_CONTROLLERS)
                v1 |= {name: (point, together) for name in (*_FILES, "freezer") if name in options}
    if v2:  # each of its leaves can be frozen
        v1.pop("freezer", None)
    return Hierarchies(
        group, v1, v2, frozenset(_read(f"{v2}/cgroup.controllers").split()) if v2 else frozenset()
    )


def limits_of(spec: Spec) -> dict[str, str]:
    """Controller → value as v2 writes it, of the limits in the spec."""
    limits = {
        "memory": None if spec.memory is None else str(spec.memory),
        "cpu": None if spec.cpus is None else f"{round(spec.cpus * _CPU_PERIOD)} {_CPU_PERIOD}",
        "pids": None if spec.pids is None else str(spec.pids),
    }
    return {controller: value for controller, value in limits.items() if value is not None}


def leaves_of(spec: Spec, hierarchies: Hierarchies) -> list[Leaf]:
    """The leaves that this container needs, v2 first.

    Raises Unsupported for a limit that no hierarchy here can enforce.
    """
    wanted = limits_of(spec)
    there = hierarchies.v1.keys() | hierarchies.v2_controllers
    if missing := [controller for controller in wanted if controller not in there]:
        raise Unsupported(
            f"{spec.name}: no writable cgroup hierarchy here can keep its {' and '.join(missing)} limit",
            hint=f"{_reason(missing[0], hierarchies.v2)}; or leave the limit out",
        )
    tail = f"{_OURS}/{hierarchies.group}/{spec.name}"
    leaves = [Leaf(f"{hierarchies.v2}/{tail}", "")] if hierarchies.v2 else []
    points = dict.fromkeys(
        hierarchies.v1[controller] for controller in wanted if controller in hierarchies.v1
    )
    return [*leaves, *(Leaf(f"{point}/{tail}", controllers) for point, controllers in points)]


def _reason(controller: str, v2: str | None) -> str:
    """Why that controller can't limit anything here, and what helps. cgroups(7), /proc/cgroups."""
    lines = [line.split() for line in _read("/proc/cgroups").splitlines()]
    kernel = {name: (hierarchy, enabled) for name, hierarchy, _, enabled in lines[1:]}
    hierarchy, enabled = kernel.get(controller, ("0", "1"))
    if kernel and controller not in kernel:
        return f"this kernel has no {controller} controller"
    if enabled == "0":
        return f"the {controller} controller is switched off: boot with cgroup_enable={controller}"
    if hierarchy != "0":
        return (
            f"a hierarchy of version 1 has the {controller} controller, and we can't write there:"
            f" run as root outside of a sandbox, with it mounted (-t cgroup -o {controller})"
        )
    if v2:
        return f"{v2}/cgroup.controllers does not name {controller}: who delegates it to us has to enable it"
    return "run as root outside of a sandbox, with cgroups mounted: mount -t cgroup2 none /sys/fs/cgroup"


def make_leaves(spec: Spec, hierarchies: Hierarchies) -> list[Leaf]:
    """Make the leaves and write the limits into them. Raises Unsupported, OSError."""
    leaves = leaves_of(spec, hierarchies)
    for leaf in leaves:
        make(leaf)
        if not leaf.controllers:
            _enable(leaf, [controller for controller in limits_of(spec) if controller not in hierarchies.v1])
    if limits_of(spec):
        write_limits(spec, leaves)
    return leaves


def make(leaf: Leaf) -> None:
    """Make its directory and its parents, any of which others may remove while empty. Raises OSError."""
    while not os.path.isdir(leaf.path):
        with suppress(FileNotFoundError):  # a parent has just been removed
            os.makedirs(leaf.path, exist_ok=True)


def existing_leaves(name: str, hierarchies: Hierarchies) -> list[Leaf]:
    """The leaves that this container has, whatever limits were set since its start."""
    points = {("", hierarchies.v2)} if hierarchies.v2 else set()
    points |= {(controllers, point) for point, controllers in hierarchies.v1.values()}
    leaves = (
        Leaf(f"{point}/{_OURS}/{hierarchies.group}/{name}", controllers)
        for controllers, point in sorted(points)
    )
    return [leaf for leaf in leaves if os.path.isdir(leaf.path)]


def _enable(leaf: Leaf, controllers: list[str]) -> None:
    """A v2 controller works in a directory if every directory above it enables it."""
    if not controllers:
        return
    fabric = os.path.dirname(leaf.path)
    ours = os.path.dirname(fabric)
    for directory in (os.path.dirname(ours), ours, fabric):
        _write(
            f"{directory}/cgroup.subtree_control", " ".join(f"+{controller}" for controller in controllers)
        )


def write_limits(spec: Spec, leaves: list[Leaf]) -> None:
    """Write limits into leaves that exist; limits no longer asked for are lifted."""
    wanted = limits_of(spec)
    for leaf in leaves:
        for controller, file in (_FILES_V1 if leaf.controllers else _FILES).items():
            path = f"{leaf.path}/{file}"
            if not os.path.exists(path):
                continue
            if leaf.controllers:
                _write_v1(path, controller, wanted.get(controller, _UNLIMITED_V1[controller]))
            else:
                _write(path, wanted.get(controller, _UNLIMITED[controller]))
                if controller == "memory" and os.path.exists(f"{leaf.path}/memory.swap.max"):
                    _write(f"{leaf.path}/memory.swap.max", "0" if controller in wanted else "max")


def _write_v1(path: str, controller: str, value: str) -> None:
    """As in v2, except cpu, whose period is a file of its own (100 ms by default, which is ours too)."""
    _write(path, value.split()[0] if controller == "cpu" else value)


def attach_all(leaves: list[Leaf]) -> None:
    """Move every process of the container into leaves made after its start; its v2 leaf lists them.

    Raises Unsupported if it has no v2 leaf.
    """
    v2 = [leaf for leaf in leaves if not leaf.controllers]
    for leaf in leaves:
        if not leaf.controllers or _read(f"{leaf.path}/cgroup.procs"):
            continue
        if not v2:
            raise Unsupported("a new limit needs a new start of the container on a machine without cgroup v2")
        while missing := set(_read(f"{v2[0].path}/cgroup.procs").split()) - set(
            _read(f"{leaf.path}/cgroup.procs").split()
        ):
            for pid in missing:
                _attach(leaf, pid)


def _attach(leaf: Leaf, pid: str) -> None:
    try:
        _write(f"{leaf.path}/cgroup.procs", pid)
    except ProcessLookupError:
        return


def join_paths(leaves: list[Leaf]) -> Iterator[str]:
    """Files to which a process writes "0" to enter its v1 leaves."""
    return (f"{leaf.path}/cgroup.procs" for leaf in leaves if leaf.controllers)


def mounts_of(leaves: list[Leaf], hierarchies: Hierarchies) -> tuple[tuple[str, str], ...]:
    """(file system, v1 controllers) of what a container sees below its /sys/fs/cgroup.

    All of its leaves; nothing if it has no limits and there are hierarchies besides v2.
    """
    if hierarchies.v1 and not any(leaf.controllers for leaf in leaves):
        return ()
    return tuple(("cgroup", leaf.controllers) if leaf.controllers else ("cgroup2", "") for leaf in leaves)


def was_oom_killed(leaves: list[Leaf]) -> bool:
    """Whether the kernel's OOM killer killed something in there."""
    texts = (
        _read(f"{leaf.path}/{'memory.oom_control' if leaf.controllers else 'memory.events'}")
        for leaf in leaves
    )
    return any(
        line.split()[0] == "oom_kill" and line.split()[1] != "0"
        for text in texts
        for line in text.splitlines()
    )


def hold_group(hierarchies: Hierarchies) -> int | None:
    """Lock our directory while the descriptor is open (a supervisor's lifetime); None without cgroups."""
    if not hierarchies.points:
        return None
    group = f"{hierarchies.points[0]}/{_OURS}/{hierarchies.group}"
    while True:
        with suppress(FileNotFoundError):  # it, or a directory above it, was just swept
            os.makedirs(group, exist_ok=True)
            fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.isdir(group):
                return fd
            os.close(fd)


def sweep_groups(hierarchies: Hierarchies) -> None:
    """Remove what killed sandboxes left: directories that are neither locked nor populated."""
    if not hierarchies.points:
        return
    ours = f"{hierarchies.points[0]}/{_OURS}"
    for group in filter(os.path.isdir, _paths(ours)):
        with suppress(OSError):  # locked, or gone
            fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for point in hierarchies.points:
                    _sweep(f"{point}/{_OURS}/{os.path.basename(group)}")
            finally:
                os.close(fd)
    for point in hierarchies.points:
        _remove(f"{point}/{_OURS}")


def _sweep(group: str) -> None:
    for leaf in filter(os.path.isdir, _paths(group)):
        _remove(leaf)
    _remove(group)


def _paths(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in os.listdir(directory)]
    except FileNotFoundError:
        return []


def remove_leaves(leaves: list[Leaf]) -> None:
    """rmdir the leaves of a container that has ended."""
    for leaf in leaves:
        _remove(leaf.path)


def remove_group(hierarchies: Hierarchies) -> None:
    """rmdir the fabric's directories, and our own, if empty."""
    for point in hierarchies.points:
        _remove(f"{point}/{_OURS}/{hierarchies.group}")
        _remove(f"{point}/{_OURS}")


def _remove(directory: str) -> None:
    with suppress(OSError):  # gone already, or populated
        os.rmdir(directory)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
