"""A sandbox ends by a signal to who began it, however early that comes."""

from __future__ import annotations

import os
import select
import signal

import pytest

from netfab.hosts import sandbox


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_before_anything_runs_in_it_ends_it(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, tell = os.pipe()

    def enter() -> None:
        os.write(tell, b"+")
        select.select([], [], [], 20)

    monkeypatch.setattr(sandbox, "enter", enter)
    child = os.fork()
    if child == 0:
        os._exit(sandbox.run(lambda: 0))
    os.read(told, 1)

    os.kill(child, number)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + number
    os.close(told)
    os.close(tell)


def test_who_runs_in_it_handles_signals_as_who_began_it() -> None:
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def inside() -> int:
        same = {number: signal.getsignal(number) for number in signals} == signals
        return int(same and not signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    child = os.fork()
    if child == 0:
        os._exit(sandbox.run(inside))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
