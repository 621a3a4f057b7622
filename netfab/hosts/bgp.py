"""FRR's bgpd as objects of the engine: its running configuration is read and changed.

It runs in a container of the fabric (plan/evpn.py). We use the socket of vtysh(1): a command
ends with a zero byte, the answer with three and a status byte (lib/vty.c, vtysh/vtysh.c).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from errno import ECONNREFUSED, ETIMEDOUT
from typing import TYPE_CHECKING, Any

from netfab.errors import NetfabError, NoAnswer
from netfab.kernel.steps import Failures, Handler, Steps
from netfab.objects.ops import TellBgp
from netfab.runtime.paths import Paths

if TYPE_CHECKING:
    import socket

_DOOR = "run/frr/bgpd.vty"  # in the container
_ANSWER = 5.0  # seconds
_MOST = 64 << 20  # bytes of an answer; a hundred peers take a megabyte
_START = 60.0  # seconds until it listens, on a machine that starts many
_PATIENCE = 10.0  # seconds to wait for its peers' routes
_LONG = 4.0  # seconds of waiting before the user is told: sessions take two or three
_GLANCE = 0.02  # seconds between two polls, as its socket sends no notifications
_DONE = b"\0\0\0"


class Speaker:
    """The bgpd of one fabric."""

    def __init__(self, paths: Paths, check: Callable[[], None], waiting_for: Callable[[str], None]) -> None:
        self._paths = paths
        self._check = check  # called while we wait; raises Interrupted after a signal
        self._waiting_for = waiting_for  # called with the reason of a longer wait
        self.handlers: dict[type[Any], Handler] = {TellBgp: self._tell}

    def read(self) -> str:
        """Its configuration; "" if it does not run. Raises NoAnswer if it does not respond."""
        if not os.path.exists(self._paths.records):  # most fabrics never had a program
            return ""
        from netfab.objects.bgp import DAEMONS

        if not os.path.exists(self._paths.record(DAEMONS)):
            return ""
        try:
            with self._door() as door:
                _ask(door, "enable")
                return _ask(door, "show running-config")
        except TimeoutError as error:
            raise NoAnswer(
                f"bgpd of fabric {self._paths.fabric}", f"gives no answer in {_ANSWER:g} s"
            ) from error
        except (OSError, NetfabError):
            return ""

    def wait_for_peers(self) -> None:
        """Wait until every peer has sent its initial routes; a peer that is down does not block for ever."""
        from netfab.system.rest import rest

        begun, told = time.monotonic(), False
        while (silent := self._silent()) and (waited := time.monotonic() - begun) < _PATIENCE:
            if waited > _LONG and not told:
                told = True
                self._waiting_for(f"what {', '.join(silent)} says by BGP")
            self._check()
            rest(_GLANCE)

    def _silent(self) -> list[str]:
        """Peers whose End-of-RIB has not arrived (RFC 4724, section 2).

        Or bgpd itself, if it can't be asked: their state is then unknown.
        """
        import json

        from netfab.objects.bgp import DAEMONS

        with suppress(OSError, NetfabError, ValueError, TypeError, AttributeError), self._door() as door:
            peers = json.loads(_ask(door, "show bgp neighbors json"))
            return [address for address, peer in peers.items() if not _has_spoken(peer)]
        return [DAEMONS]

    def _tell(self, steps: Steps, failed: Failures) -> None:
        """Send all statements; then have bgpd save its configuration for a restart."""
        ending = all(op.ends for _, op in steps)
        try:
            with self._door(0.0 if ending else _START) as door:
                _ask(door, "enable")
                for number, op in steps:
                    failed[number] = _refusal(door, op)
                _ask(door, "end")
                _ask(door, "write file")
        except (NetfabError, OSError) as error:
            if not ending:
                failed[steps[0][0]] = error

    def _door(self, patience: float = 0.0) -> socket.socket:
        """A connection to its socket, once there is one. Raises OSError."""
        from netfab.system.rest import rest

        deadline = time.monotonic() + patience
        while True:
            try:
                return self._opened()
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise OSError(error.errno, f"bgpd does not listen: {error.strerror}") from error
            self._check()
            rest(_GLANCE)

    def _opened(self) -> socket.socket:
        import socket  # few fabrics use BGP

        from netfab.objects.bgp import DAEMONS
        from netfab.runtime.status import status_of
        from netfab.system.mounts import open_below
        from netfab.system.trees import IN_ROOT

        found = status_of(self._paths, DAEMONS)
        if found is None or not found.pid:
            raise OSError(ECONNREFUSED, os.strerror(ECONNREFUSED))
        with ExitStack() as closing:
            root = os.open(f"/proc/{found.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            closing.callback(os.close, root)
            end = open_below(root, _DOOR, os.O_PATH, IN_ROOT)  # a symlink there can't lead to the host's
            closing.callback(os.close, end)
            door = socket.socket(socket.AF_UNIX)
            try:
                door.settimeout(_ANSWER)
                door.connect(f"/proc/self/fd/{end}")
            except OSError:
                door.close()
                raise
            return door


def _has_spoken(peer: Any) -> bool:
    if not isinstance(peer, dict) or "bgpState" not in peer:
        return True  # not a peer
    ended = peer.get("gracefulRestartInfo", {}).get("endOfRibRecv", {})
    return peer["bgpState"] == "Established" and bool(ended.get("l2VpnEvpn"))


def _refusal(door: socket.socket, op: TellBgp) -> NetfabError | None:
    """The error for the first statement that bgpd refuses; None if it accepts all."""
    for statement in op.statements:
        try:
            for command in ("end", "configure terminal", *statement):
                _ask(door, command)
        except NetfabError as error:
            if not op.ends:
                return error
    return None


def _ask(door: socket.socket, command: str) -> str:
    """The answer to a command.

    Raises NetfabError if it is a refusal, OSError if there is none or it is incomplete.
    """
    door.sendall(command.encode() + b"\0")
    answer, deadline = bytearray(), time.monotonic() + _ANSWER
    while answer[-4:-1] != _DONE:
        if len(answer) > _MOST or time.monotonic() > deadline:
            raise OSError(ETIMEDOUT, f"bgpd does not end its answer to `{command}`")
        if not (data := door.recv(1 << 16)):
            raise OSError(ECONNREFUSED, "bgpd hung up")
        answer += data
    said = answer[:-4].decode(errors="replace").strip()
    if answer[-1]:
        raise NetfabError(f"bgpd refuses `{command}`: {said.removeprefix('% ') or answer[-1]}")
    return said
