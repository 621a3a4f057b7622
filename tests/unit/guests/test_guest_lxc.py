"""LXC: its directories, and what lxc-info may say. Real containers are in tests/kernel/guests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netfab.errors import NoAnswer, NoGuest
from netfab.guests.guest import Candidate
from netfab.guests.lxc import Lxc


@pytest.fixture
def lxc(tmp_path: Path) -> Lxc:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "config").touch()
    (tmp_path / "cache").mkdir()
    return Lxc(str(tmp_path), str(tmp_path / "lxc-info"))


def says(lxc: Lxc, script: str) -> None:
    Path(lxc.program).write_text(f"#!/bin/sh\n{script}\n")
    os.chmod(lxc.program, 0o755)


def test_a_directory_with_a_configuration_is_a_container(lxc: Lxc) -> None:
    assert [str(one) for one in lxc.candidates()] == ["lxc:box"]


def test_the_program_is_told_the_container_and_nothing_of_our_environment(
    lxc: Lxc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    says(lxc, f'echo "$@" > {tmp_path}/words; echo "$SECRET $LC_ALL" >> {tmp_path}/words')

    with pytest.raises(NoGuest, match="lxc:-n does not run"):
        lxc.guest(Candidate(lxc, "-n"))

    assert (tmp_path / "words").read_text() == f"--pid --no-humanize --name=-n --lxcpath={tmp_path}\n C\n"


@pytest.mark.parametrize(
    "script",
    ["echo no; exit 0", "echo 12; exit 1", "echo 12 13", "echo -5", "echo 99999999999", "kill -9 $$"],
)
def test_words_that_are_no_process_are_an_error(lxc: Lxc, script: str) -> None:
    says(lxc, script)

    with pytest.raises(NoAnswer, match="does not say whether box runs"):
        lxc.guest(Candidate(lxc, "box"))


def test_a_program_that_hangs_is_given_up(lxc: Lxc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netfab.guests.lxc._TIMEOUT", 0.1)
    says(lxc, "exec sleep 60")

    with pytest.raises(NoAnswer, match="does not say whether box runs"):
        lxc.guest(Candidate(lxc, "box"))


def test_a_container_without_the_program_says_what_is_missing(lxc: Lxc) -> None:
    with pytest.raises(NoGuest, match="lxc-info is missing"):
        lxc.guest(Candidate(lxc, "box"))


def test_a_container_in_the_hosts_network_is_refused(lxc: Lxc) -> None:
    says(lxc, f"echo {os.getppid()}")

    with pytest.raises(NoGuest, match="lxc:box has no network of its own"):
        lxc.guest(Candidate(lxc, "box"))
