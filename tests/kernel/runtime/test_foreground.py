"""Pipes, terminals, read-only roots and inits: what `netfab run` adds to how a program is started."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from containers import PYTHON, Containers

from netfab.errors import RuntimeFailed
from netfab.runtime import client, foreground, handled
from netfab.runtime.logs import tail
from netfab.runtime.paths import Paths
from netfab.runtime.terminals import Terminals
from netfab.runtime.tty import Keys
from netfab.system.process import user_namespace_is_initial

WAITS = handled._WAITS  # the number of rt_sigtimedwait


def test_output_and_errors_of_a_separate_one_are_apart_and_both_in_its_logs(containers: Containers) -> None:
    containers.start("sh", "-c", "echo out; echo err >&2", separate=True)
    out, err = os.memfd_create("out"), os.memfd_create("err")

    foreground.look_at(containers.paths, "web", foreground.View(None, out, err))

    assert (os.pread(out, 99, 0), os.pread(err, 99, 0)) == (b"out\n", b"err\n")
    assert tail(containers.paths, "web") == [b"out", b"err"]


def test_who_looks_learns_the_exit_code_although_the_supervisor_is_killed(
    containers: Containers,
) -> None:
    containers.start("sh", "-c", "echo up; until test -e /go; do sleep 0.01; done; echo last; exit 9")
    containers.says("up")
    out, found = os.memfd_create("out"), []
    looking = threading.Thread(
        target=lambda: found.append(
            foreground.look_at(containers.paths, "web", foreground.View(None, out, -1, heard=False))
        )
    )
    looking.start()
    containers.kill_supervisor()
    containers.exec("touch", "/go")
    looking.join(60)

    assert found[0].exit_code in (9, None)  # unknown on kernels before 6.15, never 0
    assert os.pread(out, 99, 0) == b"up\nlast\n"


def test_a_pipe_that_is_open_never_ends_also_without_a_supervisor(containers: Containers) -> None:
    status = containers.start(
        PYTHON, "-c", "import sys; print('up', flush=True); sys.stdin.read()", stdin="open"
    )
    containers.says("up")
    containers.kill_supervisor()

    pipe = os.open(containers.paths.stdin("web"), os.O_WRONLY)
    os.write(pipe, b"x")
    os.close(pipe)

    assert os.path.exists(f"/proc/{status.pid}")
    assert containers.status().pid == status.pid


def test_what_is_written_to_a_terminal_is_logged_to_the_last_byte(containers: Containers) -> None:
    text = containers.shell("seq 20000; printf end", terminal=True)

    assert text.replace("\r", "") == "".join(f"{number}\n" for number in range(1, 20001)) + "end\n"


def test_a_terminal_that_has_ended_with_its_supervisor_is_shown_from_its_log(containers: Containers) -> None:
    containers.shell("echo last words", terminal=True)
    out = os.memfd_create("out")
    containers.wait_for_supervisors()  # it ends with its last program

    found = foreground.look_at(containers.paths, "web", foreground.View(None, out, terminal=True))

    assert (found.exit_code, os.pread(out, 99, 0)) == (0, b"last words\r\n")


def test_what_is_left_in_a_terminal_is_logged_before_its_end_is_told(tmp_path: Path) -> None:
    master, slave = os.openpty()
    terminals = Terminals(select.epoll())
    terminals.add("web", master, str(tmp_path / "log"))
    os.write(slave, b"last words")
    os.close(slave)

    terminals.finish("web")

    assert (tmp_path / "log").read_bytes() == b"last words"
    assert terminals.of("web") is None


def test_a_root_that_is_read_only_is_so_everywhere_and_its_mounts_are_not(
    containers: Containers, tmp_path: object
) -> None:
    text = containers.shell(
        "for d in / /etc /usr /home /var/tmp; do touch $d/x 2>/dev/null && echo $d; done; "
        "touch /data/x /dev/shm/x && echo fine; echo > /dev/null && cat /a",
        read_only=True, mounts=((str(tmp_path), "/data", False),), files=(("/a", "written\n", 0o644, ""),),
    )  # fmt: skip

    assert text == "fine\nwritten\n"


def test_an_init_reaps_what_nobody_waits_for(containers: Containers) -> None:
    zombies = "grep -s '^State:.Z' /proc/[0-9]*/status"
    script = f"(sleep 0.01 & exec true); cat /proc/1/comm; sleep 0.05; while {zombies}; do sleep 0.01; done"
    text = containers.shell(script, init=True)

    assert text == "init\n"


def test_an_init_that_waits_for_signals_is_asked_before_it_is_killed(containers: Containers) -> None:
    status = containers.start(
        PYTHON, "-c",
        "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print('up', flush=True);"
        "sys.exit(signal.sigwait({15}))",
    )  # fmt: skip
    containers.says("up")
    waits = Path(f"/proc/{status.pid}/syscall")
    while waits.read_text().split()[0] not in ("128", "137"):
        continue
    client.stop(containers.paths, ["web"])

    assert containers.status().exit_code == 15


@pytest.mark.parametrize(
    ("calls", "switches"),
    [(["running", WAITS], ["1", "1"]), (["7", WAITS], ["1", "2", "2"])],
    ids=["woken and not yet running", "elsewhere for a moment"],
)
def test_an_init_that_has_just_been_woken_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, calls: list[str], switches: list[str]
) -> None:
    """Tini is, every second; on a busy machine it may stay so for long."""
    monkeypatch.setattr(handled, "_system_call", lambda _: calls.pop(0))
    monkeypatch.setattr(handled, "_status", lambda _: f"SigBlk:\t0\nSigCgt:\t0\nctxt:\t{switches.pop(0)}\n")

    assert handled.handles(os.getpid(), signal.SIGTERM)


def test_programs_that_run_are_looked_at_again_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes two ticks of a processor; one after the other, forty took ten seconds."""
    looks: list[int] = []

    def answer(pid: int, _: int) -> bool | None:
        looks.append(pid)
        return None if looks.count(pid) == 1 else pid == 1

    monkeypatch.setattr(handled, "_answer", answer)
    monkeypatch.setattr(handled, "_ticks", lambda _: 0)

    assert handled.handling({1: signal.SIGTERM, 2: signal.SIGTERM}) == {1}
    assert looks == [1, 2, 1, 2]


