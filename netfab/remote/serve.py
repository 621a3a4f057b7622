"""The agent's loop: a line in, answers out. At its end, or after a long silence, locks are released."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from time import monotonic

from netfab.errors import Interrupted
from netfab.remote.agent import LOCK_TTL, Agent
from netfab.remote.messages import BadMessage, Lines, Message, decode, encode, failure
from netfab.system.poll import readable
from netfab.where import HERE, Where

_GLANCE = 1.0  # seconds until a signal is noticed


def serve(reading: int, writing: int, where: Where = HERE, ttl: float = LOCK_TTL) -> None:
    """Answer until the controller is gone."""
    agent, lines = Agent(where), Lines(reading)
    try:
        _say(writing, [{"verb": "agent"}])
        while (line := _next(lines, agent, ttl)) is not None:
            try:
                message = decode(line)
            except BadMessage as error:
                _say(writing, [failure(error)])
                continue
            if message.get("follow") is True:
                _end_with(reading)
            number = message.get("number")
            _say(writing, ({**answer, "number": number} for answer in agent.answers(message)))
    except BadMessage as error:  # no line end: there is no way to resynchronize
        _say(writing, [failure(error)])
    except (BrokenPipeError, ConnectionResetError, Interrupted):
        pass
    finally:
        agent.let_go()


def _next(lines: Lines, agent: Agent, ttl: float) -> bytes | None:
    """The next line; None at end of file. After `ttl` seconds of silence, what is prepared is released."""
    deadline = monotonic() + ttl
    while (line := lines.take()) is None:
        if agent.transaction is None:
            ready = [lines.fd]
        else:
            agent.transaction.check()
            ready = readable([lines.fd], min(_GLANCE, deadline - monotonic()))
        if ready and not lines.fill():
            return None
        if not ready and monotonic() >= deadline:
            agent.let_go()
    return line


def _say(fd: int, messages: Iterable[Message]) -> None:
    for message in messages:
        left = memoryview(encode(message))
        while left:
            left = left[os.write(fd, left) :]


def _end_with(fd: int) -> None:
    """Exit when the controller disconnects: following a silent log would never notice."""

    def watch() -> None:
        while os.read(fd, 1 << 16):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
