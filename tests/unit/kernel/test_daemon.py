"""Asking a daemon: whatever it does, there is an answer or one error, and in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_daemon import api, http, outcome, serving
from hypothesis import given
from hypothesis import strategies as st

from netfab.errors import NoAnswer
from netfab.kernel import daemon

BAD = {
    "nothing": b"",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half a head": b"HTTP/1.0 200 OK\r\nContent-",
    "no status": b"HTTP/1.0\r\n\r\n{}",
    "a status that is none": b"HTTP/1.0 2e2 OK\r\n\r\n{}",
    "a redirect": http(b"", "301 Moved Permanently", "Location: http://elsewhere/\r\n"),
    "an error": http(b'{"message":"boom"}', "500 Internal Server Error"),
    "no json": http(b"<html>"),
    "half of it": http(b'[{"Id":'),
    "no text": http(b'"\xff\xfe"'),
    "deep nesting": http(b"[" * 200_000 + b"]" * 200_000),
    "a number of 10,000 digits": http(b"9" * 10_000),
}


def test_an_answer_is_parsed(tmp_path: Path) -> None:
    with serving(tmp_path / "s", api({"/version": {"Version": "20.10"}})) as path:
        assert daemon.get(path, "/version") == {"Version": "20.10"}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
def test_a_bad_answer_is_one_error(tmp_path: Path, answer: bytes) -> None:
    with serving(tmp_path / "s", lambda _: [answer]) as path, pytest.raises(NoAnswer) as failure:
        daemon.get(path, "/version")

    assert failure.value.message.startswith(f"{path} ")


def test_a_status_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "s", api({})) as path, pytest.raises(NoAnswer, match="answers 404") as failure:
        daemon.get(path, "/containers/x/json")

    assert failure.value.status == 404


def test_an_answer_that_has_no_end_is_given_up_at_8_mib(tmp_path: Path) -> None:
    def endless(_: str) -> Iterator[bytes]:
        yield http(b"[")
        while True:
            yield b"0," * (1 << 19)

    with serving(tmp_path / "s", endless) as path, pytest.raises(NoAnswer, match="more than 8 MiB"):
        daemon.get(path, "/version")


def test_a_drip_does_not_outlast_the_time_for_all_of_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "TIMEOUT", 0.3)

    def drip(_: str) -> Iterator[bytes]:  # a whole answer, but for one that waits 0.3 s for each piece
        yield http(b"[")
        for _ in range(100):
            time.sleep(0.01)
            yield b" "
        yield b"]"

    with serving(tmp_path / "s", drip) as path, pytest.raises(NoAnswer, match="no whole answer within"):
        daemon.get(path, "/version")


def test_silence_does_not_outlast_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "TIMEOUT", 0.1)

    def silence(_: str) -> Iterator[bytes]:
        time.sleep(1)
        yield http(b"[]")

    with serving(tmp_path / "s", silence) as path, pytest.raises(NoAnswer, match="no whole answer within"):
        daemon.get(path, "/version")


def test_where_nobody_listens_the_error_is_the_kernels(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        daemon.get(str(tmp_path / "s"), "/version")


@given(st.one_of(st.binary(), st.binary().map(http), st.text().map(lambda text: http(text.encode(), text))))
def test_no_bytes_give_anything_but_data_or_the_error(answer: bytes) -> None:
    assert outcome(lambda: daemon.parse("/run/docker.sock", answer)).isprintable()
