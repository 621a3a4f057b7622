"""Seeded random histories: from any fabric to any other, straight, through a fault, or through a kill.

A seed that fails is a whole bug report: NETFAB_SEEDS=17 runs that one only, NETFAB_SEEDS=0-999 a night of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from random import Random

import pytest
from examples import FABRIC
from machine import differences, snapshot
from random_fabrics import random_fabric

from netfab.engine.apply import apply
from netfab.errors import NetfabError
from netfab.hosts.local import LocalHost
from netfab.hosts.sandbox import throwaway
from netfab.objects.base import Fabric, Hook, Op

FIRST, _, LAST = os.environ.get("NETFAB_SEEDS", "0-39").partition("-")
histories = pytest.mark.parametrize("seed", range(int(FIRST), int(LAST or FIRST) + 1))


def _pair(seed: int) -> tuple[Random, Fabric, Fabric]:
    random = Random(seed)
    return random, random_fabric(random), random_fabric(random)


class AtStep:
    """A hook that acts before the step of that number, and counts all."""

    def __init__(self, number: int, act: Callable[[], bool]) -> None:
        self.count, self.number, self.act = 0, number, act

    def __call__(self, op: Op) -> bool:
        self.count += 1
        return self.act() if self.count == self.number else False


def _apply(after: Fabric, before: Fabric, hook: Hook | None = None) -> Fabric:
    """In one command; what is there afterwards."""
    with LocalHost(FABRIC, hook=hook or (lambda op: False)) as host:
        apply(after, host, [before])
        return host.observe(FABRIC, [after]).own


def _steps(before: Fabric, after: Fabric) -> int:
    counting = AtStep(0, lambda: False)
    with throwaway():
        _apply(before, before)
        _apply(after, before, counting)
    return counting.count


@histories
def test_one_fabric_after_another_is_as_if_the_first_had_never_been(seed: int) -> None:
    _, before, after = _pair(seed)
    empty = snapshot()

    _apply(before, before)
    changed = _apply(after, before)

    assert changed == after
    assert _apply(Fabric(FABRIC), after) == Fabric(FABRIC)
    assert differences(empty, snapshot()) == []


@histories
def test_a_fault_at_a_random_step_leaves_the_first(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("faults", 1)
    random, before, after = _pair(seed)
    step = random.randint(1, _steps(before, after))
    _apply(before, before)

    with pytest.raises(NetfabError):
        _apply(after, before, AtStep(step, lambda: True))

    with LocalHost(FABRIC) as host:
        assert host.observe(FABRIC, [before]).own == before


@histories
def test_a_kill_at_a_random_step_ends_in_the_second_at_the_next_try(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("crash points", 1)
    random, before, after = _pair(seed)
    step = random.randint(1, _steps(before, after))
    empty = snapshot()
    _apply(before, before)

    child = os.fork()
    if child == 0:
        _apply(after, before, AtStep(step, lambda: os.kill(os.getpid(), signal.SIGKILL) is None))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    assert _apply(after, before) == after
    assert _apply(Fabric(FABRIC), after) == Fabric(FABRIC)
    assert differences(empty, snapshot()) == []
