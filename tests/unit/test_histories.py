"""Random histories on a kernel in memory: fabric after fabric, through faults, kills, signals and damage.

NETFAB_HISTORIES=100000 makes a night of it; a seed that fails is a whole bug report.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from memory_kernel import Half, Killed, MemoryKernel
from random_fabrics import random_fabric

from netfab.engine.apply import apply
from netfab.errors import ForeignObject, NetfabError, UndoFailed
from netfab.objects.base import Fabric, Name

HISTORIES = int(os.environ.get("NETFAB_HISTORIES", "10000"))
PARTS = 4  # that run in parallel
COMMANDS = 2  # of each history, and a last one that has to leave nothing
POOL = [random_fabric(Random(seed)) for seed in range(150)]
NOTHING = Fabric("shop")


class History:
    """One host, and what the store knows of it."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.kernel = MemoryKernel()
        self.last = NOTHING

    def command(self) -> None:
        """One that goes well, or not; what has to hold afterwards does."""
        self.kernel.begin()
        desired = NOTHING if self.chance.random() < 0.2 else self.pick()
        blind = desired is NOTHING and self.chance.random() < 0.5  # a destroy looks into no namespace
        there = dict(self.kernel.there)
        before: Mapping[Name, Any] = self.last if blind else there
        twice = self.foresee()
        try:
            apply(desired, self.kernel, (self.last,), back=(lambda: self.last) if blind else None)
        except Killed:
            pass
        except UndoFailed:
            assert twice
        except NetfabError as error:
            each = getattr(error, "errors", (error,))
            refused = all(isinstance(one, ForeignObject) for one in each)
            assert self.kernel.happened or refused
            assert self.kernel.there == (there if refused else before)
        else:
            assert self.kernel.there == desired
            assert apply(desired, self.kernel, (desired,)).changes == ()
            self.last = desired

    def pick(self) -> Fabric:
        return self.chance.choice(POOL)

    def foresee(self) -> bool:
        """Something, or nothing, that happens before one of the next steps; whether it may happen twice."""
        kernel = self.kernel
        act = self.chance.choice((None, kernel.fail, kernel.fail, kernel.die, kernel.interrupt))
        twice, step = self.chance.random() < 0.3, self.chance.randint(1, 60)
        if act:
            kernel.at(step, act)
            if twice:
                kernel.at(step + self.chance.randint(1, 20), act)
        return twice

    def damage(self) -> None:
        """Others take something away, change it, or leave it half of what it was; or have a name of ours."""
        things = list(self.kernel.there.values())
        for _ in range(self.chance.randint(1, 3)):
            match self.chance.randrange(3):
                case 0 if things:
                    self.kernel.damage(self.chance.choice(things), None)
                case 1 if things:
                    thing = self.chance.choice(things)
                    if thing.names[0] in self.kernel.there and type(thing) is not Half:
                        self.kernel.damage(thing, Half(thing))
                case _:
                    name = self.chance.choice(list(self.pick()))
                    if name not in self.kernel.there and self.chance.random() < 0.1:
                        self.kernel.foreign[name] = "somebody's"

    def end(self) -> None:
        """Whatever was: with the names of others free again, the next apply makes it, and destroy ends it."""
        self.kernel.begin()
        self.kernel.foreign = {}
        desired = self.pick()
        apply(desired, self.kernel, (self.last,))
        assert self.kernel.there == desired
        apply(NOTHING, self.kernel, (desired,), back=lambda: desired)
        assert self.kernel.there == {}


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happened_the_next_command_makes_what_it_should(part: int) -> None:
    for seed in range(part, HISTORIES, PARTS):
        history = History(seed)
        try:
            for _ in range(COMMANDS):
                history.command()
                if history.chance.random() < 0.4:
                    history.damage()
            history.end()
        except (AssertionError, NetfabError) as error:
            raise AssertionError(f"history {seed}") from error
