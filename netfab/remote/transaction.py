"""One host's part in a multi-host apply: prepared, applied in steps, and committed or rolled back.

What is begun is written down before the first change, and stays undecided until a commit: if all processes
die, the next apply changes it as it needs, or learns from another host that it was committed.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from typing import Any, get_type_hints

from netfab.applying.recording import remember
from netfab.engine import apply as engine
from netfab.engine.diff import for_peers, order
from netfab.errors import NetfabError, StoreError, raise_all
from netfab.hosts.ports import refuse_busy
from netfab.nodes.by_name import run_commands
from netfab.objects.base import Fabric
from netfab.objects.decode import decoder, plain
from netfab.objects.kinds import KINDS
from netfab.plan.leases import Lease
from netfab.remote.dead_man import CUT_OFF, keeper_for, may_cut_off
from netfab.remote.messages import BadMessage, Message, StaleBase
from netfab.store.public import withdraw
from netfab.store.store import Part, Record, Store
from netfab.topology import grammar
from netfab.topology.schema import Publish
from netfab.tuples import NamedTuple
from netfab.where import (
    Where,
    applying_user,
    last_applied,
    locked_fabric,
    need_kernel,
    opened_host,
    opened_store,
    refuse_another,
)

PEERS, OWN = STEPS = ("peers", "own")  # each completes on all hosts before the next begins


class Order(NamedTuple):
    """What a host is to prepare. A fabric without objects: it is removed from this host."""

    transaction: str
    host: str  # this host's name in the fabric
    base: int  # the generation that the plan was made from
    generation: int
    record: Record  # the new record, without the objects
    fabric: Fabric
    claims: frozenset[Lease]
    published: tuple[Publish, ...]
    take_over: bool
    lock_timeout: float  # seconds
    confirm: float = 0.0  # seconds within which it must be confirmed; 0: it need not be
    by_ssh: bool = False  # whether a change of the host's NICs may cut the controller off

    def undecided(self) -> str:
        """The order as JSON, stored until it is decided."""
        kept = plain({**self._asdict(), "fabric": None, "published": ()})
        return json.dumps({**kept, "fabric": json.loads(self.fabric.to_json())})


def order_of(message: Message) -> Order:
    """The order in a `prepare`, or in what `undecided` gave. Raises BadMessage."""
    try:
        made = {key: _DECODERS[key](message[key]) for key in Order._fields}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadMessage(f"this is not an order: {error!r}") from error
    found = Order(**made)
    try:
        grammar.name(found.fabric.name)
    except grammar.Wrong as wrong:
        raise BadMessage(f"this is not a fabric's name: {wrong}") from wrong
    return found._replace(record=found.record._replace(user=applying_user()))


def _fabric(data: Any) -> Fabric:
    return Fabric.from_json(json.dumps(data), KINDS)


_DECODERS = {key: decoder(kind) for key, kind in get_type_hints(Order).items()} | {"fabric": _fabric}


class Transaction:
    """Holds the fabric's lock from prepare to commit or rollback; `close` only releases it."""

    def __init__(self, order: Order, where: Where) -> None:
        """Prepare: refuse what is impossible, claim what is planned, change nothing. Raises NetfabError."""
        if order.fabric:  # a removal is possible on any kernel
            need_kernel()
        self.order = order
        self._where = where._replace(lock_timeout=order.lock_timeout)
        # The child is forked before the store is opened: SQLite would hang in a later fork.
        self._keeper = keeper_for(order.fabric, order.confirm, order.by_ssh, where)
        try:
            self._prepare(order, where)
        except BaseException:
            self._tell_keeper(applied=False)
            raise

    def _prepare(self, order: Order, where: Where) -> None:
        name = order.fabric.name
        with ExitStack() as stack:
            stack.enter_context(locked_fabric(name, self._where))
            self._store = stack.enter_context(opened_store(where))
            self._host = stack.enter_context(opened_host(name, where))
            self._record, self._leases = self._store.record(name), self._store.leases(name)
            self._refuse_stale()
            refuse_another(self._record, order.record.file, order.take_over)
            self._last = last_applied(self._store, name)
            try:
                self._store.claim(name, order.claims)
                refuse_busy(order.published, self._host.held())
                observed = self._host.observe(name, (order.fabric, self._last))
                self.before = observed.own
                self.changes = engine.changes_for(order.fabric, observed)
                self._host.prepare(self.changes)
                if not self.changes:  # else `prepare` has checked that
                    raise_all(self._host.foreign_drops(order.fabric.values()))
            except BaseException:
                self._give_leases_back()
                raise
            self._steps = dict(zip(STEPS, for_peers(self.changes), strict=True))
            self._begun = False
            self.confirm = order.confirm or (CUT_OFF if order.by_ssh and may_cut_off(self.changes) else 0.0)
            if not self.confirm:
                self._tell_keeper(applied=False)
            self._stack = stack.pop_all()

    def _refuse_stale(self) -> None:
        part = self._store.part(self.order.fabric.name)
        if (part.generation if part else 0) != self.order.base:
            raise StaleBase("another controller applied this fabric meanwhile", hint="apply again")

    def count(self) -> dict[str, int]:
        """The number of changes of each step; a step without any can be skipped."""
        return {step: len(changes) for step, changes in self._steps.items()}

    def apply(self, step: str) -> int:
        """Take one step; returns its number of changes. On failure everything here is restored."""
        self._begin()
        try:
            engine.run(tuple(order(self._steps[step])), self._host, self._where.progress)
            if step == PEERS:  # pending ARP requests repeat only after a second: announce early
                self._host.announce(self.order.fabric, self._steps[step])
            if step == OWN or not self._steps[OWN]:
                engine.verify(self.order.fabric, self._host, self.changes)
                run_commands(self.order.record, self.changes, self._where)
        except BaseException as failure:
            self.rollback(failure)
            if isinstance(failure, NetfabError):
                failure.undone = True
            raise
        return len(self._steps[step])

    def _begin(self) -> None:
        """Write the transaction down, before the first change."""
        if not self._begun:
            self._begun = True
            name = self.order.fabric.name
            known = self._store.part(name) or Part(self.order.host, 0, "")
            if self._record is None:
                self._store.commit(self.order.record, self.order.claims)
            self._store.keep_part(name, known._replace(undecided=self.order.undecided()))

    def rollback(self, why: BaseException) -> None:
        """Restore what was here before, and release the lock. Raises UndoFailed."""
        try:
            if self._begun:
                engine.undo(self.before, self._host, (self.order.fabric, self._last), why)
            self._give_leases_back()
            self._tell_keeper(applied=False)
        finally:
            self.close()

    def _give_leases_back(self) -> None:
        with suppress(StoreError):  # the user needs the first failure
            name = self.order.fabric.name
            if self._record is None:
                self._store.forget(name)
                return
            part = self._store.part(name)
            self._store.commit(self._record, self._leases, part and part._replace(undecided=""))

    def commit(self) -> None:
        """Commit: announce addresses, keep the record, release the lock. Raises NetfabError."""
        try:
            self._host.announce(self.order.fabric, self._steps[OWN])
            decide(self.order, self._store, self._where)
            self._tell_keeper(applied=True)
        finally:
            self.close()

    def abandon(self) -> None:
        """The controller is gone: free the leases of what was not begun; what was stays undecided."""
        if not self._begun:
            self._give_leases_back()
            self._tell_keeper(applied=False)
        self.close()

    def close(self) -> None:
        """Release the lock; the keeper rolls the change back now, unless told otherwise before."""
        self._stack.close()
        if self._keeper is not None:
            self._keeper.close()

    def _tell_keeper(self, applied: bool) -> None:
        if self._keeper is not None:
            (self._keeper.applied if applied else self._keeper.nothing)()
            self._keeper = None

    def check(self) -> None:
        """Raises Interrupted if a signal has arrived."""
        self._host.interrupts.check()


def decide(order: Order, store: Store, where: Where) -> None:
    """Store that what is on this host is what should be. Raises StoreError."""
    if order.fabric:
        part = Part(order.host, order.generation, order.transaction)
        remember(order.record, order.fabric, order.claims, store, where, part)
    else:
        withdraw(where.run, order.fabric.name)
        store.forget(order.fabric.name)