def test_a_program_that_only_runs_is_not_taken_for_one_that_waits_for_signals(containers: Containers) -> None:
    containers.start("sh", "-c", "echo up; while :; do :; done")
    containers.says("up")

    client.stop(containers.paths, ["web"], timeout=60)

    assert containers.status().exit_code == 137


@pytest.mark.parametrize(
    ("typed", "passed", "complete"),
    [
        ((b"ab",), b"ab", False),
        ((b"a\x10", b"\x11b"), b"a", True),
        ((b"\x10\x11",), b"", True),
        ((b"\x10", b"x"), b"\x10x", False),
        ((b"\x10\x10", b"\x11"), b"\x10", True),
    ],
)
def test_the_keys_that_leave_a_terminal_are_found_however_they_come(
    typed: tuple[bytes, ...], passed: bytes, complete: bool
) -> None:
    keys = Keys()

    assert b"".join(map(keys.passed, typed)) == passed
    assert keys.complete is complete


@pytest.mark.skipif(not user_namespace_is_initial(), reason="an ordinary user is alone in the user namespace")
def test_a_terminal_is_its_users(containers: Containers) -> None:
    assert containers.shell("stat -c %U $(tty)", terminal=True, user="daemon") == "daemon\r\n"


def test_an_answer_that_is_no_end_is_followed_by_a_rest_and_an_error_is_told(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    containers.start("sleep", "infinity")
    answers = [b"{}", b"{}", b"{}", b'{"error": "unknown verb wait"}']

    def connect(_: Paths) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.send(answers.pop(0))
        kept.append(theirs)
        return ours

    kept: list[socket.socket] = []
    monkeypatch.setattr(foreground, "connect", connect)
    begun = time.monotonic()

    with pytest.raises(RuntimeFailed, match="unknown verb wait"):
        foreground.look_at(containers.paths, "web", foreground.View(None, -1, -1, heard=False))

    assert time.monotonic() - begun > 0.03
