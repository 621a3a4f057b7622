"""Lines between a controller and an agent: what is no message is one clear error."""

from __future__ import annotations

import os

import pytest

from netfab.errors import Locked, NetfabError, Several
from netfab.remote.messages import BadMessage, Lines, decode, encode, error_of, failure, field


def test_a_message_survives_the_way() -> None:
    message = {"verb": "apply", "step": "peers", "n": [1, None, "ä\n"]}

    assert encode(message).count(b"\n") == 1
    assert decode(encode(message)) == message


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"verb": 3}', b"\xff\x00", b"[" * 100_000, b"7"])
def test_what_is_no_message_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(BadMessage, match="this"):
        decode(line)


def test_what_is_shown_of_a_line_is_short_and_printable() -> None:
    with pytest.raises(BadMessage) as failed:
        decode(b"\x1b[2J" + b"x" * 10_000)

    assert failed.value.message.isprintable()
    assert len(failed.value.message) < 120


def test_a_field_of_another_type_is_refused() -> None:
    for wrong in (None, 1, True, []):
        with pytest.raises(BadMessage, match="the message apply has step = "):
            field({"verb": "apply", "step": wrong}, "step", str)
    with pytest.raises(BadMessage):
        field({"verb": "prepare", "base": True}, "base", int)


def test_lines_come_whole_however_they_arrive() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading)
    taken = []
    for part in (b"on", b"e\ntw", b"o\n\nlast"):
        os.write(writing, part)
        lines.fill()
        while (line := lines.take()) is not None:
            taken.append(line)
    os.close(writing)

    assert taken == [b"one", b"two", b""]
    assert not lines.fill()
    os.close(reading)


def test_a_line_without_an_end_is_refused() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading, limit=10)
    os.write(writing, b"x" * 11)
    lines.fill()

    with pytest.raises(BadMessage):
        lines.take()
    os.close(reading)
    os.close(writing)


def test_an_error_arrives_as_its_hosts_own() -> None:
    error = error_of("h2", decode(encode(failure(Locked("locked by 7 apply", hint="wait")))))

    assert isinstance(error, Locked)
    assert (error.message, error.hint) == ("h2: locked by 7 apply", "wait")


def test_several_errors_arrive_together() -> None:
    error = error_of("h2", failure(Several([NetfabError("one"), NetfabError("two")])))

    assert str(error) == "h2: one\nh2: two"


@pytest.mark.parametrize("answer", [{}, {"errors": 3}, {"errors": [3, {}]}, {"kind": [], "errors": [{}]}])
def test_an_error_that_is_garbled_is_an_error_all_the_same(answer: dict[str, object]) -> None:
    assert isinstance(error_of("h2", {"verb": "failed", **answer}), NetfabError)
