"""Carry out the steps of a phase, in one netlink batch per namespace and round.

A phase runs in rounds: each change's next steps in one namespace stay together; all namespaces of a round
come first, then the host. After a failed step, its change sends nothing more. Steps that are not rtnetlink
messages are in steps.py; deleting links together is in sweep.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from errno import EADDRINUSE, EADDRNOTAVAIL, EBUSY, EEXIST, EIO, ENODEV, ENOENT, ENXIO, ESRCH
from functools import partial
from itertools import groupby
from time import monotonic
from typing import Any

from netfab.errors import KernelRefused
from netfab.kernel.dumps import links
from netfab.kernel.netlink import BATCH, Monitor, Netlink
from netfab.kernel.netns import GuestWentAway, Namespaces
from netfab.kernel.nft import delete_tables, load
from netfab.kernel.steps import Errand, Failures, Handler, Steps, carry_out
from netfab.kernel.sweep import Sweep
from netfab.objects.base import HOST, Hook, Name, Op
from netfab.objects.link import LOOPBACK_IFINDEX, Link
from netfab.objects.ops import DelLink, DelNamespace, DelTable, Nft
from netfab.objects.wire import (
    NLM_F_CREATE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    Request,
    encode,
)
from netfab.tuples import NamedTuple

CLEANUP = 5.0  # seconds that the kernel may take to clean up a namespace
_AGAIN = 0.1  # seconds after which to retry, notified or not
RACES = 5  # retries of a batch whose ifindexes other programs took
TAKEN = {EEXIST, EBUSY}
GONE = {ENODEV, ESRCH, EADDRNOTAVAIL, ENOENT, ENXIO}  # a delete succeeded already; ENXIO: no IPv6 there


class Refusal(NamedTuple):
    """A request that the kernel refused."""

    request: Request
    number: int  # of its change
    errno: int
    words: str  # the kernel's extended ack; "": none


class Executor:
    """Turns steps into messages and system calls. Knows the ifindex of every link it learned of or made."""

    def __init__(self, namespaces: Namespaces, hook: Hook, handlers: Mapping[type[Any], Handler]) -> None:
        self._namespaces = namespaces
        self._hook = hook
        self._handlers = handlers  # for types of steps that kernel/ does not know: programs, clients
        self._index: dict[Name, int] = {}
        self._next_index = 0
        self._fds: dict[Name, int] = {}
        self._sweep = Sweep(self)

    def close(self) -> None:
        """Wait until the kernel has finished with deleted links."""
        self._sweep.close()

    def learn(self, links: Mapping[tuple[str, int], Name], host: Sequence[Link], group: int) -> None:
        """Learn the existing links, by (space, ifindex), and the host's, with the fabric's group.

        New links get indexes above all of these, so that an index is unique in all spaces.
        """
        self._index = {name: index for (_, index), name in links.items()}
        self._next_index = max(self._next_index, max((index for _, index in links), default=0) + 1)
        for link in host:
            self._index[Name(HOST, link.name)] = link.ifindex
            self._next_index = max(self._next_index, link.ifindex + 1)
        self._sweep.learn(host, group)

    def indexes(self, links: Iterable[Name]) -> set[int]:
        """The ifindexes of those of these links that are the host's, and known."""
        return {self._index[link] for link in links if link.space == HOST and link in self._index}

    def run(self, changes: Sequence[Any]) -> Failures:
        """Carry out a phase. Returns the error, or None, of each change."""
        failed: Failures = [None] * len(changes)
        queues = [_by_space(change.ops()) for change in changes]
        while True:
            rounds: dict[str, list[tuple[int, Op]]] = {}
            for number, queue in enumerate(queues):
                if failed[number] is None and (steps := next(queue, None)):
                    rounds.setdefault(steps[0].space, []).extend((number, op) for op in steps)
            if not rounds:
                return failed
            for space in sorted(rounds, key=lambda space: space == HOST):
                self._round(space, rounds[space], failed)

    def tell(self, space: str, requests: Iterable[Request]) -> None:
        """Send messages that change no lasting state; refusals are ignored."""
        self._batch(space, [(0, request) for request in requests])

    def _round(self, space: str, steps: Steps, failed: Failures) -> None:
        """Namespaces are deleted last, or while the kernel is busy with a sweep."""
        if all(type(op) is Request and not op.alone for _, op in steps):  # as in nearly every node
            self.send(space, steps, failed)
            return
        ending = iter([step for step in steps if type(step[1]) is DelNamespace])
        others = [step for step in steps if type(step[1]) is not DelNamespace]
        for (kind, _), group in groupby(others, key=lambda step: _batch_of(step[1])):
            together = [(number, op) for number, op in group if failed[number] is None]
            if kind is Request:
                self.send(space, together, failed)
            elif kind is DelLink:
                self._sweep.delete(space, together, failed, partial(self._each, ending, failed))
            elif kind is Nft and len(together) > 1:
                self._transact(together, failed, lambda ops: load(*(op.commands for op in ops)))
            elif kind is DelTable and len(together) > 1:
                self._transact(together, failed, lambda ops: delete_tables(*(op[:2] for op in ops)))
            elif kind in self._handlers:
                spoiled = [self._hook(op) for _, op in together]
                if not any(spoiled):
                    self._namespaces.bind_all()  # programs look for them by name
                    self._handlers[kind](together, failed)
                else:
                    failed[together[0][0]] = OSError(EIO, os.strerror(EIO))
            else:
                self._each(together, failed)
        self._each(ending, failed)

    def _each(self, steps: Iterable[tuple[int, Any]], failed: Failures) -> None:
        for number, op in steps:
            if failed[number] is None:
                try:
                    if self._hook(op):
                        raise OSError(EIO, os.strerror(EIO))
                    carry_out(op, self._namespaces, self._of)
                except OSError as error:
                    failed[number] = error

    def _transact(self, steps: Steps, failed: Failures, at_once: Callable[[list[Any]], None]) -> None:
        """nftables steps in one transaction: starting nft costs 4 ms, and deleting a table a grace period.

        If that is refused, one by one, so that no change fails because of another.
        """
        spoiled = {number for number, op in steps if self._hook(op)}
        if not spoiled:
            with suppress(OSError):
                at_once([op for _, op in steps])
                return
        for number, op in steps:
            try:
                if number in spoiled:
                    raise OSError(EIO, os.strerror(EIO))
                carry_out(op, self._namespaces, self._of)
            except OSError as error:
                failed[number] = failed[number] or error

    def send(self, space: str, steps: Steps, failed: Failures, beside: Errand | None = None) -> None:
        """Send requests to rtnetlink, in batches; `beside` runs while the kernel handles the first.

        The kernel goes on after a refusal, and the ifindex of a link that could not be made may be another's
        by then: so what depends on a new link is sent once that exists.
        """
        for wave in _waves(steps):
            together = [(number, request) for number, request in wave if failed[number] is None]
            self._send_wave(space, together, failed, beside)
            beside = None

    def _send_wave(self, space: str, steps: Steps, failed: Failures, beside: Errand | None) -> None:
        """Links whose ifindex was taken meanwhile are tried again."""
        refused = self._batch(space, steps, beside)
        if not refused:
            return
        for _ in range(RACES):
            unlucky = {refusal.number for refusal in refused if _lost_the_race(refusal)}
            if not unlucky:
                break
            self._jump_ahead(space)
            refused = [refusal for refusal in refused if refusal.number not in unlucky]
            refused += self._batch(space, [step for step in steps if step[0] in unlucky])
        self._note(self._after_the_dead(space, steps, refused), failed)

    def send_through(self, netlink: Netlink, steps: Steps, failed: Failures, beside: Errand) -> None:
        """Send requests that make no link through the caller's socket."""
        self._note(self._through(netlink, steps, beside), failed)

    def index_of(self, link: Name) -> int | None:
        """The ifindex of a known link."""
        return self._index.get(link)

    def _note(self, refused: Iterable[Refusal], failed: Failures) -> None:
        for request, number, errno, words in refused:
            done = (errno in GONE and _ends(request)) or (errno == EEXIST and request.there)
            if not done and failed[number] is None:
                failed[number] = KernelRefused(str(request.doing), errno, words)

    def _after_the_dead(self, space: str, steps: Steps, refused: list[Refusal]) -> list[Refusal]:
        """Retry while a MAC still belongs to a macvlan in a deleted namespace: the kernel cleans up later."""
        if not any(one.errno == EADDRINUSE for one in refused):
            return refused
        deadline = monotonic() + CLEANUP
        monitor = Monitor()  # the cleanup is notified as a change of the macvlan's lower link
        try:
            while (waiting := {one.number for one in refused if one.errno == EADDRINUSE}) and (
                monotonic() < deadline
            ):
                self._namespaces.let_go_of_ended()
                monitor.wait(_AGAIN)
                refused = [one for one in refused if one.number not in waiting]
                refused += self._batch(space, [step for step in steps if step[0] in waiting])
        finally:
            monitor.close()
        return refused

    def _jump_ahead(self, space: str) -> None:
        """Move past all ifindexes in use, by a random distance: other commands may be doing the same."""
        with suppress(OSError, KernelRefused):
            taken = max(link.ifindex for link in links(self._namespaces.socket(space)))
            self._next_index = max(self._next_index, taken + 1) + int.from_bytes(os.urandom(1), "little")

    def _batch(self, space: str, steps: Steps, beside: Errand | None = None) -> list[Refusal]:
        """Send a batch; all refusals, in order."""
        try:
            netlink = self._namespaces.socket(space)
        except OSError as error:
            known = isinstance(error, GuestWentAway) or error.errno != ENOENT
            words = (error.strerror or "") if known else f"there is no {space}"
            return [Refusal(request, number, error.errno or EIO, words) for number, request in steps]
        return self._through(netlink, steps, beside)

    def _through(self, netlink: Netlink, steps: Steps, beside: Errand | None) -> list[Refusal]:
        refused: list[Refusal] = []
        for start in range(0, len(steps), BATCH):
            together = steps[start : start + BATCH]
            try:
                refused += self._exchange(netlink, together, beside if start == 0 else None)
            except OSError as error:
                # Nobody knows which of them the kernel carried out: all of their changes failed.
                reason = error.errno or EIO, error.strerror or ""
                refused += [Refusal(request, number, *reason) for number, request in together]
        return refused

    def _exchange(self, netlink: Netlink, steps: Steps, beside: Errand | None) -> list[Refusal]:
        """One batch; what was refused. Raises OSError."""
        batch: list[tuple[int, bytes]] = []
        sent: dict[int, tuple[int, Request]] = {}
        refusals: list[Refusal] = []
        try:
            for number, request in steps:
                spoiled = self._hook(request)
                if request.makes:
                    self._sweep.forget()
                for link in request.makes:
                    self._index[link] = self._new_index(request.ifindex)
                sequence = netlink.next_sequence()
                try:
                    message = encode(request, self._resolve, sequence)
                except GuestWentAway as error:
                    refusals.append(Refusal(request, number, ENODEV, error.strerror or ""))
                    continue
                except (LookupError, FileNotFoundError) as error:
                    refusals.append(Refusal(request, number, ENODEV, f"there is no {error}"))
                    continue
                if spoiled:
                    message = message[:4] + b"\xff\x7f" + message[6:]  # no such message type: EOPNOTSUPP
                batch.append((sequence, message))
                sent[sequence] = number, request
            refused = netlink.batch(batch, beside)
        finally:
            for fd in self._fds.values():
                os.close(fd)
            self._fds.clear()
        for sequence, (errno, words) in sorted(refused.items()):
            number, request = sent[sequence]
            if errno == EEXIST and not request.there:
                from netfab.kernel.holders import holder

                words = holder(netlink, dict(batch)[sequence]) or words
            refusals.append(Refusal(request, number, errno, words))
        return refusals

    def _new_index(self, best: int) -> int:
        """`best`, unless a link has it; else one above all others."""
        if best and best not in self._index.values():
            return best
        self._next_index += 1
        return self._next_index - 1

    def _resolve(self, name: Name) -> int:
        """A link's ifindex, or a file descriptor of a namespace. Raises KeyError, FileNotFoundError."""
        if name.space == "namespace":
            if name not in self._fds:
                self._fds[name] = self._namespaces.open(name.text)
            return self._fds[name]
        return LOOPBACK_IFINDEX if name.text == "lo" else self._index[name]

    def _of(self, link: Name) -> int:
        """The ifindex of a link that must exist. Raises OSError."""
        try:
            return self._resolve(link)
        except KeyError as error:
            raise OSError(ENODEV, f"there is no {link}") from error


