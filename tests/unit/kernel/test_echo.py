"""What comes back to an echo request: from strangers, and so of any length."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from netfab.kernel import echo


@pytest.mark.parametrize("length", range(28))
def test_an_answer_that_is_cut_off_is_none(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(echo, "_raw", lambda _: None)
    asking = echo._Echo([4])
    whole = bytes([0x45, *bytes(19), 0, 0, 0, 0]) + asking._ours + b"\0\0"
    door = SimpleNamespace(
        recvfrom=lambda _: (whole[:length] or b"\0", ("192.0.2.1", 0)), family=socket.AF_INET
    )

    assert asking._read(door) is None  # type: ignore[arg-type]
