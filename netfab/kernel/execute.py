"""Carry out the steps of a phase: batches per namespace, links deleted together, files and sysctls.

A phase runs in rounds: each change's next steps in one namespace stay together; all namespaces of a round
come first, then the host. A change whose step failed sends nothing more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from errno import EADDRNOTAVAIL, EBUSY, EEXIST, EIO, ENODEV, ENOENT, ESRCH
from itertools import groupby
from typing import Any

from netfab.errors import ForeignObject, KernelRefused
from netfab.kernel import nft
from netfab.kernel.holders import holder
from netfab.kernel.netlink import BATCH, Netlink
from netfab.kernel.netns import Namespaces
from netfab.kernel.observe import links
from netfab.objects.base import HOST, Name, Op
from netfab.objects.link import GROUP, IFALIAS, LOOPBACK_IFINDEX, Link, scratch_of
from netfab.objects.ops import (
    DelLink,
    DelNamespace,
    DropRules,
    NewNamespace,
    Nft,
    RemoveFile,
    ResetSysctl,
    WriteFile,
    WriteSysctl,
)
from netfab.objects.wire import (
    IFINFO,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWLINK,
    Body,
    Request,
    encode,
    text,
    u32,
)
from netfab.system.files import public_directory

RACES = 5  # for indexes, against other programs, in one batch
TAKEN = {EEXIST, EBUSY}
GONE = {ENODEV, ESRCH, EADDRNOTAVAIL, ENOENT}  # for a delete: it is done
Steps = Sequence[tuple[int, Any]]  # (number of the change, step)
Failures = list[Exception | None]  # of each change
Way = Callable[[Steps, Failures], None]
Hook = Callable[[Op], bool]  # before each step; True spoils it, so that the kernel refuses it


def no_hook(op: Op) -> bool:
    return False


class Executor:
    """Turns steps into bytes and system calls. Knows the ifindex of every link it was told of or made."""

    def __init__(self, namespaces: Namespaces, hook: Hook, elsewhere: Mapping[type[Any], Way]) -> None:
        self._namespaces = namespaces
        self._hook = hook
        self._elsewhere = (
            elsewhere  # how steps of these types are carried out, which is no business of kernel/
        )
        self._index: dict[Name, int] = {}
        self._next_index = 0
        self._grouped: set[Name] = (
            set()
        )  # links of the host in the fabric's group; empty once that may have changed
        self._marked: list[Link] = []  # links of the host that were in the scratch group when they were read
        self._fds: dict[Name, int] = {}

    def learn(self, links: Mapping[tuple[str, int], Name], host: Iterable[Link], group: int) -> None:
        """The links that there are; new ones get indexes above all of these, so that an index is unique in
        all spaces.
        """
        self._index = {name: index for (_, index), name in links.items()}
        self._next_index = max(self._next_index, max((index for _, index in links), default=0) + 1)
        self._grouped, self._marked = set(), []
        for link in host:
            self._index[Name(HOST, link.name)] = link.ifindex
            self._next_index = max(self._next_index, link.ifindex + 1)
            if link.group == group:
                self._grouped.add(Name(HOST, link.name))
            elif link.group == scratch_of(group):
                self._marked.append(link)

    def run(self, changes: Sequence[Any]) -> Failures:
        """Carry out a phase. For each change, what it failed with."""
        failed: Failures = [None] * len(changes)
        queues = [_runs(change.ops()) for change in changes]
        while True:
            rounds: dict[str, list[tuple[int, Op]]] = {}
            for number, queue in enumerate(queues):
                if failed[number] is None and (steps := next(queue, None)):
                    rounds.setdefault(steps[0].space, []).extend((number, op) for op in steps)
            if not rounds:
                return failed
            for space in sorted(rounds, key=lambda space: space == HOST):
                self._round(space, rounds[space], failed)

    def _round(self, space: str, steps: Steps, failed: Failures) -> None:
        for kind, group in groupby(steps, key=lambda step: type(step[1])):
            together = [(number, op) for number, op in group if failed[number] is None]
            if kind is Request:
                self._send(space, together, failed)
            elif kind is DelLink:
                self._sweep(space, together, failed)
            elif kind in self._elsewhere:
                if all([not self._hook(op) for _, op in together]):
                    self._elsewhere[kind](together, failed)
                else:
                    failed[together[0][0]] = OSError(EIO, os.strerror(EIO))
            else:
                for number, op in together:
                    if failed[number] is None:
                        try:
                            self._one(op)
                        except OSError as error:
                            failed[number] = error

    def _send(self, space: str, steps: Steps, failed: Failures) -> None:
        """Requests to rtnetlink, in batches.

        What was to be made under an ifindex that is taken is tried again.
        """
        refused = self._batch(space, steps)
        for _ in range(RACES):
            unlucky = {number for request, (number, errno, _) in refused if request.makes and errno in TAKEN}
            if not unlucky:
                break
            self._jump_ahead(space)
            refused = [refusal for refusal in refused if refusal[1][0] not in unlucky]
            refused += self._batch(space, [step for step in steps if step[0] in unlucky])
        for request, (number, errno, words) in refused:
            if not (errno in GONE and _ends(request)) and failed[number] is None:
                failed[number] = KernelRefused(request.doing, errno, words)

    def _jump_ahead(self, space: str) -> None:
        """Past all indexes that are taken by now, by some distance: other commands may be doing the same."""
        with suppress(OSError, KernelRefused):
            taken = max(link.ifindex for link in links(self._namespaces.socket(space)))
            self._next_index = max(self._next_index, taken + 1) + int.from_bytes(os.urandom(1), "little")

    def _batch(self, space: str, steps: Steps) -> list[tuple[Request, tuple[int, int, str]]]:
        """(request, (change, errno, the kernel's words)) of everything that was refused, in order."""
        try:
            netlink = self._namespaces.socket(space)
        except OSError as error:
            words = f"there is no {space}" if error.errno == ENOENT else error.strerror or ""
            return [(request, (number, error.errno or EIO, words)) for number, request in steps]
        lost: list[tuple[Request, tuple[int, int, str]]] = []
        for start in range(0, len(steps), BATCH):
            together = steps[start : start + BATCH]
            try:
                lost += self._exchange(netlink, together)
            except (
                OSError
            ) as error:  # nobody knows which of them the kernel carried out: all of their changes failed
                refusal = error.errno or EIO, error.strerror or ""
                lost += [(request, (number, *refusal)) for number, request in together]
        return lost

    def _exchange(self, netlink: Netlink, steps: Steps) -> list[tuple[Request, tuple[int, int, str]]]:
        """One batch; what was refused. Raises OSError."""
        batch: list[tuple[int, bytes]] = []
        sent: dict[int, tuple[int, Request]] = {}
        lost: list[tuple[Request, tuple[int, int, str]]] = []
        try:
            for number, request in steps:
                spoiled = self._hook(request)
                if request.makes:
                    self._grouped.clear()
                for link in request.makes:
                    self._index[link] = self._next_index
                    self._next_index += 1
                sequence = netlink.next_sequence()
                try:
                    message = encode(request, self._resolve, sequence)
                except (LookupError, FileNotFoundError) as error:
                    lost.append((request, (number, ENODEV, f"there is no {error}")))
                    continue
                if spoiled:
                    message = message[:4] + b"\xff\x7f" + message[6:]  # no such message type: EOPNOTSUPP
                batch.append((sequence, message))
                sent[sequence] = number, request
            refused = netlink.batch(batch)
        finally:
            for fd in self._fds.values():
                os.close(fd)
            self._fds.clear()
        for sequence, (errno, words) in sorted(refused.items()):
            number, request = sent[sequence]
            if errno == EEXIST:
                words = holder(netlink, dict(batch)[sequence]) or words
            lost.append((request, (number, errno, words)))
        return lost

    def _resolve(self, name: Name) -> int:
        if name.space == "namespace":
            if name not in self._fds:
                self._fds[name] = self._namespaces.open(name.text)
            return self._fds[name]
        return LOOPBACK_IFINDEX if name.text == "lo" else self._index[name]

    def _sweep(self, space: str, steps: Steps, failed: Failures) -> None:
        """Delete links. One by one each costs an RCU grace period; moved into a group, all together cost one."""
        here = [(number, op) for number, op in steps if op.link in self._index]
        if len(here) == 1:
            number, op = here[0]
            body = Body(IFINFO, (0, 0, op.link, 0, 0), ())
            self._send(
                space, [(number, Request(space, RTM_DELLINK, 0, body, doing=f"delete {op.link}"))], failed
            )
        elif here:
            group = here[0][1].group
            meant = {op.link for _, op in here}
            if (
                space == HOST
                and 2 * len(staying := self._grouped - meant) < len(here)
                and meant <= self._grouped
            ):
                # Fewer stay than go: they are moved out of the way instead.
                away = [(here[0][0], _regroup(link, scratch_of(group))) for link in sorted(staying)]
                back = [(here[0][0], _regroup(link, group)) for link in sorted(staying)]
                self._send(space, away, failed)
                if failed[here[0][0]] is None:  # else the group still holds a link that stays
                    self._send(space, [(here[0][0], _delete_group(space, group)), *back], failed)
                self._grouped = staying
            elif (stranger := self._stranger(space, meant)) is not None:
                failed[here[0][0]] = stranger
            else:
                strays = [
                    link for link in self._marked if space == HOST and Name(HOST, link.name) not in meant
                ]
                requests = [(here[0][0], _regroup(Name(HOST, link.name), group)) for link in strays]
                requests += [(number, _regroup(op.link, scratch_of(group))) for number, op in here]
                self._send(space, [*requests, (here[0][0], _delete_group(space, scratch_of(group)))], failed)

    def _stranger(self, space: str, meant: set[Name]) -> ForeignObject | None:
        """A link in the scratch group that somebody else put there."""
        for link in self._marked if space == HOST else ():
            label = text(link.attrs.get(IFALIAS, b""))
            if label and not label.startswith("netfab:") and Name(HOST, link.name) not in meant:
                return ForeignObject(
                    f"{link.name} is in the group of links to delete, and not ours: {label!r}"
                )
        return None

    def _one(self, op: Op) -> None:
        """One step that is no rtnetlink message. Raises OSError."""
        if self._hook(op):
            raise OSError(EIO, os.strerror(EIO))
        match op:
            case NewNamespace(name, group):
                self._namespaces.create(name, group)
            case DelNamespace(name):
                self._namespaces.delete(name)
            case WriteFile(path, mode, content):
                write_file(path, mode, content)
            case RemoveFile(path):
                with suppress(FileNotFoundError):
                    os.unlink(path)
                with suppress(OSError):  # other files of the fabric are still in it
                    os.rmdir(os.path.dirname(path))
                    os.rmdir(os.path.dirname(os.path.dirname(path)))
            case WriteSysctl(space, key, value, optional):
                with self._namespaces.inside(space), suppress(*([FileNotFoundError] if optional else [])):
                    _write_sysctl(key, value)
            case ResetSysctl(space, key):
                value = self._pristine(key)
                with self._namespaces.inside(space):
                    _write_sysctl(key, value)
            case Nft(commands, _, ends):
                with suppress(*([FileNotFoundError] if ends else [])):
                    nft.load(commands)
            case DropRules(family, table, chain, comment):
                nft.drop_rules(family, table, chain, comment)
            case _:
                raise AssertionError(f"no way to carry out {op}")

    def _pristine(self, key: str) -> str:
        """What a new namespace of this host has."""
        with self._namespaces.inside_new(), open(f"/proc/sys/{key}") as file:
            return file.read()


def _runs(ops: Iterable[Op]) -> Iterator[list[Op]]:
    """Consecutive steps of one change in the same space."""
    return (list(steps) for _, steps in groupby(ops, key=lambda op: op.space))


def _delete_group(space: str, group: int) -> Request:
    body = Body(IFINFO, (0, 0, 0, 0, 0), ((GROUP, u32(group)),))
    return Request(space, RTM_DELLINK, 0, body, doing="delete a group of links")


def _regroup(link: Name, group: int) -> Request:
    body = Body(IFINFO, (0, 0, link, 0, 0), ((GROUP, u32(group)),))
    return Request(link.space, RTM_NEWLINK, 0, body, doing=f"delete {link}", ends=True)


def _ends(request: Request) -> bool:
    """Whether it is fine when what the request is about is gone already."""
    return request.ends or request.type in (RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE)


def write_file(path: str, mode: int, content: str) -> None:
    """In place, not by rename: a bind mount of the file shows the old one for ever after a rename."""
    public_directory(os.path.dirname(path))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        os.fchmod(fd, mode)
        file.write(content)
        file.truncate()


def _write_sysctl(key: str, value: str) -> None:
    with open(f"/proc/sys/{key}", "w") as file:
        file.write(value)
