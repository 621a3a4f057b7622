"""The DHCP clients of a fabric as objects of the engine: read, started, stopped through guests/dhcp.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from netfab.errors import NetfabError
from netfab.kernel.netns import Namespaces
from netfab.kernel.steps import Failures, Handler, Steps
from netfab.objects.base import Name
from netfab.objects.ops import StartClient, StopClient

if TYPE_CHECKING:
    from netfab.objects.dhcp import Dhcp


class Clients:
    """The clients of one fabric; their files are below its run directory."""

    def __init__(
        self,
        directory: str,
        namespaces: Namespaces,
        check: Callable[[], None],
        waiting_for: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._namespaces = namespaces
        self._waiting_for = waiting_for  # called with the reason of a longer wait
        self._check = check  # called while we wait; raises Interrupted after a signal
        self.handlers: dict[type[Any], Handler] = {StartClient: self._start, StopClient: self._stop}

    def read(self) -> Iterator[Dhcp]:
        """The running clients."""
        if not os.path.isdir(self._directory):
            return
        from netfab.guests import dhcp
        from netfab.objects.dhcp import Dhcp

        for client in dhcp.read(self._directory):
            link, mac, program, options, hostname, gateway, port = client.asked
            yield Dhcp(Name(*link), mac, program, tuple(options), hostname, gateway, port)

    def _start(self, steps: Steps, failed: Failures) -> None:
        from netfab.guests import dhcp

        for number, op in steps:
            thing: Dhcp = op.client
            try:
                netns = self._namespaces.open(thing.link.space.removeprefix("node "))
                try:
                    dhcp.start(self._directory, _wanted(thing), netns, self._check, self._waiting_for)
                finally:
                    os.close(netns)
            except (NetfabError, OSError) as error:
                failed[number] = error

    def _stop(self, steps: Steps, failed: Failures) -> None:
        from netfab.guests import dhcp

        for _, op in steps:
            dhcp.stop(self._directory, dhcp.key_of(*op.client.link))


def _wanted(thing: Dhcp) -> Any:
    from netfab.guests.dhcp import Wanted, key_of

    return Wanted(
        key_of(*thing.link),
        thing.link.text,
        thing.client,
        thing.options,
        thing.hostname,
        thing.gateway,
        tuple(thing),
    )
