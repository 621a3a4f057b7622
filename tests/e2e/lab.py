"""A throw-away host in which the installed `netfab` command runs as on a machine, and what tests look at.

It is `netfab lab`'s own sandbox: everything that was started or made in it goes with its process 1. What
netfab should do is no business of this file.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from machine import below, settings, snapshot

from netfab.hosts import sandbox
from netfab.system import linux

COMMAND = Path(sys.executable).with_name("netfab")
PATIENCE = 180  # seconds, for what hangs; nothing is measured with it
NAMESPACES = ("pid", linux.CLONE_NEWPID), ("net", linux.CLONE_NEWNET), ("mnt", linux.CLONE_NEWNS)
SUPERVISORS = "$(pgrep -f '[n]etfab.runtime.supervisor')"  # for `kill`
SETTINGS = "ipv4/conf/*/*", "ipv6/conf/*/*", "ipv4/ip_forward", "bridge/*"
T = TypeVar("T")


class Result(NamedTuple):
    """What a command left: its exit status and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Lab:
    """A host, by the process id of its process 1, and a directory for files."""

    def __init__(self, pid: int, directory: Path) -> None:
        self.pid = pid
        self.directory = directory

    def write(self, text: str, name: str = "topology.yaml") -> str:
        """A file in the directory where commands run; its name."""
        (self.directory / name).write_text(text)
        return name

    def netfab(
        self, *words: str, code: int = 0, input: str = "", env: Mapping[str, str] | None = None
    ) -> Result:
        """Run the command; it must end with `code`."""
        result = self.run(*self.words(*words), input=input, env=env)
        assert result.code == code, f"netfab {' '.join(words)}: exit {result.code}\n{result.out}{result.err}"
        return result

    def words(self, *words: str) -> list[str]:
        """The command line of the installed command, for `run` and `start`."""
        return [str(COMMAND), *words]

    def run(self, *argv: str, input: str = "", env: Mapping[str, str] | None = None) -> Result:
        """Any program in this host."""
        process = self.start(*argv, env=env)
        out, err = process.communicate(input, timeout=PATIENCE)
        return Result(process.returncode, out, err)

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A program in this host, running; end it with `interrupt`, or let it end."""
        inside = [f"--target={self.pid}", "--pid", "--mount", "--net", "--uts", "--ipc"]
        pipe = subprocess.PIPE
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8"}
        return subprocess.Popen(
            ["nsenter", *inside, "env", f"--chdir={self.directory}", *argv],
            stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=plain | dict(env or {}),
        )  # fmt: skip

    def shell(self, script: str) -> str:
        """What others do on this host: a script that must succeed; what it prints."""
        result = self.run("sh", "-ec", script)
        assert result.code == 0, result.err
        return result.out

    def kill(self, words: str) -> None:
        """End processes, by a shell's words for their numbers; on return they are gone."""
        gone = "for pid; do while test -e /proc/$pid; do sleep 0.01; done; done"
        self.shell(f"set -- {words}; kill -9 $@; {gone}")

    def call(self, function: Callable[[], T], node: str = "") -> T:
        """What `function` returns when called in this host, or in the network of a node (FABRIC.NODE)."""
        with self._forked(lambda tell: tell(pickle.dumps(_outcome(function))), node) as (_, pipe):
            returned, error = cast("tuple[T, BaseException | None]", pickle.load(pipe))
        if error is not None:
            raise error
        return returned

    @contextmanager
    def running(self, function: Callable[[Callable[[], None]], object], node: str = "") -> Iterator[None]:
        """`function` in the background while this lasts, from when it has called its argument."""
        with self._forked(lambda tell: function(lambda: tell(b"+")), node) as (parent, pipe):
            assert pipe.read(1) == b"+", "it ended before it was ready"
            pid = child_of(parent)
            try:
                yield
            finally:
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def _forked(
        self, body: Callable[[Callable[[bytes], None]], object], node: str
    ) -> Iterator[tuple[int, BinaryIO]]:
        """A process in this host, by its parent, and what it tells; its end is waited for."""
        reading, writing = os.pipe()
        parent = os.fork()
        if parent == 0:
            try:
                os.close(reading)  # nothing is written for ever to where nobody reads
                self._enter()
                if os.fork() == 0:  # only a child is in the other process namespace
                    if node:
                        linux.setns(os.open(f"/run/netns/{node}", os.O_RDONLY), linux.CLONE_NEWNET)
                    body(lambda data: _write(writing, data))
                else:
                    os.close(writing)
                    os.wait()
            finally:
                os._exit(0)
        os.close(writing)
        try:
            with open(reading, "rb") as pipe:
                yield parent, pipe
        finally:
            os.waitpid(parent, 0)

    def _enter(self) -> None:
        """This process in the host's networks and mounts, its children in its process namespace, too."""
        fds = [(os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY), flag) for kind, flag in NAMESPACES]
        for fd, flag in fds:
            linux.setns(fd, flag)
        os.chdir(self.directory)

    def outside(self) -> None:
        """wan0, and beyond it the internet: 192.0.2.2, the default gateway, which routes 10/8 back to us."""
        self.shell("""
            ip netns add internet
            ip link add wan0 type veth peer name eth0 netns internet
            for host in "" "-n internet"; do ip $host link set lo up; done
            ip address add 192.0.2.1/24 dev wan0
            ip -6 address add 2001:db8::1/64 dev wan0 nodad
            ip link set wan0 addrgenmode none up
            ip -n internet address add 192.0.2.2/24 dev eth0
            ip -n internet -6 address add 2001:db8::2/64 dev eth0 nodad
            ip -n internet link set eth0 addrgenmode none up
            ip route add default via 192.0.2.2
            ip -6 route add default via 2001:db8::2
            ip -n internet route add 10.0.0.0/8 via 192.0.2.1
        """)

    def interrupt(self, process: subprocess.Popen[str], number: signal.Signals) -> Result:
        """Send a signal to a started command, not to what it was entered through, and wait for its end."""
        os.kill(child_of(process.pid), number)
        out, err = process.communicate(timeout=PATIENCE)
        return Result(process.returncode, out, err)

    def state(self) -> dict[str, frozenset[object]]:
        """All of this host in which netfab could leave something, in comparable form."""
        return self.call(_state)

    def pid_of(self, node: str) -> int:
        """The process id of a node's program."""
        (fabric,) = self.netfab("ls", "-o", "json").json["fabrics"]
        pid = self.netfab("status", fabric["fabric"], "-o", "json").json["nodes"][node]["pid"]
        assert isinstance(pid, int)
        return pid


