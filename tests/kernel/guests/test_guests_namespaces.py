"""Named namespaces, processes and netfab's nodes; and that what is opened is what was found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from descriptors import descriptors, settled_descriptors
from pyroute2 import netns

from netfab.errors import GuestGone, NoGuest
from netfab.guests.find import everyone, find
from netfab.guests.namespaces import Node
from netfab.guests.opening import Opened, open_namespace
from netfab.guests.sources import Sources
from netfab.kernel import daemon
from netfab.system import linux
from netfab.system.proc import start_ticks

HERE = Sources()


@pytest.fixture
def blue() -> Iterator[str]:
    """A namespace that `ip netns` lists."""
    netns.create("blue")
    try:
        yield "/run/netns/blue"
    finally:
        netns.remove("blue")


@contextmanager
def a_process(namespaces: str = "--net") -> Iterator[int]:
    """One that sleeps, in a network of its own."""
    words = ["/usr/bin/unshare", namespaces, "/bin/sh", "-c", "echo there; exec sleep 3600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def opened_inode(word: str, sources: Sources = HERE) -> int:
    fd = open_namespace(find(word, sources))
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


@pytest.mark.parametrize("word", ["blue", "netns:blue", "/run/netns/blue", "netns:/var/run/netns/blue"])
def test_a_named_namespace_is_found_and_opened(blue: str, word: str) -> None:
    assert find(word, HERE).label == "netns:blue"
    assert opened_inode(word) == os.stat(blue).st_ino


def test_a_process_is_found_and_opened() -> None:
    with a_process() as pid:
        guest = find(f"pid:{pid}", HERE)

        assert (guest.label, guest.pid) == (f"pid:{pid}", pid)
        assert opened_inode(f"pid:{pid}") == os.stat(f"/proc/{pid}/ns/net").st_ino
        assert opened_inode(f"/proc/{pid}/ns/net") == os.stat(f"/proc/{pid}/ns/net").st_ino


def test_a_process_in_this_hosts_network_is_refused() -> None:
    with a_process("--uts") as pid, pytest.raises(NoGuest, match=f"pid:{pid} has no network of its own"):
        find(f"pid:{pid}", HERE)


def test_a_process_that_ended_went_away() -> None:
    with a_process() as pid:
        guest = find(f"pid:{pid}", HERE)

    with pytest.raises(GuestGone, match=f"the guest went away: pid:{pid}"):
        open_namespace(guest)


def test_a_process_that_ended_and_is_not_waited_for_went_away() -> None:
    with subprocess.Popen(["/usr/bin/unshare", "--net", "/bin/cat"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        before = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{process.pid}/ns/net").st_ino == before:
            os.sched_yield()
        guest = find(f"pid:{process.pid}", HERE)
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        with pytest.raises(GuestGone):
            open_namespace(guest)
        with pytest.raises(NoGuest, match="there is no process"):
            find(f"pid:{process.pid}", HERE)


def test_another_process_that_has_the_number_now_is_not_opened() -> None:
    with a_process() as pid:
        guest = find(f"pid:{pid}", HERE)

        with pytest.raises(GuestGone):
            open_namespace(guest._replace(started=str(int(guest.started) - 1)))


def test_another_namespace_that_has_the_name_now_is_not_opened(blue: str) -> None:
    guest = find("blue", HERE)
    netns.remove("blue")
    netns.create("blue")

    with pytest.raises(GuestGone, match="the guest went away: netns:blue"):
        open_namespace(guest)


def test_a_guest_that_moved_into_this_hosts_network_is_not_opened() -> None:
    with a_process("--uts") as pid, a_process() as other:
        guest = find(f"pid:{other}", HERE)

        with pytest.raises(NoGuest, match="has no network of its own"):
            open_namespace(guest._replace(pid=pid, started=str(start_ticks(pid)), path=f"/proc/{pid}/ns/net"))


def test_a_node_is_found_by_its_name_and_listed_once(blue: str) -> None:
    here = HERE._replace(nodes=lambda: [Node("shop", "web", blue)])

    guest = find("web", here)

    assert guest == find("shop/web", here) == find("netfab:shop/web", here)
    assert (guest.label, guest.path) == ("netfab:shop/web", blue)
    assert opened_inode("web", here) == os.stat(blue).st_ino
    assert list(everyone(here)) == [guest]


def test_a_process_that_ends_while_it_is_opened_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_process() as pid:
        guest = find(f"pid:{pid}", HERE)

        def end(_: int) -> str:  # and another takes its number within the same clock tick
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return guest.started

        monkeypatch.setattr("netfab.guests.opening.start_ticks", end)
        with pytest.raises(GuestGone):
            open_namespace(guest)


def test_what_is_held_open_tells_when_its_process_ended() -> None:
    with a_process() as pid:
        held = Opened.of(find(f"pid:{pid}", HERE))
        before = held.lives()

    assert (before, held.lives()) == (True, False)
    held.close()


def test_what_is_held_open_tells_when_its_name_is_anothers(blue: str) -> None:
    held = Opened.of(find("blue", HERE))
    before = held.lives()
    netns.remove("blue")
    gone = held.lives()
    netns.create("blue")

    assert (before, gone, held.lives()) == (True, False, False)
    held.close()


def test_a_daemon_in_a_process_namespace_of_its_own_numbers_processes_otherwise(tmp_path: Path) -> None:
    listen = (
        "import socket, sys; door = socket.socket(socket.AF_UNIX); door.bind(sys.argv[1]); door.listen();"
        "print(flush=True); sys.stdin.read()"
    )
    words = ["/usr/bin/unshare", "--pid", "--fork", sys.executable, "-c", listen, str(tmp_path / "s")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        assert not daemon.numbers_processes_as_we_do(str(tmp_path / "s"))
        process.communicate()


def test_only_the_descriptor_of_the_network_is_left_open(blue: str) -> None:
    with a_process() as pid:
        before = settled_descriptors()

        held = {open_namespace(find(word, HERE)) for word in ("blue", f"pid:{pid}")}

        assert descriptors() - before == held
        assert {linux.namespace_kind(fd) for fd in held} == {linux.CLONE_NEWNET}
        for fd in held:
            os.close(fd)
