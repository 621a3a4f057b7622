"""Link: a node's cable, to a network or to another node, which a test pulls, plugs in or impairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from netfab.errors import NetfabError, Unsupported
from netfab.plan.names import host_link
from netfab.testing import impaired, inside
from netfab.topology.grammar import Wrong, rate
from netfab.topology.port import IMPAIRMENTS
from netfab.topology.suggest import did_you_mean

if TYPE_CHECKING:
    from netfab.testing.fabric import Fabric


class Undo:
    """Undoes what a test did to a fabric: at the end of a `with`, or when called."""

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo()


class Link:
    """A cable. On a network its bridge end is pulled, so that the node keeps its addresses and routes."""

    def __init__(self, fabric: Fabric, node: str, to: str) -> None:
        __tracebackhide__ = True
        self.fabric, self.node, self.to = fabric, node, to
        self.interface = fabric.interface(node, to)

    def __repr__(self) -> str:
        return f"<link {self.node} - {self.to}>"

    def down(self) -> Undo:
        """Pull it; in a `with`, until its end."""
        self._set(up=False)
        return self._undo(self.up)

    def up(self) -> Undo:
        """Plug it in; in a `with`, until its end."""
        self._set(up=True)
        place = self.fabric.place(self.node)
        for end in ((place, self.interface), self._switched()):
            self.fabric.sandbox.call(inside.wait_until_it_works, *end)
        if self.to in self.fabric.nodes:
            self.fabric.sandbox.call(impaired.give_back, place, self.interface)
        self.fabric.forget_the_silent()
        return self._undo(lambda: self._set(up=False))

    def flap(self, count: int = 1) -> Undo:
        """Pull it and plug it in, `count` times; it ends up plugged in."""
        for _ in range(count):
            with self.down():
                pass
        return self._undo(self.reset)

    def set(self, **impairments: str) -> Undo:
        """Limit what this node sends on it: rate="10mbit"; in a `with`, until its end.

        Raises Unsupported, by name, for delay=, loss= and the like.
        """
        __tracebackhide__ = True
        for name in impairments:
            if name not in IMPAIRMENTS:
                hint = did_you_mean(name, IMPAIRMENTS) or f"there is {', '.join(IMPAIRMENTS)}"
                raise NetfabError(f"a link has no {name}; {hint}")
        if wanted := [name for name in impairments if name != "rate"]:
            raise Unsupported(
                f"impairments of a link ({', '.join(wanted)}) are not supported yet",
                hint="rate=, drop(), down(), flap(), and the fabric's isolate() and partition() are",
            )
        try:
            bits = rate(impairments["rate"]) if impairments else 0
        except Wrong as wrong:
            raise NetfabError(f"rate: {wrong}") from wrong
        self._limit(bits)
        return Undo(self._unlimited)

    def drop(self, predicate: str, count: int = 0) -> Undo:
        """Drop frames, both ways, that match an nft(8) expression, "tcp flags syn"; until reset().

        In a `with`, until its end. count: only the first so many; between two nodes, so many each way. The
        sender gets no error. Raises NetfabError.
        """
        __tracebackhide__ = True
        self.fabric.impair(self, f"drop {predicate}{f', the first {count}' if count else ''}")
        made: list[tuple[inside.Place, str, str]] = []

        def undo() -> None:
            for end in made if self.fabric.is_impaired(self) else ():
                self.fabric.sandbox.call(impaired.let_pass, *end)

        try:
            for place, interface, hooks in self._losing():
                table = self.fabric.sandbox.call(impaired.drop, place, interface, hooks, predicate, count)
                made.append((place, interface, table))
        except BaseException:
            undo()
            raise
        return Undo(undo)

    def reset(self) -> Undo:
        """Restore it as applied: plugged in, at its rate, dropping nothing; in a `with`, again at its end."""
        self.restore()
        self.up()
        return self._undo(self.reset)

    def restore(self) -> None:
        """Restore its applied rate, and drop nothing."""
        self.fabric.sandbox.call(impaired.limit, self.fabric.place(self.node), self.interface, 0)
        for place, interface, _ in self._losing():
            self.fabric.sandbox.call(impaired.let_pass, place, interface)

    def _undo(self, undo: Callable[[], object]) -> Undo:
        """Does nothing if the cable is gone by then: `apply` removed its node or network."""
        return Undo(lambda: self.fabric.has(self) and undo())

    def _limit(self, bits: int) -> None:
        self.fabric.impair(self, f"rate {bits} bit" if bits else "rate as it was")
        self.fabric.sandbox.call(impaired.limit, self.fabric.place(self.node), self.interface, bits)

    def _unlimited(self) -> None:
        if self.fabric.is_impaired(self):
            self._limit(0)

    def _losing(self) -> Iterator[tuple[inside.Place, str, tuple[str, ...]]]:
        """Where sent frames are dropped: at the bridge's end; between two nodes, where they arrive."""
        if self.to not in self.fabric.nodes:
            yield *self._switched(), ("ingress", "egress")
            return
        for one, other in ((self.node, self.to), (self.to, self.node)):
            yield self.fabric.place(one), self.fabric.interface(one, other), ("ingress",)

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
