"""LXC: containers by their directories, their processes by lxc-info(1).

lxc-info asks the container's own monitor, so the answer is the same on every layout of cgroups, and whatever
`lxc.cgroup.dir` says. The ways around it are worse: the names of cgroups changed with LXC 4, there the first
process may have moved itself below, and the monitor's protocol numbers its commands (one is "stop") without
a version. It takes 3 ms.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from netfab.errors import NoAnswer, NoGuest
from netfab.guests.guest import Candidate, Guest, guest_of_manager
from netfab.tuples import NamedTuple

PROGRAM = "/usr/bin/lxc-info"
_TIMEOUT = 5.0  # seconds


class Lxc(NamedTuple):
    """The containers of an lxcpath; lxc.system.conf(5)."""

    directory: str
    program: str = PROGRAM
    kind: str = "lxc"

    def candidates(self) -> Iterator[Candidate]:
        """Containers that exist, running or not. Raises OSError."""
        for name in sorted(os.listdir(self.directory)):
            if name.isprintable() and os.path.exists(f"{self.directory}/{name}/config"):
                yield Candidate(self, name)

    def guest(self, candidate: Candidate) -> Guest:
        """Raises NoGuest, GuestGone, NoAnswer."""
        return guest_of_manager(candidate, lambda: self._pid(candidate))

    def _pid(self, candidate: Candidate) -> int | None:
        import subprocess

        name = candidate.id
        try:
            ended = subprocess.run(
                (self.program, "--pid", "--no-humanize", f"--name={name}", f"--lxcpath={self.directory}"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT,
                env={"LC_ALL": "C"},
                check=False,
            )
        except FileNotFoundError as error:
            raise NoGuest(f"{candidate}: {self.program} is missing", hint="install lxc") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoAnswer(self.program, f"does not say whether {name} runs") from error
        said = ended.stdout.strip()
        if not said and ended.returncode == 0:
            return None
        if ended.returncode or not said.isdigit() or len(said) > 10:
            raise NoAnswer(self.program, f"does not say whether {name} runs")
        return int(said)
