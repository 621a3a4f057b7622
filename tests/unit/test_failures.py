"""What goes wrong is told in words, and whose fault it is."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, NoReturn

import pytest

from netfab.cli.main import cli, main


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM, errno.ENOSPC])
def test_what_the_host_has_too_little_of_is_no_mistake_of_netfab(
    number: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(**_: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cli, "main", refused)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # which `main` replaces

    assert main() == 1
    assert capfd.readouterr().err == f"netfab: error: this host: {os.strerror(number)}\n"
