"""Real managers of containers, in the network and mount namespace that the caller is in.

With /run and /var/lib of its own (netfab.hosts.sandbox) they stand where netfab looks for them by default. Of
the machine they share only the hierarchies of cgroups, where they stay in a directory that is ours and goes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from netfab.system import linux

CGROUPS = Path("/sys/fs/cgroup")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
ASLEEP = ("/bin/sleep", "3600")
WITHOUT_NETWORK = (  # options of dockerd
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
)
_PATIENCE = 60  # seconds
# The containers' defaults are above the hard limits of a root without CAP_SYS_RESOURCE.
_LIMITS = ("nofile=1024:1024", "nproc=1024:1024")


def run(*words: str | Path, stdin: bytes = b"", quiet: bool = False) -> str:
    """What a program printed; a failure shows what it complained of.

    quiet: its output goes nowhere, for programs that leave it to a container.
    """
    out = subprocess.DEVNULL if quiet else subprocess.PIPE
    ended = subprocess.run(words, input=stdin, stdout=out, stderr=out, env=ENVIRONMENT, timeout=_PATIENCE)
    assert ended.returncode == 0, f"{words}: {ended.stdout!r} {ended.stderr!r}"
    return (ended.stdout or b"").decode().strip()


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for a state."""
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what}, after {_PATIENCE} s"
        time.sleep(0.01)


def make_root(directory: Path) -> Path:
    """A root file system with nothing but busybox."""
    for name in ("bin", "proc", "sys", "dev", "etc"):
        (directory / name).mkdir(parents=True)
    busybox = directory / "bin" / "busybox"
    busybox.write_bytes(Path("/bin/busybox").read_bytes())
    busybox.chmod(0o755)
    for name in ("sh", "sleep"):
        (directory / "bin" / name).symlink_to("busybox")
    return directory


