"""A kernel in memory: it keeps objects, obeys names, needs and deaths, and fails or dies when it is told.

What it refuses: a second holder of a name, and what lacks something that it needs. What hangs on something
that ends, ends. An object that is half made, or half gone, is a `Half`: it holds the names, and is not what
it should be. Nothing is simulated of what the kernel does with an object, which real kernels are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from errno import EEXIST, ENODEV, ENOSPC
from functools import cache
from typing import Any, NamedTuple

from netfab.engine.apply import Observed
from netfab.engine.diff import Change
from netfab.errors import Interrupted
from netfab.objects.address import Address
from netfab.objects.base import HOST, Fabric, Name, Op, spaces_of
from netfab.objects.namespace import Namespace


class Killed(BaseException):
    """The process is no more: nothing that it would have done after this is done."""


class Half(NamedTuple):
    """An object of which some steps were taken, and not all."""

    whole: Any

    @property
    def fixed(self) -> Hashable:
        return self

    @property
    def names(self) -> tuple[Name, ...]:
        names: tuple[Name, ...] = self.whole.names
        return names

    @property
    def needs(self) -> tuple[Name, ...]:
        needs: tuple[Name, ...] = self.whole.needs
        return needs

    @property
    def after(self) -> tuple[Name, ...]:
        after: tuple[Name, ...] = self.whole.after
        return after

    @property
    def within(self) -> tuple[Name, ...]:
        within: tuple[Name, ...] = self.whole.within
        return within

    def create(self) -> list[Op]:
        steps: list[Op] = self.whole.create()
        return steps

    def update(self, before: Half) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        steps: list[Op] = self.whole.delete()
        return steps

    def __str__(self) -> str:
        return f"half {self.whole}"


class MemoryKernel:
    """What is there, whoever made it; and, as a Host of the engine, the way to change it."""

    def __init__(self) -> None:
        self.there: dict[Name, Any] = {}
        self.foreign: dict[Name, str] = {}
        self.steps = 0  # that this process has taken
        self.happened = False  # whether one of them failed, as it was told
        self._held: Counter[Name] = Counter()
        self._read: dict[Name, Any] = {}
        self._acts: dict[int, Callable[[], None]] = {}
        self._dead = False

    def at(self, step: int, act: Callable[[], None]) -> None:
        """Before that step, of those that are taken from now on, which is 1; besides what was said before."""
        self._acts[self.steps + step] = act

    def begin(self) -> None:
        """A new process: it has read nothing, and nothing is to happen to it."""
        self.steps, self.happened, self._dead = 0, False, False
        self._acts, self._read = {}, {}

    def fail(self) -> None:
        """What a step may do: be refused."""
        raise OSError(ENOSPC, "as it was told")

    def interrupt(self) -> None:
        """What a step may do: be the last one before a signal is heard."""
        raise Interrupted(2)

    def die(self) -> None:
        """What a step may do: not be reached."""
        self._dead = True
        raise Killed

    # A Host of the engine.

    def observe(self, name: str, known: Sequence[Fabric], spaces: Set[str] | None = None) -> Observed:
        if self._dead:
            raise Killed
        if spaces is None:
            self._read = dict(self.there)
        else:
            fresh = {key: thing for key, thing in self.there.items() if _is_read(thing, spaces)}
            kept = {key: thing for key, thing in self._read.items() if not _is_read(thing, spaces)}
            self._read = kept | fresh
        return Observed(Fabric(name, self._read.values()), self.foreign)

    def prepare(self, changes: Sequence[Change]) -> None:
        pass

    def wait(self, seconds: float, links: Set[Name]) -> None:
        raise AssertionError("nothing here takes time")

    def run(self, phase: Sequence[Change]) -> list[Exception | None]:
        failures: list[Exception | None] = []
        interrupted: Interrupted | None = None
        for change in phase:
            try:
                self._carry_out(change)
                failures.append(None)
            except OSError as error:
                failures.append(error)
            except Interrupted as error:
                interrupted = error
                break
        self._end(self._hanging())
        if interrupted is not None:
            raise interrupted
        return failures

    def _carry_out(self, change: Change) -> None:
        taken, steps = 0, change.ops()
        try:
            for _ in steps:
                self.steps += 1
                if act := self._acts.get(self.steps):
                    self.happened = True
                    act()
                taken += 1
        except BaseException:
            if taken and self._is_possible(change):
                self._put(change.before, Half(change.after if change.before is None else change.before))
            raise
        if change.silent:
            return
        if not self._is_possible(change):
            raise OSError(EEXIST if self._others(change.after) else ENODEV, f"{change.object}")
        self._put(change.before, change.after)

    def _is_possible(self, change: Change) -> bool:
        wanted = change.after
        return wanted is None or (all(map(self._held.__getitem__, wanted.needs)) and not self._others(wanted))

    def _others(self, wanted: Any) -> bool:
        """Whether somebody else has a name of it. Addresses of one prefix share its route, as in a kernel."""
        own = self.there.get(wanted.names[0])
        held = own.names if own is not None else ()
        return any(
            name in self.foreign or (self._held[name] and name not in held and not _is_shared(wanted, name))
            for name in wanted.names
        )

    def _put(self, before: Any, after: Any) -> None:
        """One in the place of the other; what can't be without what went ends."""
        gone = [thing.names[0] for thing in (before, after) if thing is not None]
        found = [self.there.pop(name) for name in dict.fromkeys(gone) if name in self.there]
        for thing in found:
            self._held.subtract(thing.names)
        if after is not None:
            self.there[after.names[0]] = after
            self._held.update(after.names)
        while found and (
            ended := [
                thing
                for thing in self.there.values()
                if thing.within and not any(map(self._held.__getitem__, thing.within))
            ]
        ):
            for thing in ended:
                self._held.subtract(self.there.pop(thing.names[0]).names)

    def _hanging(self) -> list[Any]:
        return [thing for thing in self.there.values() if not all(map(self._held.__getitem__, thing.needs))]

    def _end(self, ending: Iterable[Any]) -> None:
        for thing in ending:
            self._put(thing, None)
        if left := self._hanging():
            self._end(left)

    # What others do.

    def damage(self, before: Any, after: Any) -> None:
        """Something is another thing, or, for None, gone, with all that hung on it."""
        self._put(before, after)
        self._end(self._hanging())


def _is_shared(wanted: Any, name: Name) -> bool:
    return isinstance(_whole(wanted), Address) and name != wanted.names[0]


def _whole(thing: Any) -> Any:
    return thing.whole if type(thing) is Half else thing


def _is_read(thing: Any, spaces: Set[str]) -> bool:
    """Whether there is anything of it where is looked: in a node that is not, of its namespace only."""
    return any(not space.startswith("node ") or space in spaces for space in _spaces(thing))


@cache
def _spaces(thing: Any) -> frozenset[str]:
    whole = _whole(thing)
    return frozenset({HOST}) if type(whole) is Namespace else frozenset(spaces_of(whole))
