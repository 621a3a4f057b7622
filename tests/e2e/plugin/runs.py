"""Whole runs of pytest with the plugin, as users start them: as root or not, and what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60  # seconds, for what hangs
MARK = "NETFAB_TEST_RUN"  # in the environment of all that a run starts
HANGS = """
def test_it(netfab):
    with open("ready", "w") as file:
        file.write(f"{os.getpid()}")
    netfab["a"].popen("sleep", "1000")
    netfab["b"].run("sleep", "1000", timeout=1000)
"""
# $0: a directory that only root may pass; $1: what is shown to others in it all the same
SHOWN = """
set -e
exec 9< "$1"
mount -t tmpfs -o mode=755 none "$0"
mkdir -p "$1"
mount -c --bind /proc/self/fd/9 "$1"
exec 9<&-
shift
exec "$@"
"""
CODE = (Path(__file__).parents[3], Path(sys.base_prefix))  # of the project, and of Python
PAIR = """
import os, time, pytest
pytestmark = pytest.mark.netfab('''
    name: pair
    networks: {lan: {internal: true}}
    nodes: {a: {networks: [lan]}, b: {networks: [lan]}}
    ''')
"""


class Run:
    """One run of pytest, and a directory for it."""

    def __init__(self, directory: Path, test: str) -> None:
        self.directory, self.mark = directory, uuid.uuid4().hex
        (directory / "test_it.py").write_text(PAIR + test)
        (directory / "pytest.ini").write_text("[pytest]\n")

    def to_the_end(
        self, *words: str, user: int = 0, env: Mapping[str, str] | None = None, missing: Sequence[str] = ()
    ) -> str:
        """What it prints, and its exit status in the last line. missing: programs that it does not have."""
        process = self.start(*words, user=user, env=env, missing=missing)
        out, _ = process.communicate(timeout=PATIENCE)
        return f"{out}exit {process.returncode}"

    def start(
        self, *words: str, user: int = 0, env: Mapping[str, str] | None = None, missing: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
        if user:
            ids = f"--reuid={user}", f"--regid={user}"
            argv = ["setpriv", *ids, "--clear-groups", "--no-new-privs", *argv]
            for code in CODE:
                for shut in (each for each in code.parents if not each.stat().st_mode & 1):
                    argv = ["unshare", "--mount", "sh", "-c", SHOWN, str(shut), str(code), *argv]
            os.chown(self.directory, user, user)
        if missing:
            hidden = 'for each in $0; do mount --bind /dev/null "$each" || exit; done; exec "$@"'
            argv = ["unshare", "--mount", "sh", "-c", hidden, " ".join(missing), *argv]
        plain = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "TMPDIR": str(self.directory)}
        return subprocess.Popen(
            argv,
            cwd=self.directory,
            env=plain | {MARK: self.mark} | dict(env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self) -> Iterator[tuple[int, str]]:
        """Everything of it that lives: number and command line."""
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (directory / "environ").read_bytes():
                    yield int(directory.name), (directory / "cmdline").read_text().replace("\0", " ")
            except OSError:  # it has just ended
                continue

    def wait_for_file(self, name: str) -> str:
        """What a test of it wrote."""
        return until(lambda: (self.directory / name).read_text() if (self.directory / name).exists() else "")

    def gone(self, *words: str) -> None:
        """Return when nothing of it lives, or nothing whose command line has one of these words."""

        def lives() -> bool:
            return any(not words or any(word in line for word in words) for _, line in self.processes())

        until(lambda: not lives())


def until(true: Callable[[], T]) -> T:
    """Look until there is something; it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come to be")
