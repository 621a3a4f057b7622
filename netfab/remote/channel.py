"""Concurrent conversations with the agents of several hosts: requests go out together, answers in any order.

One thread and one poll(2). A host that waits while others work gets keep-alives, or its lock would expire.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Protocol

from netfab.errors import NetfabError
from netfab.remote.messages import Lines, Message, decode, encode, error_of

HOLD = 10.0  # seconds between two keep-alives to a waiting host: a third of LOCK_TTL
_GLANCE = 0.2  # seconds until a signal is noticed


class Unreachable(NetfabError):
    """A host can't be reached, or ended the conversation."""


class Transport(Protocol):
    """What carries a conversation: a process that ends with it."""

    reading: int
    writing: int

    def opening(self) -> bytes:
        """What to send first, once the connections to all hosts are being opened."""

    def greet(self, line: bytes) -> bytes | None:
        """The reply to a line that comes before the agent's first; None: the line is the agent's.

        Raises NetfabError if there will be no agent.
        """

    def last_words(self) -> NetfabError:
        """Why the conversation ended, once it has."""

    def hang_up(self) -> None:
        """End it. The agent releases its locks."""

    def wait(self) -> None:
        """Wait until it has ended."""


class Channel:
    """One host's conversation."""

    def __init__(self, host: str, transport: Transport) -> None:
        self.host = host
        self.transport = transport
        self._lines = Lines(transport.reading)
        self._greeted = False
        self._out = bytearray()
        self._later = bytearray()  # for the agent, once it is up
        os.set_blocking(transport.writing, False)
        self._number = 0
        self.failed: NetfabError | None = None  # why there will be no more answers

    def say(self, message: Message) -> None:
        """Queue a request. Answers from now on are to this one."""
        if self._number == 0:
            self._out += self.transport.opening()
        self._number += 1
        self._send(encode({**message, "number": self._number}))

    def hold(self) -> None:
        """Queue a keep-alive, which gets no answer."""
        self._send(encode({"verb": "hold"}))

    def _send(self, line: bytes) -> None:
        if self._greeted:
            self._out += line
        else:
            self._later += line

    @property
    def waits_to_write(self) -> bool:
        """Whether there is data left to send."""
        return bool(self._out)

    def write(self) -> None:
        """Send as much as fits."""
        try:
            sent = os.write(self.transport.writing, self._out[: 1 << 18])
            del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # it ended; its reason is still to be read

    def read(self) -> Iterator[Message]:
        """The messages that have arrived."""
        try:
            if not self._lines.fill():
                raise self.transport.last_words()
            while (line := self._lines.take()) is not None:
                if self._greeted:
                    message = decode(line)
                    if message.get("number") in (self._number, None):  # skip answers to earlier requests
                        yield message
                elif (reply := self.transport.greet(line)) is not None:
                    self._out += reply
                else:
                    self._greeted = True
                    self._out += self._later
        except NetfabError as error:
            hint = error.hint
            self.failed = Unreachable(f"{self.host}: {error.message}", hint=hint)


def ask(
    questions: Mapping[Channel, Message],
    waiting: Iterable[Channel] = (),
    check: Callable[[], None] = lambda: None,
    tell: Callable[[Channel, Message], None] = lambda channel, message: None,
) -> dict[Channel, Message | NetfabError]:
    """Each host's answer or error, in the order of the questions.

    `waiting`: hosts that hold a lock meanwhile; `check` is called now and then, and may raise; `tell` is
    called for what comes before the last answer.
    """
    found: dict[Channel, Message | NetfabError] = {}
    for channel, message in questions.items():
        if channel.failed is None:
            channel.say(message)
    held = monotonic()
    while open_ := [one for one in questions if one not in found]:
        for channel in open_:
            if channel.failed is not None:
                found[channel] = channel.failed
        if monotonic() - held > HOLD:
            held = monotonic()
            for channel in {*waiting, *found}:
                channel.hold()
        _exchange(open_, {*waiting, *found}, found, tell)
        check()
    return {channel: found[channel] for channel in questions}


def _exchange(
    asked: Iterable[Channel],
    others: Iterable[Channel],
    found: dict[Channel, Message | NetfabError],
    tell: Callable[[Channel, Message], None],
) -> None:
    """Wait a moment; send what can be sent, and read what has arrived."""
    reading = {one.transport.reading: one for one in asked if one not in found}
    writing = {one.transport.writing: one for one in (*asked, *others) if one.waits_to_write}
    if not reading:
        return
    poll = select.poll()  # not select(2), which is limited to descriptors below 1024
    for fd in {*reading, *writing}:  # which may be the same
        wanted = (select.POLLIN if fd in reading else 0) | (select.POLLOUT if fd in writing else 0)
        poll.register(fd, wanted)
    ready = poll.poll(_GLANCE * 1000)
    for fd, _ in ready:
        if fd in writing:
            writing[fd].write()
    for channel in [reading[fd] for fd, events in ready if fd in reading and events != select.POLLOUT]:
        for message in channel.read():
            if message["verb"] == "line":
                tell(channel, message)
            else:
                failed = message["verb"] == "failed"
                found[channel] = error_of(channel.host, message) if failed else message
