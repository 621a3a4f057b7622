"""kill -9 between any two system calls of a command: apply, destroy, attach … The next one makes it good.

The hook of the other tests comes before each step; here the command dies before every call into the kernel
that changes something, also those for locks, files, the store and namespaces.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from machine import differences, snapshot
from shop import TEXT, topology

from netfab import fabric
from netfab.hosts.sandbox import throwaway
from netfab.imperative import adhoc
from netfab.topology.schema import Topology

WRITERS = {
    *(
        "send",
        "mkdir",
        "rmdir",
        "unlink",
        "replace",
        "write",
        "pwrite",
        "truncate",
        "ftruncate",
        "chmod",
        "fchmod",
    ),
    *("flock", "execute", "executemany"),
}
CALLERS = f"{os.sep}netfab{os.sep}"  # calls from our own code only
SYSTEM = "/system/linux.py"  # whose functions are system calls that ctypes makes
READERS = {
    "_dump",
    "record",
    "records",
    "leases",
    "held",
    "published",
    "borrowed",
    "setns",
}  # our own functions
CHANGED = TEXT.replace("lan: {}", "lan: {mtu: 1400}").replace("db:", "log: {networks: [lan]}\n  db:")

Job = Callable[[], Any]


class Killer:
    """A profile function that counts calls into the kernel, and kills this process at one of them."""

    def __init__(self, number: int = 0) -> None:
        self.number, self.count = number, 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if code.co_name in READERS or CALLERS not in code.co_filename:
            return
        writes = event == "c_call" and arg.__name__ in WRITERS
        if writes or (event == "call" and code.co_filename.endswith(SYSTEM)):
            self.count += 1
            if self.count == self.number:
                os.kill(os.getpid(), signal.SIGKILL)


def _killed_at(number: int, job: Job) -> bool:
    """Run it in a process of its own that is killed at that call; False when it ended before."""
    child = os.fork()
    if child == 0:
        sys.setprofile(Killer(number))
        try:
            job()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _calls(job: Job) -> int:
    killer = Killer()
    sys.setprofile(killer)
    try:
        job()
    finally:
        sys.setprofile(None)
    return killer.count


@pytest.fixture
def before(tmp_path: Path) -> tuple[Topology, str]:
    return topology(tmp_path)


@pytest.fixture
def after(before: tuple[Topology, str], tmp_path: Path) -> tuple[Topology, str]:
    return topology(tmp_path, text=CHANGED)


def _all_but_the_store(found: dict[str, frozenset[object]]) -> dict[str, frozenset[object]]:
    return {what: things for what, things in found.items() if what != "/var/lib/netfab"}


PARTS = 3  # of each sweep, that run in parallel
COMMANDS = ["apply", "change", "destroy"]


def _commands(before: tuple[Topology, str], after: tuple[Topology, str]) -> dict[str, tuple[Job, Job, Job]]:
    """What was done before, what is killed, and what is done next."""
    return {
        "apply": (lambda: None, lambda: fabric.apply(*before), lambda: fabric.apply(*before)),
        "change": (lambda: fabric.apply(*before), lambda: fabric.apply(*after), lambda: fabric.apply(*after)),
        "destroy": (
            lambda: fabric.apply(*before),
            lambda: fabric.destroy("shop"),
            lambda: fabric.apply(*after),
        ),
    }


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_between_any_two_calls_is_made_good_by_the_next(
    before: tuple[Topology, str],
    after: tuple[Topology, str],
    command: str,
    part: int,
    record_property: Callable[[str, object], None],
) -> None:
    first, killed, then = _commands(before, after)[command]
    with throwaway():
        first()
        points = range(1 + part, _calls(killed) + 1, PARTS)

    reached = 0
    for point in points:
        with throwaway():
            empty = _all_but_the_store(snapshot())
            first()
            reached += _killed_at(point, killed)
            then()
            assert fabric.drift("shop") == (), point
            fabric.destroy("shop")
            assert differences(empty, _all_but_the_store(snapshot())) == [], point
    assert reached
    record_property("crash points", reached)


def _attach(*words: str, replace: bool = False) -> adhoc.Outcome:
    return adhoc.attach(adhoc.request_of("br7", "netns:guest", words), replace=replace)


def _detach() -> adhoc.Outcome:
    return adhoc.detach("br7", "netns:guest")


def _damage() -> None:
    subprocess.run(["ip", "link", "del", "br7"], check=True)
    subprocess.run(["ip", "-n", "guest", "route", "flush", "proto", "110"], check=True)


WORDS = "10.7.0.2/24@10.7.0.1", "fd00::2/64"
ADHOC: dict[str, tuple[Job, Job, Job]] = {  # what was done before, what is killed, and what is done next
    "attach": (lambda: None, lambda: _attach(*WORDS), lambda: _attach(*WORDS)),
    "another": (
        lambda: _attach(*WORDS),
        lambda: _attach("10.7.0.3/24", replace=True),
        lambda: _attach("10.7.0.3/24", replace=True),
    ),
    "detach": (lambda: _attach(*WORDS), _detach, _detach),
    "reconcile": (
        lambda: (_attach(*WORDS), _damage()),
        lambda: adhoc.reconcile("adhoc"),
        lambda: adhoc.reconcile("adhoc"),
    ),
}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("command", ADHOC)
def test_what_is_done_to_a_guest_is_made_good_by_the_next_command_wherever_it_was_killed(
    command: str, part: int, record_property: Callable[[str, object], None]
) -> None:
    first, killed, then = ADHOC[command]
    with _host_with_a_guest():
        first()
        points = range(1 + part, _calls(killed) + 1, PARTS)

    reached = 0
    for point in points:
        with _host_with_a_guest():
            empty = _all_but_the_store(snapshot())
            first()
            reached += _killed_at(point, killed)
            then()
            if command != "detach":
                assert fabric.drift("adhoc") == (), point
            _detach()
            assert adhoc.attachments() == [], point
            assert differences(empty, _all_but_the_store(snapshot())) == [], point
    assert reached
    record_property("crash points", reached)


@contextmanager
def _host_with_a_guest() -> Iterator[None]:
    with throwaway():
        subprocess.run(["ip", "netns", "add", "guest"], check=True)
        yield
