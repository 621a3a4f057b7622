"""System calls that are written down first and made later."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from netfab.system.calls import Calls, Register, at_once, library, new_cells, perform
from netfab.system.mounts import AT_FDCWD

_openat, _read, _write, _close = library("openat", "read", "write", "close")


def test_what_a_call_returns_is_an_argument_of_those_after_it(tmp_path: Path) -> None:
    calls = Calls()
    file = calls.opened(_openat, AT_FDCWD, calls.text(f"{tmp_path}/a"), os.O_WRONLY | os.O_CREAT, 0o600)
    calls.make(_write, file, calls.text("hello"), 5)
    calls.make(_close, file)
    assert os.listdir(tmp_path) == []  # it is only written down

    assert list(perform(calls)) == [""]

    assert (tmp_path / "a").read_text() == "hello"


def test_lists_that_are_made_one_after_the_other_share_their_registers(tmp_path: Path) -> None:
    cells, found = new_cells(), list[int]()
    opens, looks = Calls(cells), Calls(cells)
    fd = opens.opened(
        _openat, AT_FDCWD, opens.text(str(tmp_path)), os.O_PATH | os.O_CLOEXEC, into=Register(2)
    )
    looks.later(found.append, fd)

    list(perform(opens, looks))

    assert os.readlink(f"/proc/self/fd/{found[0]}") == str(tmp_path)
    os.close(found[0])


def test_the_step_that_failed_is_told_and_nothing_after_it_is_done(tmp_path: Path) -> None:
    cells, done = new_cells(), list[str]()
    first, second = Calls(cells), Calls(cells)
    first.step = "begin"
    first.later(done.append, "begun")
    second.step = "open it"
    second.make(_openat, AT_FDCWD, second.text(f"{tmp_path}/a"), os.O_RDONLY, path="a")
    second.step = "go on"
    second.later(done.append, "gone on")
    steps = perform(first, second)

    assert next(steps) == ""
    assert next(steps) == "open it"
    with pytest.raises(FileNotFoundError) as refused:
        next(steps)

    assert refused.value.filename == "a"
    assert done == ["begun"]


def test_an_error_of_python_is_told_as_that_of_its_step() -> None:
    calls = Calls()
    calls.step = "ask"
    calls.later(os.close, -1)
    steps = perform(calls)

    assert [next(steps), next(steps)] == ["", "ask"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        next(steps)


def test_another_answer_is_asked_for_where_a_call_fails(tmp_path: Path) -> None:
    def make(error: OSError) -> int:
        assert error.errno == errno.ENOENT
        return os.open(tmp_path / "made", os.O_CREAT | os.O_WRONLY)

    def open_or_make(calls: Calls) -> Register:
        return calls.opened(_openat, AT_FDCWD, calls.text(f"{tmp_path}/a"), os.O_RDONLY, instead=make)

    os.close(at_once(open_or_make))

    assert os.listdir(tmp_path) == ["made"]


def test_a_call_fails_too_that_returns_less_than_it_should() -> None:
    def read(calls: Calls) -> None:
        calls.make(_read, reading, calls.memory(bytes(8)), 8, least=1)

    reading, writing = os.pipe()
    os.write(writing, b"x")
    os.close(writing)
    at_once(read)

    with pytest.raises(OSError, match="No data"):
        at_once(read)
    os.close(reading)


def test_a_text_that_c_would_cut_is_refused() -> None:
    with pytest.raises(OSError, match="zero byte"):
        Calls().text("sh\0-c")


def test_memory_stays_where_it_is_while_more_is_taken() -> None:
    calls = Calls()
    addresses = [calls.text("x" * length) for length in (0, 7, 8, 2000, 30, 5000, 1)]

    for address, length in zip(addresses, (0, 7, 8, 2000, 30, 5000, 1), strict=True):
        assert ctypes.string_at(address) == b"x" * length
