"""Images and guests that try to reach the host through what we do for them: each was somebody's CVE."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from containers import PYTHON, Containers, make_image

from netfab.errors import ContainerFailed
from netfab.runtime import sealed
from netfab.runtime.exec import run_in_container
from netfab.runtime.rotation import trim
from netfab.runtime.streams import Streams


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    made = tmp_path / "outside"
    made.mkdir()
    return made


def test_a_mount_through_a_symlink_stays_in_the_image(
    containers: Containers, image: Path, outside: Path
) -> None:
    (image / "data").symlink_to(outside)  # CVE-2021-30465, CVE-2019-14271
    shared = outside.parent / "shared"
    shared.mkdir()
    (shared / "a").touch()

    with pytest.raises(ContainerFailed, match="mount: data"):
        containers.start("sh", "-c", ":", image=str(image), mounts=((str(shared), "/data/in", False),))

    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("link", ["outside", "../../../../../../{}", "/proc/1/root{}"])
def test_a_file_through_a_symlink_stays_in_the_image(
    containers: Containers, image: Path, outside: Path, link: str
) -> None:
    (image / "conf").symlink_to(link.format(outside))

    with suppress(ContainerFailed):
        containers.run("sh", "-c", ":", image=str(image), files=(("/conf/a.conf", "secret\n", 0o600, ""),))

    assert list(outside.iterdir()) == []


def test_a_file_that_is_a_symlink_is_replaced_not_followed(
    containers: Containers, image: Path, outside: Path
) -> None:
    victim = outside / "victim"
    victim.write_text("as it was")
    (image / "a.conf").symlink_to(victim)

    containers.run("sh", "-c", ":", image=str(image), files=(("/a.conf", "x", 0o600, ""),))

    assert victim.read_text() == "as it was"


def read_all(master: int) -> str:
    """What was written to a terminal that nobody has any more."""
    text = b""
    with os.fdopen(master, "rb", 0) as terminal, suppress(OSError):  # EIO
        while True:
            text += terminal.read(1000)
    return text.decode()


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_an_image_cant_redirect_the_kernels_file_systems(
    containers: Containers, image: Path, outside: Path, name: str
) -> None:
    (image / name).symlink_to(outside)  # CVE-2025-31133, CVE-2025-52881, CVE-2026-41579

    text = containers.shell("while read d p t o; do echo $p; done < /proc/self/mounts", image=str(image))

    assert f"/{name}" in text.split()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_cant_redirect_its_terminal(
    containers: Containers, image: Path, outside: Path, whole: bool
) -> None:
    (outside / "ptmx").write_text("as it was")
    if whole:
        (image / "dev").symlink_to(outside)  # CVE-2026-41579, CVE-2026-47766
    else:
        (image / "dev").mkdir()
        for name in ("console", "ptmx", "pts", "tty"):
            (image / "dev" / name).symlink_to(outside / "ptmx")  # CVE-2025-52565

    text = containers.shell("test -t 0 && test -t 1 && test -t 2 && echo on", image=str(image), terminal=True)

    assert text == "on\r\n"
    assert [path.name for path in outside.iterdir()] == ["ptmx"]
    assert (outside / "ptmx").read_text() == "as it was"


@pytest.mark.parametrize("made", ["ln -s /out", "mkfifo"])
def test_a_guest_cant_redirect_the_terminal_of_a_command(containers: Containers, made: str) -> None:
    ready = f"mount -t tmpfs x /dev/pts && touch /out && {made} /dev/pts/ptmx && echo up"
    containers.start("sh", "-c", f"{ready}; exec sleep inf", cap_add=("SYS_ADMIN",))
    containers.says("up")

    with pytest.raises(ContainerFailed, match="open its terminal: dev/pts/ptmx"):
        containers.exec("true", terminal=True)


def test_a_guest_that_replaced_dev_ptmx_has_its_commands_on_its_own_terminals(containers: Containers) -> None:
    containers.start("sh", "-c", "rm /dev/ptmx; mkfifo /dev/ptmx; echo up; exec sleep inf")
    containers.says("up")

    assert containers.exec("tty", terminal=True)[1] == "/dev/pts/0\n"


def test_a_guest_that_made_dev_null_a_symlink_does_not_unmask_proc(containers: Containers) -> None:
    containers.run(
        "sh", "-c", "exec 2> /dev/zero; rm -f /dev/null; ln -s /proc/keys /dev/null"
    )  # CVE-2025-31133

    assert containers.shell("cat /proc/keys /proc/timer_list") == ""


@pytest.mark.parametrize("directory", ["/proc/self/fd", "/proc/1/cwd", "/proc/self/fd/7"])
def test_a_working_directory_is_below_the_root(containers: Containers, directory: str) -> None:
    # CVE-2024-21626
    script = "import os; print(os.stat('/').st_ino == os.stat('/proc/1/root').st_ino, os.listdir('/root'))"
    try:
        _, text = containers.run(PYTHON, "-c", script, workdir=directory)
    except ContainerFailed:
        return

    assert text.strip() == "True []"


def test_a_user_file_of_the_guest_is_only_parsed(containers: Containers, image: Path) -> None:
    (image / "etc").mkdir()
    (image / "etc/passwd").symlink_to("/etc/shadow")

    with pytest.raises(ContainerFailed, match="find its user"):
        containers.start("sh", "-c", ":", image=str(image), user="root")


def test_a_guests_python_modules_are_not_imported_by_ours(containers: Containers) -> None:
    containers.start("sleep", "inf")
    containers.exec(
        "sh", "-c", 'for m in warnings encodings os signal; do echo \'open("/pwned", "w")\' > /$m.py; done'
    )

    containers.exec("true")

    assert containers.exec("test", "-e", "/pwned")[0] == 1


def test_the_program_that_starts_a_command_cant_be_opened_by_the_guest(containers: Containers) -> None:
    watch = (  # CVE-2019-5736
        "import os\nprint('up', flush=True)\nfound = set()\n"
        "while not os.path.exists('/go'):\n"
        " for pid in filter(str.isdecimal, os.listdir('/proc')):\n"
        "  try: found.add(os.readlink(f'/proc/{pid}/exe'))\n"
        "  except OSError: pass\n"
        "print(sorted(found))"
    )
    containers.start(PYTHON, "-c", watch)
    containers.says("up")
    for _ in range(10):
        containers.exec("true")
    containers.exec("touch", "/go")

    text = containers.output()

    ours = os.readlink("/proc/self/exe")
    assert ours == os.path.realpath(PYTHON) or ours not in text


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_callers_umask_opens_no_door_and_closes_none(containers: Containers, mask: int) -> None:
    before = os.umask(mask)
    try:
        containers.start("sleep", "inf")
    finally:
        os.umask(before)

    assert os.stat(containers.paths.socket).st_mode & 0o022 == 0  # to connect is to write; unix(7)
    assert os.stat(containers.paths.layers).st_mode & 0o077 == 0
    assert containers.exec("stat", "-c", "%a", "/etc", "/dev")[1].split() == ["755", "755"]


def test_an_endless_path_is_refused_and_harms_no_sibling(containers: Containers) -> None:
    containers.start("sleep", "inf")
    supervisor = containers.supervisor()

    with pytest.raises(ContainerFailed, match="Argument list too long"):
        containers.start("true", name="endless", env=(("PATH", "a:" * 30_000),))

    assert containers.run("echo", "hello", name="sibling")[1] == "hello\n"
    assert containers.supervisor() == supervisor


def test_a_command_cant_open_anew_what_its_caller_gave_it(containers: Containers, tmp_path: Path) -> None:
    script, words = tmp_path / "script", tmp_path / "words"
    script.write_text(text := "true > /proc/self/fd/0; true > /proc/self/fd/1; echo end\n")
    words.write_text("begin\n")
    containers.start("sleep", "inf")

    with script.open() as read, words.open("a") as written:
        streams = Streams(read.fileno(), written.fileno(), written.fileno())
        run_in_container(containers.paths, "web", ("sh",), streams=streams)

    assert script.read_text() == text
    assert words.read_text() == "begin\nend\n"


def test_a_command_without_a_terminal_has_not_that_of_its_caller(containers: Containers) -> None:
    containers.start("sleep", "inf")
    master, slave = os.openpty()
    os.write(master, b"hello\n")
    script = "test -t 0 || test -t 1 || test -t 2 || read x && echo got $x"

    run_in_container(containers.paths, "web", ("sh", "-c", script), streams=Streams(slave, slave, slave))
    os.close(slave)

    assert "got hello" in read_all(master)


def test_a_command_cant_open_the_terminal_that_its_caller_is_controlled_by(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "must_be_sealed", lambda: False)  # as it is for an ordinary user
    containers.start("sleep", "inf")
    caller, master = pty.fork()
    if caller == 0:
        try:
            os._exit(run_in_container(containers.paths, "web", ("sh", "-c", "true < /dev/tty || exit 7")))
        finally:
            os._exit(1)

    read_all(master)

    assert os.waitstatus_to_exitcode(os.waitpid(caller, 0)[1]) == 7


def test_who_looks_at_a_log_that_a_guest_has_leased_is_not_kept(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # by which who has a lease is asked to let go
    try:
        with open(tmp_path / "log", "wb") as log:
            log.write(b"x" * 5000)
            log.flush()
            fcntl.fcntl(log, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            with pytest.raises(BlockingIOError):
                trim(str(tmp_path / "log"), 0)
    finally:
        signal.signal(signal.SIGIO, before)