def _waves(steps: Steps) -> Sequence[Steps]:
    """Steps to send together: of every change up to the first link that it makes, then up to the next one."""
    if not any(request.makes for _, request in steps):
        return [steps]
    waves: list[list[tuple[int, Request]]] = []
    reached: dict[int, int] = {}  # the wave of a change's next request
    for number, request in steps:
        wave = reached.get(number, 0)
        if wave == len(waves):
            waves.append([])
        waves[wave].append((number, request))
        if request.makes:
            reached[number] = wave + 1
    return waves


def _lost_the_race(refusal: Refusal) -> bool:
    """Whether the ifindex may be what was taken. A moved link is renamed after the move."""
    if not refusal.request.flags & NLM_F_CREATE:
        return bool(refusal.request.makes) and refusal.errno == EBUSY
    return bool(refusal.request.makes) and refusal.errno in TAKEN


def _batch_of(op: Op) -> tuple[type[Op], bool]:
    """What steps in one batch have in common."""
    return type(op), type(op) is Request and op.alone


def _by_space(ops: list[Op]) -> Iterator[list[Op]]:
    """Consecutive steps of one change in the same space."""
    if len(ops) == 1:
        return iter((ops,))
    return (list(steps) for _, steps in groupby(ops, key=lambda op: op.space))


def _ends(request: Request) -> bool:
    """Whether the request is a delete, which is fine if its object is gone already."""
    return request.ends or request.type in (RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE)
