"""Running commands in nodes: with a container's rights, with all, without a container, on a terminal."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import Containers, wait_for_end
from own_children import own_children

from netfab.errors import ContainerFailed, NetfabError
from netfab.runtime import tty
from netfab.runtime.command import TIMED_OUT, _fork
from netfab.runtime.exec import run_in_container, run_in_namespace
from netfab.runtime.streams import Streams
from netfab.system.process import die_with_parent, user_namespace_is_initial
from netfab.system.sockets import Socket


def run_in_node(containers: Containers, *argv: str, **options: Any) -> tuple[int, str]:
    read, write = os.pipe()
    try:
        code = run_in_namespace(
            containers.netns,
            argv,
            hostname="node",
            streams=Streams(0, write, write),
            **options,
        )
    finally:
        os.close(write)
        with os.fdopen(read) as pipe:
            output = pipe.read()
    return code, output


def test_a_command_has_the_containers_namespaces_and_no_more_rights(containers: Containers) -> None:
    found = containers.start("sleep", "inf")
    kinds = "ns/mnt ns/net ns/uts ns/pid ns/ipc ns/cgroup"
    look = f"cd /proc/self; readlink {kinds}; grep -E '^(Cap|NoNew|Seccomp:)' status"
    theirs = [
        os.readlink(f"/proc/{found.pid}/ns/{kind}") for kind in ("mnt", "net", "uts", "pid", "ipc", "cgroup")
    ]
    rights = [
        line for line in Path(f"/proc/{found.pid}/status").read_text().splitlines()
        if line.startswith(("Cap", "NoNew", "Seccomp:"))
    ]  # fmt: skip

    code, text = containers.exec("sh", "-c", look)

    assert (code, text.splitlines()) == (0, theirs + rights)


def test_a_command_is_in_the_containers_cgroup(containers: Containers) -> None:
    found = containers.start("sleep", "inf")

    _, text = containers.exec("grep", "^0::", "/proc/self/cgroup")

    assert text.strip() == "0::/"
    assert found.pid


def test_a_privileged_command_has_every_capability(containers: Containers) -> None:
    containers.start("sleep", "inf")

    _, text = containers.exec(
        "sh", "-c", "ip link add dummy0 type bridge && grep Seccomp: /proc/self/status", privileged=True
    )

    assert text.split() == ["Seccomp:", "0"]


@pytest.mark.parametrize(("script", "code"), [("exit 5", 5), ("kill -9 $$", 137)])
def test_a_commands_exit_code_comes_back(containers: Containers, script: str, code: int) -> None:
    containers.start("sleep", "inf")

    assert containers.exec("sh", "-c", script)[0] == code


@pytest.mark.parametrize(("argv", "code"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_a_command_that_cant_be_run_is_an_error(containers: Containers, argv: str, code: int) -> None:
    containers.start("sleep", "inf")

    with pytest.raises(ContainerFailed) as failure:
        containers.exec(argv)

    assert failure.value.exit_code == code


def test_a_command_in_what_does_not_run_is_refused(containers: Containers) -> None:
    containers.run("true")

    with pytest.raises(NetfabError, match="web does not run"):
        containers.exec("true")


@pytest.mark.skipif(not user_namespace_is_initial(), reason="an ordinary user is alone in the user namespace")
def test_a_commands_user_directory_and_environment_can_be_given(containers: Containers) -> None:
    containers.start("sleep", "inf", env=(("A", "1"),))

    _, text = containers.exec(
        "sh", "-c", "id -u; pwd; echo $A $B", user="daemon", workdir="/usr", env=(("B", "2"),)
    )

    assert text.split() == ["1", "/usr", "1", "2"]


def test_a_command_that_takes_too_long_is_killed(containers: Containers) -> None:
    containers.start("sleep", "inf")

    code, _ = containers.exec("sleep", "inf", timeout=0.05)

    assert code == TIMED_OUT
    only_its_own = "until test $(ps -e -o args | grep -c '^[s]leep inf') = 1; do :; done"
    assert containers.exec("sh", "-c", only_its_own, timeout=60)[0] == 0


def test_a_node_without_a_process_has_its_network_names_and_host_name(
    containers: Containers, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.1.2.3 db\n")

    code, text = run_in_node(
        containers,
        "sh",
        "-c",
        "readlink /proc/self/ns/net; hostname; getent hosts db; ls /sys/class/net",
        hosts_file=str(hosts),
    )

    assert code == 0
    assert text.split() == [f"net:[{os.fstat(containers.netns).st_ino}]", "node", "10.1.2.3", "db", "lo"]
    assert "10.1.2.3" not in Path("/etc/hosts").read_text()


def test_a_node_without_a_process_reports_what_cant_be_run(containers: Containers) -> None:
    with pytest.raises(ContainerFailed) as failure:
        run_in_node(containers, "no-such-program")

    assert failure.value.exit_code == 127


def test_a_command_on_a_terminal_has_one_and_it_is_copied_both_ways(containers: Containers) -> None:
    containers.start("sleep", "inf")
    master, slave = os.openpty()
    read, write = os.pipe()

    os.write(master, b"hello\n")
    code = run_in_container(
        containers.paths, "web", ("sh", "-c", "test -t 0 && read x < /dev/tty && echo got $x; exit 6"),
        terminal=True, streams=Streams(slave, write, write),
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as pipe:
        output = pipe.read()
    for fd in (master, slave):
        os.close(fd)

    assert code == 6
    assert "got hello" in output
    assert signal.getsignal(signal.SIGWINCH) == signal.SIG_DFL


def test_a_commands_terminal_is_one_of_the_containers_and_its_users(containers: Containers) -> None:
    user = "daemon" if user_namespace_is_initial() else None
    containers.start("sleep", "inf")

    code, text = containers.exec("sh", "-c", "tty && test -O $(tty) && : > $(tty)", user=user, terminal=True)

    assert (code, text) == (0, "/dev/pts/0\n")


def test_the_terminal_has_the_size_of_ours_and_ours_is_restored(containers: Containers) -> None:
    import fcntl
    import struct
    import termios

    containers.start("sleep", "inf")
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    before = termios.tcgetattr(slave)
    read, write = os.pipe()

    run_in_container(
        containers.paths, "web", ("stty", "size"), terminal=True, streams=Streams(slave, write, write)
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        output = pipe.read()
    after = termios.tcgetattr(slave)
    for fd in (master, slave):
        os.close(fd)

    assert output.split() == ["33", "111"]
    assert after == before


LOOK_AT_OURSELVES = 'import os; print(bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY))'


@pytest.mark.skipif(
    not user_namespace_is_initial(), reason="there a guest's root may not write the host's files"
)
@pytest.mark.parametrize(
    ("make", "command"),
    [
        ("ln -s /proc/self/exe /evil", ("/evil", "-I", "-c", LOOK_AT_OURSELVES)),
        (f"echo '#!/proc/self/exe\n{LOOK_AT_OURSELVES}' > /evil; chmod +x /evil", ("/evil",)),
    ],
    ids=["link", "interpreter"],
)
def test_what_a_guest_holds_of_our_interpreter_is_read_only(  # CVE-2019-5736
    containers: Containers, make: str, command: tuple[str, ...]
) -> None:
    containers.start("sleep", "inf")
    containers.exec("sh", "-c", make)

    assert containers.exec(*command) == (0, "True\n")


def test_a_command_whose_caller_was_killed_before_it_could_end_with_it_does_not_run(tmp_path: Path) -> None:
    (gate, opening), (listen, tell) = os.pipe(), os.pipe()

    def steps(_: Socket | None) -> Iterator[str]:
        yield "enter"
        os.read(gate, 1)
        die_with_parent()
        yield "run"
        (tmp_path / "ran").touch()

    caller = os.fork()
    if caller == 0:
        child, _ = _fork(steps, None)
        os.write(tell, child.to_bytes(8))
        signal.pause()
    command = os.pidfd_open(int.from_bytes(os.read(listen, 8)))
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    os.write(opening, b"+")
    wait_for_end(command)

    assert not (tmp_path / "ran").exists()


def test_a_command_that_kills_its_process_group_does_not_kill_its_caller(containers: Containers) -> None:
    containers.start("sleep", "inf")

    code, _ = containers.exec("sh", "-c", "kill -9 0")

    assert code == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["INT", "TERM", "HUP"])
@pytest.mark.parametrize("is_file", [False, True])
def test_a_signal_that_ends_a_caller_is_passed_on_to_the_command(
    number: signal.Signals, is_file: bool, containers: Containers, tmp_path: Path
) -> None:
    containers.start("sleep", "inf")
    read, write = os.pipe()
    script = f"trap 'exit 3' {number.name[3:]}; echo ready >&2; while :; do sleep 0.02; done"
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT) if is_file else write
    caller = os.fork()
    if caller == 0:
        signal.signal(number, signal.SIG_DFL)  # who ran the tests may ignore it
        os._exit(
            run_in_container(containers.paths, "web", ("sh", "-c", script), streams=Streams(0, out, write))
        )

    os.close(write)
    assert os.read(read, 100) == b"ready\n"
    os.kill(caller, number)

    assert os.waitstatus_to_exitcode(os.waitpid(caller, 0)[1]) == 3
    os.close(read)
    if is_file:
        os.close(out)


@pytest.mark.parametrize("in_container", [False, True])
def test_who_waits_for_a_command_that_is_left_is_nobodys_child_and_keeps_nothing_of_the_caller(
    in_container: bool, containers: Containers
) -> None:
    containers.start("sh", "-c", "mkfifo /end; echo up; exec sleep infinity")
    containers.says("up")
    fifo = f"/proc/{containers.status().pid}/root/end"
    listen, tell = os.pipe()
    os.set_inheritable(tell, True)
    before = own_children()

    if in_container:
        run_in_container(containers.paths, "web", ("cat", "/end"), detached=True)
    else:
        run_in_node(containers, "cat", fifo, detached=True)
    os.close(tell)

    assert select.select([listen], [], [], 20)[0]
    assert own_children() <= before
    os.close(os.open(fifo, os.O_WRONLY))  # which waits for who reads, and lets it end


@pytest.mark.parametrize("typed", [b"a line of text\n" * 30_000, b"no end"], ids=["much", "an unended line"])
def test_what_is_typed_into_a_terminal_waits_while_what_comes_back_is_shown(
    containers: Containers, tmp_path: Path, typed: bytes
) -> None:
    (tmp_path / "typed").write_bytes(typed)
    with open(tmp_path / "typed", "rb") as source, open(tmp_path / "shown", "wb") as shown:
        streams = Streams(source.fileno(), shown.fileno(), shown.fileno())
        command = ("sh", "-c", "tee /dev/stderr | wc -c")
        run_in_namespace(containers.netns, command, hostname="node", terminal=True, streams=streams)

    assert (tmp_path / "shown").read_bytes().split()[-1].endswith(b"%d" % len(typed))


def test_files_that_a_command_reads_and_writes_are_copied_whole_and_in_order(
    containers: Containers, tmp_path: Path
) -> None:
    (tmp_path / "read").write_bytes(sent := b"a line of text\n" * 100_000)
    containers.start("sleep", "inf")

    with open(tmp_path / "read", "rb") as source, open(tmp_path / "written", "wb") as to:
        streams = Streams(source.fileno(), to.fileno(), to.fileno())
        command = "sh", "-c", "echo 1; echo 2 >&2; echo 3; cat; echo 4 >&2"
        run_in_container(containers.paths, "web", command, streams=streams)

    assert (tmp_path / "written").read_bytes() == b"1\n2\n3\n" + sent + b"4\n"


def test_what_is_written_to_a_terminal_that_others_made_refuse_to_wait_is_whole() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    held = os.write(write, bytes(1 << 20))  # what there is room for
    before = signal.signal(signal.SIGALRM, lambda *_: got.append(len(os.read(read, 1 << 20))))
    got = list[int]()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        tty.write(write, b"more")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert (got, os.read(read, 100)) == ([held], b"more")
    os.close(read)
    os.close(write)


def test_a_command_that_reads_nothing_or_is_heard_by_nobody_ends(
    containers: Containers, tmp_path: Path
) -> None:
    (tmp_path / "read").write_bytes(b"x" * 1_000_000)
    containers.start("sleep", "inf")

    with open(tmp_path / "read", "rb") as source, open("/dev/full", "wb") as to:
        streams = Streams(source.fileno(), to.fileno(), to.fileno())
        code = run_in_container(
            containers.paths, "web", ("sh", "-c", "exec < /dev/null; yes"), streams=streams
        )

    assert code in (1, 128 + signal.SIGPIPE)


def test_what_a_command_leaves_running_that_writes_on_does_not_keep_its_caller(
    containers: Containers, tmp_path: Path
) -> None:
    containers.start("sleep", "inf")

    with open(tmp_path / "written", "wb") as to:
        streams = Streams(to.fileno(), to.fileno(), to.fileno())
        run_in_container(containers.paths, "web", ("sh", "-c", "yes & echo done"), streams=streams)

    assert b"done\n" in (tmp_path / "written").read_bytes()
