"""A plan in a file: `plan --save P`, `apply --plan P`; for this host, for others, or for several.

The file does not say what to do: it holds a digest of each object that should be and that is. `apply` plans
again, and goes on only when that gives the same: so the file keeps no secret, and nobody can put anything
into it that the topology file does not ask for.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Self

from netfab.applying.proposal import Proposal
from netfab.errors import NetfabError, NotRoot, raise_all
from netfab.objects.base import Fabric
from netfab.plan.planner import Plan
from netfab.system.replace import replacing
from netfab.tuples import NamedTuple

VERSION = 1
MAX_SIZE = 256 << 20  # bytes; a thousand nodes take 1 MiB
_TOLD = 5  # differences that a message lists
_AGAIN = "`netfab plan --save` writes one"

Digests = Mapping[str, str]  # by the object's displayed name


class Part(NamedTuple):
    """The part of one host."""

    desired: Digests
    observed: Digests

    @classmethod
    def of(cls, plan: Plan, desired: Fabric, observed: Fabric) -> Self:
        """The desired and the observed objects of that plan."""
        return cls(_desired_digests(plan, desired), _digests(observed))


class SavedPlan(NamedTuple):
    """What `apply` would do, and to which state."""

    file: str  # absolute, "-" for standard input
    name: str | None  # `--name`
    only: tuple[str, ...]
    parts: Mapping[str, Part]  # by host; "" is the only one, without a name: here or where `ssh` says
    ssh: str = ""  # `--ssh`
    settings: tuple[str, ...] = ()  # `--set`
    host: str = ""  # `--host`


def save_plan(
    path: str,
    proposal: Proposal,
    file: str,
    name: str | None,
    only: tuple[str, ...],
    settings: tuple[str, ...] = (),
) -> None:
    """Save the plan for this host. Raises NetfabError."""
    if not proposal.live:
        raise NotRoot(
            "needs root: what is saved was compared with the kernel", hint="sudo netfab plan --save …"
        )
    part = Part.of(proposal.plan, proposal.desired, proposal.observed)
    write_plan(path, SavedPlan(file, name, only, {"": part}, settings=settings))


def write_plan(path: str, saved: SavedPlan) -> None:
    """Write it atomically, readable by its owner only. Raises NetfabError."""
    try:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise NetfabError(f"{path}: it exists, and is not a regular file")
        parts = {host: part._asdict() for host, part in saved.parts.items()}
        with replacing(path) as opened:
            json.dump({"version": VERSION, **saved._asdict(), "parts": parts}, opened, indent=1)
    except OSError as error:
        raise NetfabError(f"{path}: {error.strerror}") from error


def read_plan(path: str) -> SavedPlan:
    """Raises NetfabError for what can't be read, is no plan of this version, or may be another user's."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise NetfabError(f"{path} is not a regular file")
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                owner = f"it belongs to user {found.st_uid} and has mode {found.st_mode & 0o777:o}"
                raise NetfabError(f"{path} may be another user's work: {owner}", hint=_AGAIN)
            text = opened.read(MAX_SIZE)
    except OSError as error:
        raise NetfabError(f"{path}: {error.strerror}") from error
    try:
        return _saved(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise NetfabError(f"{path} is not a plan that this netfab saved: {error}", hint=_AGAIN) from error


def _saved(data: Any) -> SavedPlan:
    """Raises ValueError if it is no saved plan."""
    match data:
        case {
            "version": int(version),
            "file": str(file),
            "name": str() | None as name,
            "settings": list(settings),
            "only": list(only),
            "parts": dict(parts),
            "ssh": str(ssh),
            "host": str(host),
        } if all(isinstance(text, str) for text in (*settings, *only)):
            if version != VERSION:
                raise ValueError(f"its version is {version}, not {VERSION}")
            if b"\0" in os.fsencode(file):
                raise ValueError("its file has an impossible name")
            found = {host: _part(part) for host, part in parts.items()}
            return SavedPlan(file, name, tuple(only), found, ssh, tuple(settings), host)
    raise ValueError("something is missing")


def _part(data: Any) -> Part:
    match data:
        case {"desired": dict(desired), "observed": dict(observed)}:
            return Part(desired, observed)
    raise ValueError("something is missing in a host's part")


def refuse_moved(saved: SavedPlan, parts: Mapping[str, Part]) -> None:
    """Raises NetfabError if the file now asks for something else, or a kernel's state has changed."""
    raise_all(_differences(saved.parts, parts))


def _differences(before: Mapping[str, Part], now: Mapping[str, Part]) -> Iterator[NetfabError]:
    for host in before.keys() - now.keys():
        yield NetfabError(f"this plan was saved for {host or 'this host'}, too", hint=_AGAIN)
    for host in now.keys() - before.keys():
        yield NetfabError(f"this plan was not saved for {host or 'this host'}", hint=_AGAIN)
    for host in before.keys() & now.keys():
        on = f" on {host}" if host else ""
        yield from _different(f"what is planned{on}", before[host].desired, now[host].desired)
        yield from _different(f"the kernel{on}", before[host].observed, now[host].observed)


def _different(what: str, before: Digests, now: Digests) -> Iterator[NetfabError]:
    words = {name: "is new" for name in now.keys() - before.keys()}
    words |= {name: "is gone" for name in before.keys() - now.keys()}
    words |= {name: "is different" for name in before.keys() & now.keys() if before[name] != now[name]}
    if words:
        told = "; ".join(f"{name} {words[name]}" for name in sorted(words)[:_TOLD])
        more = f" and {len(words) - _TOLD} more" if len(words) > _TOLD else ""
        yield NetfabError(f"{what} changed since this plan was saved: {told}{more}", hint=_AGAIN)


def _digests(fabric: Fabric) -> Digests:
    """Two objects with the same displayed name, such as routes with different metrics, share one digest."""
    called: dict[str, list[Any]] = {}
    for thing in fabric.values():
        called.setdefault(str(thing), []).append(thing)
    return {name: _digest(things) for name, things in called.items()}


def _desired_digests(plan: Plan, desired: Fabric) -> Digests:
    """Including the commands that are run in new nodes."""
    commands = {f"exec of {node}": _digest(several) for node, several in plan.commands.items()}
    return {**_digests(desired), **commands}


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, default=str).encode()).hexdigest()