def mounted(kind: str) -> list[str]:
    """Where this machine has file systems of that kind."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [target for _, target, found, *_ in mounts if found == kind]


@contextmanager
def cgroups(kind: str) -> Iterator[str]:
    """/sys/fs/cgroup with hierarchies of one version only: "cgroup" or "cgroup2".

    crun 1.8 refuses a mix of them. Yields the name of a directory in each of them, which is ours and goes.
    """
    ours = f"netfab-tests-{os.getpid()}"
    hierarchies = {
        Path(target).name: os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for target in mounted(kind)
    }
    if kind == "cgroup":
        linux.mount("tmpfs", str(CGROUPS), "tmpfs")
    for name, fd in hierarchies.items():
        place = CGROUPS / name if kind == "cgroup" else CGROUPS
        place.mkdir(exist_ok=True)
        linux.mount(f"/proc/self/fd/{fd}", str(place), flags=linux.MS_BIND)
        _make_group(fd, ours)
    try:
        yield ours
    finally:
        for fd in hierarchies.values():
            until(lambda top=f"/proc/self/fd/{fd}/{ours}": _removed(top), "processes are left in cgroups")
            os.close(fd)


def _make_group(hierarchy: int, name: str) -> None:
    os.mkdir(name, dir_fd=hierarchy)
    for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one of version 1, which then takes nobody
        with suppress(FileNotFoundError):
            value = Path(f"/proc/self/fd/{hierarchy}/{file}").read_text()
            Path(f"/proc/self/fd/{hierarchy}/{name}/{file}").write_text(value)


def _removed(top: str) -> bool:
    for directory, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):
            os.rmdir(directory)
    return not os.path.isdir(top)


class Podman:
    """Podman as it usually runs: without its API service."""

    def __init__(self, root: Path, group: str) -> None:
        self._root, self._group = root, group

    def run(self, name: str, runtime: str = "crun", *options: str) -> str:
        """Start a container that sleeps; its id."""
        limits = [word for limit in _LIMITS for word in ("--ulimit", limit)]
        where = () if any(option.startswith("--network") for option in options) else ("--network=none",)
        return run(
            "podman", "--runtime", runtime, "run", "--detach", "--name", name, *where, *limits, *options,
            f"--cgroup-parent=/{self._group}", "--rootfs", self._root, *ASLEEP,
        )  # fmt: skip

    def __call__(self, *words: str) -> str:
        return run("podman", *words)

    @contextmanager
    def service(self) -> Iterator[None]:
        """Its API at the usual place."""
        os.makedirs("/run/podman", exist_ok=True)
        with _daemon("podman", "system", "service", "--time=0", "unix:///run/podman/podman.sock"):
            until(lambda: _listens("/run/podman/podman.sock"), "podman's service does not listen")
            yield


@contextmanager
def podman(root: Path, group: str) -> Iterator[Podman]:
    """Podman in that group of ours, and nothing left of its containers."""
    linux.mount("tmpfs", "/dev/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)  # its locks: one per machine
    try:
        yield Podman(root, group)
    finally:
        run("podman", "rm", "--force", "--time=0", "--all")
        linux.umount("/dev/shm")


def _listens(path: str) -> bool:
    """Whether somebody does at that socket, whose file is there a moment before."""
    with suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)
        return True
    return False


class Docker:
    """dockerd with an image `box`."""

    def run(self, name: str, *options: str) -> str:
        """Start a container that sleeps; its id."""
        where = () if any(option.startswith("--network") for option in options) else ("--network=none",)
        return run("docker", "run", "--detach", "--name", name, *where, *options, "box", *ASLEEP)

    def __call__(self, *words: str) -> str:
        return run("docker", *words)


@contextmanager
def docker(root: Path, group: str, network: Sequence[str] = WITHOUT_NETWORK) -> Iterator[Docker]:
    """A dockerd of our own, at the usual places below /run and /var/lib."""
    limits = [f"--default-ulimit={limit}" for limit in _LIMITS]
    with _daemon("dockerd", "--host=unix:///run/docker.sock", f"--cgroup-parent=/{group}", *network, *limits):
        client = Docker()
        until(lambda: _succeeds("docker", "version"), "dockerd does not answer")
        packed = subprocess.run(["tar", "-C", root, "-c", "."], capture_output=True, check=True).stdout
        run("docker", "import", "-", "box", stdin=packed)
        try:
            yield client
        finally:
            if left := client("ps", "--all", "--quiet").split():
                client("rm", "--force", *left)


def _succeeds(*words: str) -> bool:
    quiet = subprocess.DEVNULL
    return subprocess.run(words, stdout=quiet, stderr=quiet, env=ENVIRONMENT).returncode == 0


@contextmanager
def _daemon(*words: str) -> Iterator[None]:
    with open("/run/daemon.log", "wb") as log:
        started = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT)
    try:
        yield
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(_PATIENCE)
        finally:
            started.kill()


class Bundle:
    """A container of plain crun or runc."""

    def __init__(self, runtime: str, directory: Path, root: Path, group: str) -> None:
        self._runtime = runtime
        directory.mkdir()
        run(runtime, "spec", "--bundle", directory)
        file = directory / "config.json"
        config = json.loads(file.read_text())
        config["process"] |= {"terminal": False, "args": ASLEEP, "rlimits": []}
        config["root"] = {"path": str(root), "readonly": True}
        config["linux"]["cgroupsPath"] = f"/{group}/{runtime}"
        file.write_text(json.dumps(config))
        self._directory = directory

    def start(self, name: str) -> None:
        """It gets our output for good, so it gets none."""
        run(self._runtime, "run", "--detach", "--bundle", self._directory, name, quiet=True)

    def kill(self, name: str) -> None:
        """Its process ends, its directory stays."""
        run(self._runtime, "kill", name, "KILL")

    def delete(self, *names: str) -> None:
        """Nothing of them stays."""
        for name in names:
            run(self._runtime, "delete", "--force", name)


class Lxc:
    """LXC's containers below /var/lib/lxc."""

    def __init__(self, root: Path, group: str) -> None:
        self._root, self._group = root, group

    def create(self, name: str, network: str = "empty") -> None:
        """A container that sleeps, not started."""
        directory = Path("/var/lib/lxc", name)
        directory.mkdir(parents=True)
        lines = {
            "lxc.uts.name": name,
            "lxc.rootfs.path": f"dir:{self._root}",
            "lxc.net.0.type": network,
            "lxc.init.cmd": " ".join(ASLEEP),
            "lxc.cgroup.dir.container": f"{self._group}/payload.{name}",
            "lxc.cgroup.dir.monitor": f"{self._group}/monitor.{name}",
            "lxc.cgroup.dir.monitor.pivot": f"{self._group}/pivot",
            "lxc.apparmor.profile": "unconfined",
            "lxc.mount.auto": "proc:mixed sys:ro",
        }
        (directory / "config").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    def start(self, name: str) -> None:
        """Returns when it runs."""
        run("lxc-start", "--name", name, "--daemon", quiet=True)
        run("lxc-wait", "--name", name, "--state", "RUNNING", "--timeout", str(_PATIENCE))

    def stop(self, name: str) -> None:
        """Returns when it has ended."""
        run("lxc-stop", "--kill", "--name", name)


@contextmanager
def lxc(root: Path, group: str) -> Iterator[Lxc]:
    """LXC in that group of ours, and nothing left of its containers."""
    try:
        yield Lxc(root, group)
    finally:
        for name in run("lxc-ls", "--running").split():
            run("lxc-stop", "--kill", "--name", name)
