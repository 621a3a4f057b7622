"""What `netfab why` answers: a value, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator

from netfab.diagnose.crossing import Hop
from netfab.diagnose.finding import Finding, name_of
from netfab.topology.schema import Check
from netfab.tuples import NamedTuple


class Answer(NamedTuple):
    """Whether it is reached, the way as far as it goes, and the first thing that is wrong."""

    reaches: bool
    hops: tuple[Hop, ...]
    cause: Finding | None
    unseen: str = ""  # why the rest of a working way is not known


def lines(check: Check, answer: Answer) -> Iterator[str]:
    """The answer as printed."""
    on = f" on {check.protocol}/{check.port}" if check.port else ""
    if answer.reaches:
        yield f"{check.source} reaches {check.target}{on}{', but' if answer.cause else ''}"
    else:
        yield f"{check.source} does not reach {check.target}{on}"
    if answer.cause:
        yield f"  {answer.cause.what}"
        if answer.cause.cure:
            yield f"hint: {answer.cause.cure}"
    if answer.hops:
        yield "the way:" if answer.reaches else "the way so far:"
    for one in map(step, answer.hops):
        over = f"{one['over']} -> " if one["over"] else ""
        yield f"  {one['from']} {one['out']} -> {over}{one['in']} {one['to']}"
    if answer.unseen:
        yield f"the rest of the way is not known: {answer.unseen}"


def step(hop: Hop) -> dict[str, str]:
    """A step of the way, in words."""
    return {
        "from": name_of(hop.place),
        "out": hop.interface,
        "over": hop.over,
        "in": hop.into,
        "to": name_of(hop.to),
    }
