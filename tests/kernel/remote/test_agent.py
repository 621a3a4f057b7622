"""The agent by itself: what it holds, for how long, and what it says to what is no message."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from examples import BR0, BR1, bridge, fabric

from netfab.objects.base import Fabric
from netfab.remote.coordinator import prepare_message
from netfab.remote.messages import encode
from netfab.remote.serve import serve
from netfab.remote.transaction import Order
from netfab.store.sqlite import SqliteStore
from netfab.store.store import Record
from netfab.where import HERE

BRIDGE = fabric(bridge(BR0))
RECORD = Record("shop", "c:/shop.yaml", 0, "", '{"networks": {}, "nodes": {}, "links": []}')


class Spoken:
    """A conversation with an agent in a process of its own."""

    def __init__(self, end: socket.socket, pid: int) -> None:
        self._end, self.pid = end, pid
        self._file = end.makefile("rb")
        assert self.hear() == {"verb": "agent"}

    def say(self, line: bytes) -> None:
        self._end.sendall(line)

    def hear(self) -> Any:
        line = self._file.readline()
        return json.loads(line) if line else None

    def ask(self, **message: Any) -> Any:
        self.say(encode(message))
        answer = self.hear()
        answer.pop("number")
        return answer

    def hang_up(self) -> None:
        """And wait until it has ended."""
        self._file.close()
        self._end.close()
        os.waitpid(self.pid, 0)
        self.pid = 0  # another's by now


@contextmanager
def agent(ttl: float = 30.0) -> Iterator[Spoken]:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(theirs.fileno(), 3)
            os.closerange(4, 1024)  # what others are to see the end of
            serve(3, 3, HERE, ttl)
        finally:
            os._exit(0)
    theirs.close()
    spoken = Spoken(ours, pid)
    try:
        yield spoken
    finally:
        if spoken.pid:
            os.kill(pid, signal.SIGKILL)
            spoken.hang_up()


def prepare(
    spoken: Spoken, desired: Fabric = BRIDGE, base: int = 0, transaction: str = "t1", timeout: float = 0
) -> Any:
    order = Order(transaction, "h1", base, base + 1, RECORD, desired, frozenset(), (), False, 0)
    return spoken.ask(**prepare_message(order, timeout))


def about(verb: str, transaction: str = "t1", **words: Any) -> dict[str, Any]:
    return {"verb": verb, "transaction": transaction, "fabric": "shop", **words}


def links() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def hello(spoken: Spoken) -> Any:
    return spoken.ask(verb="hello", fabric="shop", asked=[])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\n", "not a message"),
        (b"\x00\xff\n", "not a message"),
        (b"[" * 100_000 + b"\n", "not a message"),
        (b"[]\n", "no verb"),
        (b'{"verb": "explode"}\n', "there is no verb 'explode'"),
        (b'{"verb": "hello"}\n', "hello has fabric"),
        (b'{"verb": "hello", "fabric": "../x", "asked": []}\n', "not a fabric's name"),
        (b'{"verb": "trace", "fabric": "../x", "nodes": [], "matches": []}\n', "not a fabric's name"),
        (b'{"verb": "prepare", "fabric": 3}\n', "not an order"),
        (b'{"verb": "apply", "step": "peers", "transaction": "t9"}\n', "not prepared here"),
        (b'{"verb": "apply", "step": "x", "transaction": "t9"}\n', "no step"),
        (b'{"verb": "commit", "fabric": "shop", "transaction": "t9"}\n', "never applied here"),
        (b'{"verb": "call", "function": "exec", "arguments": {}}\n', "no function"),
    ],
)
def test_what_is_no_message_is_one_error_and_the_next_is_answered(line: bytes, said: str) -> None:
    with agent() as spoken:
        spoken.say(line)
        answer = spoken.hear()

        assert answer["verb"] == "failed"
        assert said in answer["errors"][0]["message"]
        assert hello(spoken)["verb"] == "hello"


def test_a_host_is_changed_step_by_step_and_keeps_what_was_committed() -> None:
    with agent() as spoken:
        prepared = prepare(spoken)
        assert prepared["steps"] == {"peers": 0, "own": 1}
        assert "br0" not in links()

        assert spoken.ask(**about("apply", step="own")) == {"verb": "applied", "step": "own", "n": 1}
        assert "br0" in links()

        assert spoken.ask(**about("commit")) == {"verb": "committed", "generation": 1}
        assert hello(spoken)["generation"] == 1


def test_a_rollback_leaves_the_state_before() -> None:
    with agent() as spoken:
        prepare(spoken)
        spoken.ask(**about("apply", step="own"))

        assert spoken.ask(**about("rollback", why="another host failed")) == {"verb": "rolled_back"}
        assert "br0" not in links()
        assert SqliteStore(HERE.state).record("shop") is None


def test_a_plan_from_another_generation_is_refused() -> None:
    with agent() as spoken:
        answer = prepare(spoken, base=4)

        assert answer["kind"] == "StaleBase"


def test_what_is_prepared_is_locked_and_its_holder_is_named() -> None:
    with agent() as first, agent() as second:
        prepare(first)

        answer = prepare(second)

        assert answer["kind"] == "Locked"
        assert f"locked by {first.pid}" in answer["errors"][0]["message"]


def test_what_is_prepared_is_free_when_the_controller_is_gone() -> None:
    with agent() as first, agent() as second:
        prepare(first)

        first.hang_up()

        assert prepare(second)["verb"] == "prepared"


def test_what_is_prepared_is_free_when_nobody_says_anything_any_more() -> None:
    with agent(ttl=0.05) as first, agent() as second:
        prepare(first)

        assert prepare(second, timeout=30)["verb"] == "prepared"
        assert "not prepared here" in first.ask(**about("apply", step="own"))["errors"][0]["message"]


def test_what_is_applied_and_undecided_stays_and_is_committed_when_that_was_decided() -> None:
    with agent() as spoken:
        prepare(spoken)
        spoken.ask(**about("apply", step="own"))
        spoken.hang_up()
    assert "br0" in links()

    with agent() as spoken:
        said = hello(spoken)
        assert (said["generation"], said["undecided"]) == (0, "t1")
        assert spoken.ask(**about("commit")) == {"verb": "committed"}
        said = hello(spoken)
        assert (said["generation"], said["transaction"], said["undecided"]) == (1, "t1", "")
        assert spoken.ask(**about("commit")) == {"verb": "committed"}


def test_what_is_applied_and_undecided_is_replaced_by_the_next_apply() -> None:
    with agent() as spoken:
        prepare(spoken)
        spoken.ask(**about("apply", step="own"))
        spoken.hang_up()

    with agent() as spoken:
        prepare(spoken, fabric(bridge(BR1)), transaction="t2")
        spoken.ask(**about("apply", "t2", step="own"))
        spoken.ask(**about("commit", "t2"))

        assert hello(spoken)["undecided"] == ""
    assert "br0" not in links()
    assert "br1" in links()
