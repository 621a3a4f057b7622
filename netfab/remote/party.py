"""All hosts of a fabric, as one conversation: who they are, how they are reached, what they answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from netfab.errors import NetfabError, raise_all
from netfab.hosts import simulated
from netfab.hosts.interrupt import Interrupts, deferred
from netfab.remote.channel import Channel, Transport, Unreachable, ask
from netfab.remote.forked import Forked
from netfab.remote.messages import Message
from netfab.remote.ssh import ANEW, Ssh
from netfab.where import Where

Connect = Callable[[str, str, Where], Transport]  # a host's name, its destination, and where we are


def connect(host: str, destination: str, where: Where) -> Transport:
    """Connect by ssh, or, without a destination, on this machine; in a lab, enter the simulated host."""
    if host in simulated.names():
        return Forked(where, partial(simulated.enter, host))
    return Ssh(destination) if destination else Forked(where)


def connect_anew(host: str, destination: str, where: Where) -> Transport:
    """The same, over a fresh connection, not a shared one: it proves that the host is reachable."""
    if host in simulated.names() or not destination:
        return connect(host, destination, where)
    return Ssh(destination, ANEW)


class Party:
    """The conversations with the hosts of one fabric."""

    def __init__(
        self, channels: Mapping[str, Channel], interrupts: Interrupts, meanwhile: Callable[[], None]
    ) -> None:
        self.channels = dict(channels)
        self._interrupts = interrupts
        self._meanwhile = meanwhile

    def ask(
        self,
        questions: Mapping[str, Message],
        waiting: Collection[str] = (),
        tell: Callable[[str, Message], None] = lambda host, message: None,
        patient: bool = False,
    ) -> dict[str, Message | NetfabError]:
        """Each host's answer, or its error. Raises Interrupted, unless `patient`.

        `waiting`: hosts that hold a lock meanwhile.
        """

        def look() -> None:
            self._meanwhile()
            if not patient:
                self._interrupts.check()

        found = ask(
            {self.channels[host]: message for host, message in questions.items()},
            [self.channels[host] for host in waiting],
            look,
            lambda channel, message: tell(channel.host, message),
        )
        return {channel.host: answer for channel, answer in found.items()}

    def ask_all(
        self,
        questions: Mapping[str, Message],
        waiting: Collection[str] = (),
        tell: Callable[[str, Message], None] = lambda host, message: None,
        patient: bool = False,
    ) -> dict[str, Message]:
        """Each host's answer. Raises the errors of all hosts together."""
        return answers(self.ask(questions, waiting, tell, patient))

    def call(
        self, function: str, arguments: Mapping[str, Any], hosts: Collection[str] = ()
    ) -> dict[str, Any]:
        """Call a function of the API on all hosts, or some; the results, by host. Raises NetfabError."""
        message = {"verb": "call", "function": function, "arguments": arguments}
        said = self.ask_all(dict.fromkeys(hosts or self.channels, message))
        return {host: answer.get("value") for host, answer in said.items()}

    def leave_out(self, hosts: Collection[str]) -> None:
        """Drop hosts that are not reached from this party."""
        for host in hosts:
            channel = self.channels.pop(host)
            channel.transport.hang_up()
            channel.transport.wait()


def answers(said: Mapping[str, Message | NetfabError]) -> dict[str, Message]:
    """The answers. Raises the errors of all hosts together."""
    raise_all(answer for answer in said.values() if isinstance(answer, NetfabError))
    return {host: answer for host, answer in said.items() if isinstance(answer, dict)}


def unreachable(said: Mapping[str, Message | NetfabError]) -> dict[str, Unreachable]:
    """Hosts that were not reached, with the errors."""
    return {host: answer for host, answer in said.items() if isinstance(answer, Unreachable)}


@contextmanager
def party(
    hosts: Mapping[str, str],
    where: Where,
    way: Connect = connect,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[Party]:
    """Connect to these hosts, by name and destination; signals are handled between two messages.

    `meanwhile` is called now and then while waiting for answers.
    """
    channels: dict[str, Channel] = {}
    with deferred() as interrupts:
        together = Party(channels, interrupts, meanwhile)
        try:
            for host, destination in hosts.items():
                together.channels[host] = Channel(host, way(host, destination, where))
            yield together
        finally:
            for channel in together.channels.values():
                channel.transport.hang_up()
            for channel in together.channels.values():
                channel.transport.wait()
