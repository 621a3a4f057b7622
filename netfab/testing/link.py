"""Link: a node's cable, on a network or to another node, which a test pulls and plugs in again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from netfab.errors import Unsupported
from netfab.plan.names import host_link
from netfab.testing import inside

if TYPE_CHECKING:
    from netfab.testing.fabric import Fabric


class Undo:
    """What a test did to a fabric: undone at the end of a `with`, or by hand."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo = undo

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo()


class Link:
    """A cable: on a network its end at the bridge is pulled, so that the node keeps addresses and routes."""

    def __init__(self, fabric: Fabric, node: str, to: str) -> None:
        self.fabric, self.node, self.to = fabric, node, to
        self.interface = fabric.interface(node, to)

    def __repr__(self) -> str:
        return f"<link {self.node} - {self.to}>"

    def down(self) -> Undo:
        """Pull it; in a `with`, until its end."""
        self._set(up=False)
        return Undo(self.up)

    def up(self) -> None:
        """Plug it in."""
        self._set(up=True)
        for place, interface in ((self.fabric.place(self.node), self.interface), self._switched()):
            self.fabric.sandbox.call(inside.wait_until_it_works, place, interface)
        if self.to in self.fabric.nodes:  # the end that was down has lost its routes
            self.fabric.heal()
        self.fabric.forget_the_silent()

    def flap(self, count: int = 1) -> None:
        """Pull it and plug it in, so many times."""
        for _ in range(count):
            with self.down():
                pass

    def set(self, **impairments: object) -> Undo:
        """Make it worse: delay=, loss= and their like are refused by name until they are supported."""
        raise Unsupported(
            f"impairments of a link ({', '.join(impairments) or 'none named'}) are not supported yet",
            hint="down(), flap(), and the fabric's isolate() and partition() are",
        )

    def _set(self, up: bool) -> None:
        fabric = self.fabric
        fabric.note(f"link {self.node} - {self.to} {'up' if up else 'down'}")
        fabric.sandbox.call(inside.set_link, *self._switched(), up)

    def _switched(self) -> tuple[inside.Place, str]:
        """The end that is pulled: between two nodes this node's, on a network the bridge's."""
        place = self.fabric.place(self.node)
        if self.to in self.fabric.nodes:
            return place, self.interface
        return place._replace(node="host"), host_link(self.fabric.name, self.node, self.interface)
