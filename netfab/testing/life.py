"""A node's own program: a test kills it, pauses it, starts it again, and reads its log.

`act` and `written` are called in the sandbox, each as a process of its own (broker.py).
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Literal

from netfab.testing.inside import Place, enter_host
from netfab.testing.link import Undo

if TYPE_CHECKING:
    from netfab.testing.fabric import Fabric

Verb = Literal["start", "stop", "restart", "kill", "pause", "unpause"]
# An ordinary user may not use the cgroup freezer, as `netfab pause` does.
_SIGNALS = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "unpause": signal.SIGCONT}


def act(place: Place, verb: Verb) -> None:
    """Do that to the node's program. Raises NetfabError, also if it has none."""
    from netfab.nodes import lifecycle

    enter_host(place.host)
    nodes = [f"{place.fabric}/{place.node}"]
    if verb in _SIGNALS:
        lifecycle.kill(nodes, number=_SIGNALS[verb])
    else:
        getattr(lifecycle, verb)(nodes)


def written(place: Place) -> str:
    """The program's output, as far as its log goes back."""
    from netfab.nodes.by_name import logs

    enter_host(place.host)
    lines = logs([f"{place.fabric}/{place.node}"])
    return b"".join(line.rstrip(b"\n") + b"\n" for _, line in lines).decode(errors="replace")


class Life:
    """The program of a node, by the node's name."""

    def __init__(self, fabric: Fabric, name: str) -> None:
        self.fabric, self.name = fabric, name

    def kill(self) -> Undo:
        """SIGKILL it and all that it started, ignoring its restart policy. A `with` starts it at its end."""
        __tracebackhide__ = True
        return self._until("kill", "start")

    def stop(self) -> Undo:
        """Stop it: SIGTERM, and after ten seconds SIGKILL. A `with` starts it at its end."""
        __tracebackhide__ = True
        return self._until("stop", "start")

    def pause(self) -> Undo:
        """SIGSTOP its first process: connections stay open, unanswered. In a `with`, until its end."""
        __tracebackhide__ = True
        return self._until("pause", "unpause")

    def unpause(self) -> None:
        """Resume it."""
        __tracebackhide__ = True
        self._act("unpause")

    def start(self) -> None:
        """Start it if it has ended; returns when it is ready. Raises NetfabError."""
        __tracebackhide__ = True
        self._act("start")

    def restart(self) -> None:
        """Stop it and start it; returns when it is ready. Raises NetfabError."""
        __tracebackhide__ = True
        self._act("restart")

    def logs(self) -> str:
        """Its output so far, including before restarts."""
        return self.fabric.sandbox.call(written, self.fabric.place(self.name))

    def _until(self, verb: Verb, back: Verb) -> Undo:
        __tracebackhide__ = True
        self._act(verb)
        return Undo(lambda: self._act(back))

    def _act(self, verb: Verb) -> None:
        __tracebackhide__ = True
        self.fabric.note(f"{self.name}: {verb}")
        self.fabric.sandbox.call(act, self.fabric.place(self.name), verb)
