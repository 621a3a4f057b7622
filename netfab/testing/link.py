"""Link: a node's cable, on a network or to another node, which a test pulls and plugs in again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from netfab.errors import Unsupported
from netfab.plan.names import host_link
from netfab.testing import inside
from netfab.testing.inside import Place

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
        if self.to in self.fabric.nodes:  # the end that was down has lost its routes
            self.fabric.heal()

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
        place = fabric.place(self.node)
        fabric.note(f"link {self.node} - {self.to} {'up' if up else 'down'}")
        if self.to in fabric.nodes:
            fabric.sandbox.call(inside.set_link, place, self.interface, up)
            return
        end = host_link(fabric.name, self.node, self.interface)
        fabric.sandbox.call(inside.set_link, Place(fabric.name, "host", place.host), end, up)