@contextmanager
def throwaway_host(directory: Path) -> Iterator[Lab]:
    """A host that ends with the block, and everything in it."""
    reading, writing = os.pipe()
    up, told = os.pipe()
    holder = os.fork()
    if holder == 0:
        os.close(writing)
        code = 1
        try:
            code = sandbox.run(lambda: _hold(told, reading))
        finally:
            os._exit(code)
    os.close(told)
    os.close(reading)
    try:
        assert os.read(up, 1) == b"+", "the sandbox did not start"
        yield Lab(child_of(holder), directory)
    finally:
        os.close(writing)
        os.close(up)
        os.waitpid(holder, 0)


def child_of(pid: int) -> int:
    """A process's first child."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _hold(told: int, end: int) -> int:
    """Says that the host is there, and lasts until the test closes its end."""
    os.write(told, b"+")
    select.select([end], [], [])
    return 0


def _outcome(function: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return function(), None
    except BaseException as error:
        return None, error


def _write(pipe: int, data: bytes) -> None:
    with open(pipe, "wb", closefd=False) as file:
        file.write(data)


def _state() -> dict[str, frozenset[object]]:
    found = snapshot()
    # Stateless: what a rule has counted meanwhile is no difference.
    ruleset = subprocess.run(
        ["nft", "--stateless", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout
    found["firewall"] = frozenset([ruleset])
    found["processes"] = frozenset(_programs().items())
    found["sysctls"] = frozenset(each for pattern in SETTINGS for each in settings(pattern))
    # The store itself, locks and directories stay; that they hold nothing is `netfab ls`'s business.
    for directory in ("/run/netfab", "/var/lib/netfab"):
        found[directory] = frozenset(
            path for path in below(directory) if os.path.isfile(path) and not path.endswith(".lock")
        ) - {f"/var/lib/netfab/store.sqlite{end}" for end in ("", "-wal", "-shm", "-turn")}  # fmt: skip
    return found


def _programs() -> dict[str, str]:
    """The command line of every process; who has none is ending, and is waited for."""
    own = {os.getpid(), os.getppid()}
    deadline = monotonic() + PATIENCE
    while True:
        found: dict[str, str] = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, ProcessLookupError):
                if int(directory.name) not in own:
                    found[directory.name] = (directory / "cmdline").read_text()
        if all(found.values()) or monotonic() > deadline:
            return found
