"""The laws, over every kind of object: read back, change, undo, kill, repair."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from examples import FABRIC, Example, every_example, fabric, gone, here
from machine import differences, snapshot

from netfab.engine.apply import apply
from netfab.errors import NetfabError
from netfab.hosts.local import LocalHost
from netfab.hosts.sandbox import throwaway
from netfab.objects.base import Fabric, Hook
from netfab.objects.guest import Guest
from netfab.objects.macvlan import Macvlan
from netfab.objects.nic import Nic
from netfab.objects.uplink import Uplink

EXAMPLES = every_example()
of_every_kind = pytest.mark.parametrize("example", EXAMPLES, ids=str)


@of_every_kind
def test_every_kind_reads_back_as_it_was_written(host: LocalHost, example: Example) -> None:
    example = here(example)
    apply(example.after, host)

    assert host.observe(FABRIC, [example.after]).own == example.after


@of_every_kind
def test_a_second_apply_changes_nothing(host: LocalHost, example: Example) -> None:
    example = here(example)
    apply(example.after, host)

    assert apply(example.after, host).changes == ()


@of_every_kind
def test_a_changed_field_becomes_what_it_should_be(host: LocalHost, example: Example) -> None:
    example = here(example)
    apply(example.before, host)

    apply(example.after, host, [example.before])

    assert host.observe(FABRIC, [example.after]).own == example.after


@of_every_kind
def test_a_change_and_its_reverse_leave_what_was_there(host: LocalHost, example: Example) -> None:
    example = here(example)
    apply(example.before, host)
    apply(example.after, host, [example.before])

    apply(example.before, host, [example.after])

    assert host.observe(FABRIC, [example.before]).own == example.before


@of_every_kind
def test_destroy_leaves_the_host_as_it_was(host: LocalHost, example: Example) -> None:
    example = here(example)
    before = snapshot()
    apply(example.before, host)
    apply(example.after, host, [example.before])

    apply(fabric(), host, [example.after])

    assert differences(before, snapshot()) == []


@contextmanager
def staged(example: Example) -> Iterator[Example]:
    """A throw-away host, and the example with the guests that live there."""
    with throwaway():
        try:
            yield here(example)
        finally:
            gone()


def _steps(example: Example) -> int:
    """How many steps going from before to after takes."""
    count = 0

    def counting(op: object) -> bool:
        nonlocal count
        count += 1
        return False

    with staged(example) as on_stage:
        with LocalHost(FABRIC) as host:
            apply(on_stage.before, host)
        with LocalHost(FABRIC, hook=counting) as host:
            apply(on_stage.after, host, [on_stage.before])
    return count


def _at(step: int, act: Callable[[], bool]) -> Hook:
    """A hook that acts before the step of that number."""
    count = 0

    def hook(op: object) -> bool:
        nonlocal count
        count += 1
        return act() if count == step else False

    return hook


@of_every_kind
def test_a_refused_step_leaves_the_state_before_for_every_step(
    example: Example, record_property: Callable[[str, object], None]
) -> None:
    steps = _steps(example)
    record_property("faults", steps)
    for step in range(1, steps + 1):
        with staged(example) as on_stage:
            with LocalHost(FABRIC) as host:
                apply(on_stage.before, host)
            with LocalHost(FABRIC, hook=_at(step, lambda: True)) as host, suppress(NetfabError):
                apply(on_stage.after, host, [on_stage.before])
                pytest.fail(f"step {step} was refused and apply said nothing")
            with LocalHost(FABRIC) as host:
                assert host.observe(FABRIC, [on_stage.before]).own == on_stage.before, step


@of_every_kind
def test_a_kill_at_any_step_converges_with_the_next_apply(
    example: Example, record_property: Callable[[str, object], None]
) -> None:
    steps = _steps(example)
    record_property("crash points", steps)
    for step in range(1, steps + 1):
        with staged(example) as on_stage:
            _apply_killed(on_stage, step)
            with LocalHost(FABRIC) as host:
                apply(on_stage.after, host, [on_stage.before])
                assert host.observe(FABRIC, [on_stage.after]).own == on_stage.after, step


@of_every_kind
def test_a_kill_at_any_step_is_cleaned_by_destroy(
    example: Example, record_property: Callable[[str, object], None]
) -> None:
    steps = _steps(example)
    record_property("crash points", steps)
    for step in range(1, steps + 1):
        with staged(example) as on_stage:
            before = snapshot()
            _apply_killed(on_stage, step)
            with LocalHost(FABRIC) as host:
                apply(fabric(), host, [_claimed(on_stage.after), _claimed(on_stage.before)])
            assert differences(before, snapshot()) == [], step


def _claimed(wanted: Fabric) -> Fabric:
    """What the store has of a fabric before anything of it is made (plan/nics.py, claims)."""
    return Fabric(
        FABRIC, (thing for thing in wanted.values() if type(thing) in (Guest, Macvlan, Nic, Uplink))
    )


def _apply_killed(example: Example, step: int) -> None:
    """In a process of its own, which ends at that step without a chance to say or undo anything."""
    with LocalHost(FABRIC) as host:
        apply(example.before, host)
    child = os.fork()
    if child == 0:
        try:
            with LocalHost(
                FABRIC, hook=_at(step, lambda: os.kill(os.getpid(), signal.SIGKILL) or True)
            ) as host:
                apply(example.after, host, [example.before])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the command was to be killed"
