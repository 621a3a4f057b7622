"""Far hosts for tests: network and mount namespaces of their own, on one wire with the test's own host.

`enter` goes there in the way of a simulated host; `start_sshd` has a real OpenSSH server there.
Everything of a host ends with its holder.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from netfab.hosts import sandbox
from netfab.system import linux

PRIVATE = ("/var/cache",)  # besides those of a sandbox
STARTUP = ("/root/.bashrc", "/root/.profile")
T = TypeVar("T")


class Far:
    """One host: its holder's process id, and its address on the wire."""

    def __init__(self, name: str, pid: int, address: str) -> None:
        self.name, self.pid, self.address = name, pid, address
        self.sshd: subprocess.Popen[bytes] | None = None

    def enter(self) -> None:
        """This process, which has one thread, there."""
        for kind, flag in (("net", linux.CLONE_NEWNET), ("mnt", linux.CLONE_NEWNS)):
            fd = os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY)
            linux.setns(fd, flag)
            os.close(fd)
        os.chdir("/")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread there, and back again."""
        with sandbox.excursion():
            self.enter()
            yield

    def run(self, *argv: str, check: bool = True) -> str:
        """A program there; what it prints."""
        ran = subprocess.run(argv, preexec_fn=self.enter, capture_output=True, text=True, check=False)
        assert not check or ran.returncode == 0, f"{self.name}: {' '.join(argv)}: {ran.stderr}"
        return ran.stdout

    def call(self, function: Callable[[], T]) -> T:
        """What a function returns that is called there."""
        import pickle

        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                self.enter()
                with open(writing, "wb") as pipe:
                    pickle.dump(function(), pipe)
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            found = pipe.read()
        os.waitpid(child, 0)
        assert found, f"it failed on {self.name}"
        value: T = pickle.loads(found)
        return value

    def nodes(self) -> set[str]:
        """The namespaces of nodes that are there."""
        return set(self.run("sh", "-c", "ls /run/netns 2>/dev/null || true").split())

    def left(self) -> list[str]:
        """All that netfab could leave there but its modules."""
        return self.run(
            "sh",
            "-c",
            "find /run/netns /run/netfab /var/lib/netfab/containers -mindepth 1 2>/dev/null;"
            " ip -br link | grep -v -e ^lo -e ^wire; nft list tables",
        ).split()


@contextmanager
def far_hosts(*names: str, first: int = 1) -> Iterator[dict[str, Far]]:
    """Hosts 192.0.2.FIRST and so on; the test's own namespace has 192.0.2.254, and a bridge between all."""
    _ip(
        "link add wire type bridge forward_delay 0", "address add 192.0.2.254/24 dev wire", "link set wire up"
    )
    made: dict[str, Far] = {}
    try:
        for number, name in enumerate(names, first):
            made[name] = Far(name, _holder(), f"192.0.2.{number}")
            _plug_in(made[name])
        yield made
    finally:
        for far in made.values():
            if far.sshd is not None:
                far.sshd.kill()
                far.sshd.wait()
            _end_all(far)
        _ip("link delete wire")


@contextmanager
def lone_host() -> Iterator[Far]:
    """One that is on no wire."""
    made = Far("lone", _holder(), "127.0.0.1")
    try:
        yield made
    finally:
        _end_all(made)


def reboot(far: Far) -> None:
    """Everything ends there, and of its files only /var/lib stays."""
    kept = subprocess.run(["tar", "-C/var/lib", "-c", "."], preexec_fn=far.enter, stdout=-1, check=True)
    _end_all(far)
    # With the last process there its namespace goes, and the cable with it: by now, or later.
    subprocess.run(["ip", "link", "delete", f"to-{far.name}"], stderr=subprocess.DEVNULL, check=False)
    far.sshd = None
    far.pid = _holder()
    subprocess.run(["tar", "-C/var/lib", "-x"], preexec_fn=far.enter, input=kept.stdout, check=True)
    _plug_in(far)


