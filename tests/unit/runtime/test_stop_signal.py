"""The signal that an image wants to be stopped by; images come from strangers."""

from __future__ import annotations

import signal

import pytest

from netfab.runtime.keeper import stop_signal


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGQUIT", signal.SIGQUIT),
        ("quit", signal.SIGQUIT),
        ("3", 3),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("", signal.SIGTERM),
        ("SIGNOTHING", signal.SIGTERM),
        ("SIGRTMIN+99", signal.SIGTERM),
        (f"RTMIN+{10**12}", signal.SIGTERM),
        ("0", signal.SIGTERM),
        ("9" * 5000, signal.SIGTERM),
        ("SIG_IGN", signal.SIGTERM),
    ],
)
def test_a_signal_that_there_is_not_is_sigterm(text: str, number: int) -> None:
    assert stop_signal(text) == number
