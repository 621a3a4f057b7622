"""A fabric's containers, in the few words that the tests of the runtime need."""

from __future__ import annotations

import glob
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from socket import SO_PEERCRED, SOL_SOCKET
from typing import Any

from netfab.runtime import client
from netfab.runtime.exec import run_in_container
from netfab.runtime.logs import follow, tail
from netfab.runtime.paths import Paths
from netfab.runtime.spec import Spec
from netfab.runtime.status import Status, connect, status, status_of
from netfab.runtime.streams import Streams
from netfab.system import linux

PYTHON = "/usr/bin/python3"  # a container sees the host's root, but not what lies below /root or /tmp


class Containers:
    """A fabric's containers, with the few words that tests need."""

    def __init__(self, directory: Path) -> None:
        self.paths = Paths(f"t{os.getpid()}", str(directory / "run"), str(directory / "state"))
        self.netns = _new_netns()

    def spec(self, *argv: str, name: str = "web", **fields: Any) -> Spec:
        return Spec(self.paths.fabric, name, argv, **fields)

    def start(self, *argv: str, name: str = "web", **fields: object) -> Status:
        client.start(self.paths, self.spec(*argv, name=name, **fields), self.netns)
        return self.status(name)

    def run(self, *argv: str, name: str = "web", **fields: object) -> tuple[int | None, str]:
        """Start, wait until it is over, and what it said."""
        self.start(*argv, name=name, **fields)
        output = self.output(name)
        return self.status(name).exit_code, output

    def shell(self, script: str, **fields: object) -> str:
        code, output = self.run("sh", "-c", script, **fields)
        assert code == 0, output
        return output

    def python(self, script: str, **fields: object) -> str:
        code, output = self.run(PYTHON, "-c", script, **fields)
        assert code == 0, output
        return output

    def output(self, name: str = "web") -> str:
        """All that it says until it is over."""
        return "".join(f"{line.text.decode()}\n" for line in follow([(self.paths, name)]))

    def says(self, text: str, name: str = "web") -> None:
        """Wait until it has said this."""
        for line in follow([(self.paths, name)]):
            if line.text.decode() == text:
                return
        raise AssertionError(f"{name} ended without saying {text!r}")

    def tail(self, name: str = "web") -> list[str]:
        return [line.decode() for line in tail(self.paths, name)]

    def status(self, name: str = "web") -> Status:
        found = status_of(self.paths, name)
        assert found is not None
        return found

    def exec(self, *argv: str, name: str = "web", **options: Any) -> tuple[int, str]:
        """Run a command in it: exit status and output."""
        read, write = os.pipe()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        try:
            code = run_in_container(self.paths, name, argv, streams=Streams(nowhere, write, write), **options)
        finally:
            os.close(write)
            os.close(nowhere)
            with os.fdopen(read) as pipe:
                output = pipe.read()
        return code, output

    def supervisor(self) -> int:
        """Its process number; 0 when there is none."""
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if self.paths.run.encode() in words:
                return int(pid)
        return 0

    def kill_supervisor(self) -> None:
        with connect(self.paths) as door:  # of that which listens: its own parent is just ending, perhaps
            credentials = door.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)
        pid = int.from_bytes(credentials[:4], sys.byteorder)
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pidfd)

    def wait_for_supervisors(self) -> None:
        """For their end, also of those that were begun in vain."""
        while pid := self.supervisor():
            with suppress(ProcessLookupError):  # it has just ended
                wait_for_end(os.pidfd_open(pid))

    def leftovers(self) -> list[str]:
        groups = glob.glob(f"/sys/fs/cgroup/**/netfab/{self.paths.fabric}.*", recursive=True)
        files = [str(path) for root in (self.paths.run, self.paths.state) for path in Path(root).rglob("*")]
        return [*files, *groups]

    def close(self) -> None:
        client.release_ports(self.paths)
        client.remove(self.paths, list(status(self.paths)), timeout=0)
        os.close(self.netns)


def make_image(directory: Path) -> Path:
    """A root file system with nothing but a shell and what it links to."""
    linked = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    for path in ["/bin/sh", *(word for word in linked.split() if word.startswith("/"))]:
        copy = directory / path[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(path).read_bytes())
        copy.chmod(0o755)
    return directory


def _new_netns() -> int:
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    linux.unshare(linux.CLONE_NEWNET)
    new = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    linux.setns(own, linux.CLONE_NEWNET)
    os.close(own)
    return new


def wait_for_end(pidfd: int) -> None:
    """Until that process is over; closes the descriptor."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(60_000)
    os.close(pidfd)
