"""How supervisors and helpers come to be: begun by a command that will need one, or in vain."""

from __future__ import annotations

import os
import select
import signal

import pytest
from containers import Containers, wait_for_end

from netfab.runtime import helper, summons
from netfab.runtime.sealed import must_be_sealed


def test_one_that_is_begun_and_never_called_ends_with_the_command_and_touches_nothing(
    containers: Containers,
) -> None:
    os.makedirs(containers.paths.records)
    command = os.fork()
    if command == 0:
        summons.begin(containers.paths)
        signal.pause()
    while not containers.supervisor():
        continue
    begun = os.pidfd_open(containers.supervisor())

    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)
    wait_for_end(begun)

    assert os.listdir(containers.paths.fabric_run) == ["containers"]


def test_one_that_is_begun_is_the_one_that_serves(containers: Containers) -> None:
    summons.begin(containers.paths)
    while not (begun := containers.supervisor()):
        continue

    containers.start("sleep", "infinity")

    assert containers.supervisor() == begun


def test_one_that_ended_before_it_was_called_is_replaced(containers: Containers) -> None:
    summons.begin(containers.paths)
    while not (begun := containers.supervisor()):
        continue
    pidfd = os.pidfd_open(begun)
    os.kill(begun, signal.SIGKILL)
    wait_for_end(pidfd)

    assert containers.shell("echo up") == "up\n"


@pytest.mark.skipif(not must_be_sealed(), reason="an ordinary user's interpreter is no guest's to write")
def test_a_helper_that_is_begun_in_vain_ends_with_its_command() -> None:
    listen, tell = os.pipe()
    command = os.fork()
    if command == 0:
        helper.begin()
        os.write(tell, helper.have((0, 1, 2)).pid.to_bytes(8))
        signal.pause()
    begun = os.pidfd_open(int.from_bytes(os.read(listen, 8)))

    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)

    assert select.select([begun], [], [], 20)[0]
