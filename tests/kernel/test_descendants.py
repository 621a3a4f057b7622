"""Ending all that descends from a process, also who can't be ended just now."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from struct import pack, unpack_from

import pytest

from netfab.system import linux
from netfab.system.poll import readable
from netfab.testing import descendants

_FUSE = "/dev/fuse"


def _who_waits_for_a_silent_file_server(mountpoint: Path) -> tuple[int, int]:
    """A child that no signal ends before the descriptor is closed; fuse(4), linux/fuse.h"""
    server = os.open(_FUSE, os.O_RDWR | os.O_CLOEXEC)
    linux.mount("silent", str(mountpoint), "fuse", data=f"fd={server},rootmode=40000,user_id=0,group_id=0")
    (number,) = unpack_from("=8xQ", os.read(server, 1 << 17))  # FUSE_INIT
    os.write(server, pack("=IiQ4I48x", 80, 0, number, 7, 31, 1 << 17, 0))
    child = os.fork()
    if not child:
        os.close(server)
        with suppress(OSError):
            os.listdir(mountpoint)
        os._exit(0)
    os.read(server, 1 << 17)  # it is asked
    return child, server


@pytest.mark.skipif(not os.access(_FUSE, os.R_OK | os.W_OK), reason="no FUSE here")
def test_who_cant_be_ended_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descendants, "ENDING", 0.05)
    parent = os.fork()
    if not parent:
        child, server = _who_waits_for_a_silent_file_server(tmp_path)
        descendants.end_descendants()
        os.close(server)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) + signal.SIGKILL)

    ended = readable([pidfd := os.pidfd_open(parent)], 60)
    os.close(pidfd)
    if not ended:
        os.kill(parent, signal.SIGKILL)

    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == 0
