"""What became of a container: the record that outlives the supervisor, and whether its process still lives.

A record is replaced by rename, so a reader sees one state or the next. A process is identified by its pid,
its start time and the boot that it belongs to; the wall clock is only shown.
"""

from __future__ import annotations

import os

from netfab.runtime.spec import Spec
from netfab.system import json
from netfab.system.proc import boot_id, start_ticks, text_of
from netfab.system.replace import replace_file
from netfab.tuples import NamedTuple

RUNNING, RESTARTING, EXITED = "running", "restarting", "exited"


class Record(NamedTuple):
    """A container's state."""

    state: str
    pid: int = 0
    start_ticks: int = 0  # field 22 of /proc/PID/stat
    boot_id: str = ""
    exit_code: int | None = None  # None: not ended, or unknown; 128 + n for a signal, as a shell says it
    oom: bool = False
    started: float = 0.0  # seconds since the epoch
    ended: float = 0.0
    restarts: int = 0
    error: str = ""  # why it could not be started
    stopped: bool = False  # it was stopped by a user: no policy restarts it
    paused: bool = False

    @property
    def lives(self) -> bool:
        """Whether its process is still alive, and the same one."""
        return bool(self.pid) and self.boot_id == boot_id() and start_ticks(self.pid) == self.start_ticks


def read_record(path: str) -> Record | None:
    """None if there is none, or it can't be understood (older version, damaged)."""
    try:
        return Record(**json.loads(text_of(path)))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def write_record(path: str, record: Record) -> None:
    """Replace the record."""
    replace_file(path, json.dumps(record._asdict()))


def read_spec(path: str) -> Spec:
    """The container's spec. Raises FileNotFoundError."""
    return Spec.from_json(text_of(path))


def exit_code_of(wait_status: int) -> int:
    """As a shell reports it: 128 + n for a signal."""
    code = os.waitstatus_to_exitcode(wait_status)
    return 128 - code if code < 0 else code
