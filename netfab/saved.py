"""A plan in a file: `plan --save P`, `apply --plan P`.

The file does not say what to do: it holds a digest of each object that should be and that is. `apply` plans
again, and goes on only when that gives the same: so the file keeps no secret, and nobody can put anything
into it that the topology file does not ask for.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from netfab.errors import NetfabError, NotRoot
from netfab.objects.base import Fabric
from netfab.plan.planner import Plan
from netfab.proposal import Proposal

VERSION = 1
MAX_SIZE = 256 << 20  # bytes; a thousand nodes take one MiB
_TOLD = 5  # differences that a message lists
_AGAIN = "`netfab plan --save` writes one"

Digests = Mapping[str, str]  # by an object as people call it


class SavedPlan(NamedTuple):
    """What `apply` was to do, and to what."""

    file: str  # absolute, "-" for standard input
    name: str | None  # `--name`
    settings: tuple[str, ...]  # `--set`
    only: tuple[str, ...]
    desired: Digests
    observed: Digests


def save_plan(
    path: str,
    proposal: Proposal,
    file: str,
    name: str | None,
    settings: tuple[str, ...],
    only: tuple[str, ...],
) -> None:
    """Write it, whole or not at all, for its owner only. Raises NetfabError."""
    if not proposal.live:
        raise NotRoot(
            "needs root: what is saved was compared with the kernel", hint="sudo netfab plan --save …"
        )
    desired = _desired_digests(proposal.plan, proposal.desired)
    saved = SavedPlan(file, name, settings, only, desired, _digests(proposal.observed))
    new = f"{path}.new"
    try:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise NetfabError(f"{path}: it is there, and no plain file")
        with suppress(FileNotFoundError):
            os.unlink(new)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # never what another user put there
        with os.fdopen(os.open(new, flags, 0o600), "w") as opened:
            json.dump({"version": VERSION, **saved._asdict()}, opened, indent=1)
        os.replace(new, path)
    except OSError as error:
        raise NetfabError(f"{path}: {error.strerror}") from error


def read_plan(path: str) -> SavedPlan:
    """Raises NetfabError for what can't be read, is no plan of this version, or may be another user's."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise NetfabError(f"{path} is no plain file")
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                owner = f"it belongs to user {found.st_uid} and has mode {found.st_mode & 0o777:o}"
                raise NetfabError(f"{path} may be another user's work: {owner}", hint=_AGAIN)
            text = opened.read(MAX_SIZE)
    except OSError as error:
        raise NetfabError(f"{path}: {error.strerror}") from error
    try:
        return _saved(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise NetfabError(f"{path} is no plan that this netfab saved: {error}", hint=_AGAIN) from error


def _saved(data: Any) -> SavedPlan:
    """Raises ValueError where it is none."""
    match data:
        case {
            "version": int(version),
            "file": str(file),
            "name": str() | None as name,
            "settings": list(settings),
            "only": list(only),
            "desired": dict(desired),
            "observed": dict(observed),
        } if all(isinstance(text, str) for text in (*settings, *only)):
            if version != VERSION:
                raise ValueError(f"its version is {version}, not {VERSION}")
            if b"\0" in os.fsencode(file):
                raise ValueError("its file has no name that there could be")
            return SavedPlan(file, name, tuple(settings), tuple(only), desired, observed)
    raise ValueError("something is missing")


def refuse_moved(saved: SavedPlan, plan: Plan, desired: Fabric, observed: Fabric) -> None:
    """Raises NetfabError when the file asks for something else now, or the kernel is not as it was."""
    _refuse_different("what is planned", saved.desired, _desired_digests(plan, desired))
    _refuse_different("the kernel", saved.observed, _digests(observed))


def _refuse_different(what: str, before: Digests, now: Digests) -> None:
    words = {name: "is new" for name in now.keys() - before.keys()}
    words |= {name: "is gone" for name in before.keys() - now.keys()}
    words |= {name: "is different" for name in before.keys() & now.keys() if before[name] != now[name]}
    if words:
        told = "; ".join(f"{name} {words[name]}" for name in sorted(words)[:_TOLD])
        more = f" and {len(words) - _TOLD} more" if len(words) > _TOLD else ""
        raise NetfabError(f"{what} changed since this plan was saved: {told}{more}", hint=_AGAIN)


def _digests(fabric: Fabric) -> Digests:
    """Of two objects that people call the same, such as routes with other metrics, one digest."""
    called: dict[str, list[Any]] = {}
    for thing in fabric.values():
        called.setdefault(str(thing), []).append(thing)
    return {name: _digest(things) for name, things in called.items()}


def _desired_digests(plan: Plan, desired: Fabric) -> Digests:
    """Also of what is run in new nodes."""
    commands = {f"exec of {node}": _digest(several) for node, several in plan.commands.items()}
    return {**_digests(desired), **commands}


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, default=str).encode()).hexdigest()
