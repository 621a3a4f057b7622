"""A signal that whoever calls netfab has it ignore."""

from __future__ import annotations

import os
import signal

import pytest

from netfab.errors import Interrupted
from netfab.hosts.interrupt import deferred


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heeded_where_the_caller_does_not_have_it_ignored(number: signal.Signals) -> None:
    with deferred() as interrupts:
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            interrupts.check()

    before = signal.signal(number, signal.SIG_IGN)
    try:
        with deferred() as interrupts:
            os.kill(os.getpid(), number)
            interrupts.check()
    finally:
        signal.signal(number, before)
