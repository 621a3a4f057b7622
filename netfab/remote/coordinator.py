"""Two-phase apply: all hosts prepare, or none; all take each step, or all roll back; then all commit.

Locks are requested from all at once without waiting; if one is held, they are taken one by one, in the
same order by every controller, so that two can't deadlock. The decision is written down
before the first commit: a host that does not get it keeps what it has, and the next apply tells it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from netfab.errors import LeaseConflict, Locked, NetfabError, UndoFailed, raise_all
from netfab.objects.decode import plain
from netfab.remote.answers import Changes, Prepared, prepared, read_all
from netfab.remote.messages import Message, StaleBase
from netfab.remote.party import Party, answers
from netfab.remote.transaction import STEPS, Order
from netfab.where import Where

_AGAIN = "`netfab apply` again completes it"


def transact(
    party: Party,
    orders: Mapping[str, Order],
    where: Where,
    check: Callable[[Mapping[str, Prepared]], None],
    decided: Callable[[], None],
    anew: Callable[[Collection[str]], AbstractContextManager[Party]],
) -> dict[str, Changes]:
    """Carry out the orders, on all of their hosts or on none; returns what each host changed.

    `check` gets what all have prepared, and raises to refuse it; `decided` is called at the point of
    no return. `anew` reconnects to hosts that may have cut us off, or raises. Raises NetfabError, StaleBase
    if another controller was first, LeaseConflict if another fabric was; UndoFailed if something is
    left.
    """
    ready = _prepare(party, orders, where)
    begun: set[str] = set()
    with ExitStack() as stack:
        try:
            check(ready)
            for step in STEPS:
                doing = [host for host in orders if ready[host].steps.get(step)]
                begun.update(doing)
                party.ask_all({host: _about(orders[host], "apply", step=step) for host in doing}, orders)
            doubtful = [host for host in begun if ready[host].confirm and not orders[host].confirm]
            again = stack.enter_context(anew(doubtful)) if doubtful else None
            decided()
        except BaseException as failure:
            _roll_back(party, orders, begun, failure)
            raise
        _commit(party, orders)
        if again is not None:
            again.call("confirm", {"fabric": orders[doubtful[0]].fabric.name})
    return {host: answer.changes for host, answer in ready.items()}


def _prepare(party: Party, orders: Mapping[str, Order], where: Where) -> dict[str, Prepared]:
    """Have all hosts claim what is planned, and lock; on an error none does. Raises NetfabError."""
    try:
        said = party.ask({host: prepare_message(order, 0) for host, order in orders.items()})
        if stale := [answer for answer in said.values() if isinstance(answer, StaleBase)]:
            raise stale[0]  # whatever else is wrong: the plan is obsolete
        refused = [answer for answer in said.values() if isinstance(answer, NetfabError)]
        if refused and all(isinstance(answer, LeaseConflict) for answer in refused):
            raise LeaseConflict("; ".join(answer.message for answer in refused))  # the caller plans again
        try:
            return read_all(answers(said), prepared)
        except NetfabError as failure:
            held = [answer for answer in said.values() if isinstance(answer, Locked)]
            if not held or not where.lock_timeout:
                raise
            where.waiting(held[0].message)
            _take_back(party, orders, failure)
        return _prepare_in_turn(party, orders, where)
    except BaseException as failure:
        _roll_back(party, orders, (), failure)
        raise


def _prepare_in_turn(party: Party, orders: Mapping[str, Order], where: Where) -> dict[str, Prepared]:
    """Prepare hosts one by one, in the order of their names, each waiting for its lock."""
    ready: dict[str, Prepared] = {}
    for host in sorted(orders):
        question = {host: prepare_message(orders[host], where.lock_timeout)}
        ready |= read_all(party.ask_all(question, list(ready)), prepared)
    return ready


def _commit(party: Party, orders: Mapping[str, Order]) -> None:
    """Commit on all hosts. Raises NetfabError for those that were not reached, or could not write it down."""
    said = party.ask({host: _about(order, "commit") for host, order in orders.items()}, patient=True)
    raise_all(
        NetfabError(
            f"{answer.message}; it has what was applied, and has not learned that it was committed",
            hint=_AGAIN,
        )
        for answer in said.values()
        if isinstance(answer, NetfabError)
    )


def _roll_back(
    party: Party, orders: Mapping[str, Order], begun: Collection[str], failure: BaseException
) -> None:
    """Roll all hosts back. Raises UndoFailed if that fails where a change was begun."""
    left = {host: error for host, error in _take_back(party, orders, failure).items() if host in begun}
    if left:
        told = "; ".join(dict.fromkeys(str(error) for error in left.values()))
        raise UndoFailed(
            f"{failure}; and what was begun on {', '.join(left)} could not be undone: {told}",
            hint="`netfab apply` again, or `netfab destroy`: both start from what is there then",
        ) from failure
    if isinstance(failure, NetfabError):
        failure.undone = True


def _take_back(party: Party, orders: Mapping[str, Order], failure: BaseException) -> dict[str, NetfabError]:
    """Roll back; returns the errors, by host."""
    why = str(failure) or type(failure).__name__
    said = party.ask(
        {host: _about(order, "rollback", why=why) for host, order in orders.items()}, patient=True
    )
    return {host: answer for host, answer in said.items() if isinstance(answer, NetfabError)}


def _about(order: Order, verb: str, **words: Any) -> Message:
    about = {"transaction": order.transaction, "fabric": order.fabric.name}
    return {"verb": verb, **about, **words}


def prepare_message(order: Order, lock_timeout: float) -> Message:
    fields = order._replace(lock_timeout=lock_timeout)._asdict()
    fabric = json.loads(order.fabric.to_json())
    return {"verb": "prepare", **plain({**fields, "fabric": None}), "fabric": fabric}
