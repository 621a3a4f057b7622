"""What a host answers that makes no sense: an error that names the host, of every question."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from netfab.errors import NetfabError
from netfab.remote import asking, nodes
from netfab.remote.messages import BadMessage, Message
from netfab.store.book import Entry
from netfab.where import Where

THERE = nodes.There(Entry("shop", "-", 0, {"h1": "root@h1"}, 1, "t", {}), "web", "h1")


class Saying:
    """A host that has said this, whatever it will be asked."""

    def __init__(self, said: Message) -> None:
        self.reading, theirs = os.pipe()
        self._asked, self.writing = os.pipe()
        os.write(theirs, b"{}\n" + json.dumps(said).encode() + b"\n")
        os.close(theirs)

    def opening(self) -> bytes:
        return b""

    def greet(self, line: bytes) -> bytes | None:
        return None

    def last_words(self) -> NetfabError:
        return NetfabError("it ended")

    def hang_up(self) -> None:
        for fd in (self.reading, self.writing, self._asked):
            os.close(fd)

    def wait(self) -> None:
        pass


def used(way: Any) -> None:
    with nodes.usage([THERE], Where(), way) as use:
        use()


QUESTIONS: dict[str, tuple[Callable[[Any], object], Message]] = {
    "wait": (lambda way: nodes.wait(THERE, Where(), way), {"value": []}),
    "wait, a text": (lambda way: nodes.wait(THERE, Where(), way), {"value": ["x"]}),
    "usage": (used, {"value": [["shop", "web", 7], 3]}),
    "inspect": (lambda way: nodes.inspect(THERE, Where(), way), {"value": 3}),
    "logs": (lambda way: nodes.logs([THERE], Where(), print, way=way), {"verb": "line", "node": "web"}),
    "capture": (
        lambda way: nodes.capture(THERE, "eth0", "", Where(), print, way),
        {"verb": "line", "frames": [["eth0", 0, True, "no digits"]], "lost": 0},
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_of_no_sense_is_the_error_of_its_host(question: str) -> None:
    ask, said = QUESTIONS[question]

    with pytest.raises(BadMessage, match=r"^h1.* gives an answer of no sense: ") as caught:
        ask(lambda host, destination, where: Saying({"verb": "returned", **said}))

    assert caught.value.message.isprintable()


class Party:
    """Hosts that answer all questions alike."""

    def __init__(self, said: Any) -> None:
        self._said = said

    def call(self, function: str, arguments: Message, hosts: list[str]) -> Message:
        return dict.fromkeys(hosts, self._said)

    def ask_all(self, questions: Message) -> Message:
        return {host: {"ends": self._said} for host in questions}


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda there: there.look(), [7]),
        (lambda there: there.way("web", "192.0.2.1", "", 0), 3),
        (lambda there: there.dropped({"h1": ["web"]}, [], None), [["h1", "web", []]]),
    ],
    ids=["look", "way", "dropped"],
)
def test_a_look_at_another_host_that_makes_no_sense_is_its_error(
    ask: Callable[[asking.There], object], said: Any
) -> None:
    there = asking.There(Party(said), "h1", "shop")  # type: ignore[arg-type]

    with pytest.raises(BadMessage, match=r"^h1 gives an answer of no sense: "):
        ask(there)