def _plug_in(far: Far) -> None:
    """Its wire, and its addresses, which are what they were before it was started again."""
    mac = f"02:00:00:00:02:{int(far.address.rpartition('.')[2]):02x}"
    _ip(
        f"link add to-{far.name} type veth peer name wire0 address {mac} netns {far.pid}",
        f"link set to-{far.name} master wire up",
    )
    far.run("sh", "-ec", f"ip address add {far.address}/24 dev wire0; ip link set wire0 up")
    # Until the bridge's port lets frames through. One ping gives up when ARP does, after three seconds.
    far.run("timeout", "60", "sh", "-c", "until ping -q -c1 -W1 192.0.2.254; do :; done")


def _holder() -> int:
    """A process in namespaces of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            sandbox.enter()
            for path in PRIVATE:
                linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755")
            for path in filter(
                os.path.exists, STARTUP
            ):  # what this machine's root likes is no business there
                linux.mount("/dev/null", path, flags=linux.MS_BIND)
            os.write(writing, b"+")
            os.close(writing)
            signal.pause()
        finally:
            os._exit(0)
    os.close(writing)
    assert os.read(reading, 1) == b"+"
    os.close(reading)
    return child


def _end_all(far: Far) -> None:
    """The holder and what was started there: agents, supervisors, and their programs in their own mounts."""
    nodes = Path(f"/proc/{far.pid}/root/run/netns")
    there = [Path(f"/proc/{far.pid}/ns/{kind}") for kind in ("mnt", "net")]
    with suppress(FileNotFoundError):
        there += [nodes / name for name in os.listdir(nodes)]
    with ExitStack() as held:  # else the number of one that has ended is soon another's
        theirs = set()
        for path in there:
            with suppress(FileNotFoundError):  # who takes something back there has just removed it
                theirs.add(_inode(held.enter_context(open(path, "rb")).fileno()))
        while _killed(theirs):  # until nobody is there who could have made another one
            continue
    os.waitpid(far.pid, 0)


def _killed(theirs: Set[tuple[int, int]]) -> list[int]:
    """The processes that were in one of these namespaces, and are on their way out."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            own = {_inode(f"/proc/{entry}/ns/{kind}") for kind in ("mnt", "net")}
            if int(entry) != os.getpid() and own & theirs:
                os.kill(int(entry), signal.SIGKILL)
                found.append(int(entry))
    return found


def _inode(path: str | int) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def start_sshd(far: Far, directory: Path, *lines: str) -> None:
    """A real OpenSSH server there; the user's key and the known hosts are in the directory."""
    user = directory / "user"
    if not user.exists():
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(user)], check=True)
    key = directory / f"{far.name}.key"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(key)], check=True)
    with open(directory / "known_hosts", "a") as file:
        file.write(f"{far.address} {key.with_suffix('.key.pub').read_text()}")
    configuration = directory / f"{far.name}.sshd"
    configuration.write_text(
        f"ListenAddress {far.address}\nHostKey {key}\nAuthorizedKeysFile {user}.pub\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
        "PidFile none\nMaxStartups 100\nUseDNS no\n" + "".join(f"{line}\n" for line in lines)
    )
    (directory / "ssh_config").write_text(
        f"IdentityFile {user}\nIdentitiesOnly yes\nUserKnownHostsFile {directory}/known_hosts\n"
        "GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
    )
    far.run("mkdir", "-p", "/run/sshd")
    far.sshd = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", str(configuration)],
        preexec_fn=far.enter,
        stderr=subprocess.DEVNULL,
    )
    far.run("sh", "-ec", f"until ss -Hltn src {far.address}:22 | grep -q .; do :; done")


def ssh_command(directory: Path) -> str:
    """What NETFAB_SSH_COMMAND is to be."""
    return f"ssh -F {directory}/ssh_config"
