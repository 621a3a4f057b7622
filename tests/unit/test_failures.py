"""What goes wrong is told in words, and whose fault it is."""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from netfab.cli.main import cli, main
from netfab.cli.show import show_table
from netfab.errors import Interrupted


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


FABRICS = {"netfab.cli.destroy._all_fabrics": {"one": "one", "two": "two"}}
FABRICS |= {"netfab.cli.repair._named": ["one", "two"]}
FABRICS |= {"netfab.cli.look.known_fabrics": [SimpleNamespace(name="one"), SimpleNamespace(name="two")]}


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("destroy --all --yes", "netfab.cli.destroy._destroy"),
        ("reconcile --all", "netfab.imperative.adhoc.reconcile"),
        ("drift --all", "netfab.cli.repair._drift_of"),
        ("ls", "netfab.cli.look._status_of"),
    ],
)
def test_a_signal_ends_a_command_and_not_only_what_it_does_to_one_of_several_fabrics(
    words: str, step: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = []

    def interrupted(*_: Any) -> NoReturn:
        begun.append(step)
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(step, interrupted)
    for name, found in FABRICS.items():
        monkeypatch.setattr(name, lambda *_, found=found: found)
    monkeypatch.setattr(sys, "argv", ["netfab", *words.split()])
    monkeypatch.setattr(sys, "stdout", sys.stdout)

    assert main() == 143
    assert begun == [step]
    assert capfd.readouterr().err == "netfab: error: interrupted by SIGTERM\n"


def test_what_a_signal_undid_is_not_all_that_was_done_before_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def destroyed(_: Any, name: str, *__: Any) -> dict[str, Any]:
        if name == "one":
            return {"fabric": name, "changes": [], "left": []}
        failure = Interrupted(signal.SIGINT)
        failure.undone = True
        raise failure

    monkeypatch.setattr("netfab.cli.destroy._destroy", destroyed)
    monkeypatch.setattr("netfab.cli.destroy._all_fabrics", lambda *_: {"one": "one", "two": "two"})
    monkeypatch.setattr(sys, "argv", ["netfab", "destroy", "--all", "--yes"])
    monkeypatch.setattr(sys, "stdout", sys.stdout)

    assert main() == 130
    assert capfd.readouterr().err == "netfab: error: interrupted by SIGINT\n"


def test_what_is_in_a_table_forges_no_row_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([("NODE", "COMMAND"), ("web", "sh -c true\nfake\tdata\x1b[2J")])

    assert capsys.readouterr().out.splitlines()[1:] == [r"web   sh -c true\nfake\tdata\x1b[2J"]
