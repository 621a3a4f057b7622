"""Dropping privileges: what a process may do from its first instruction on.

One object holds everything that is needed, computed before the process is cloned; applying it takes system
calls only, written down as such.
"""

from __future__ import annotations

import os
from struct import pack

from netfab.runtime.identity import Identity
from netfab.runtime.seccomp import build
from netfab.runtime.spec import CAPABILITIES
from netfab.system import process
from netfab.system.calls import Calls, library
from netfab.tuples import NamedTuple

_setgroups, _setresgid, _setresuid = library("setgroups", "setresgid", "setresuid")


class Rights(NamedTuple):
    """The rights kept: a capability mask, capabilities to drop from the bounding set, the seccomp program."""

    capabilities: int
    dropped: tuple[int, ...]
    seccomp: bytes  # empty: no filter
    may_set_groups: bool


def rights_with(names: frozenset[str]) -> Rights:
    """The rights of a confined process that holds these capabilities."""
    return _rights(names, build(os.uname().machine, names))


def every_right() -> Rights:
    """All of the caller's rights: for `exec` with privileges."""
    return _rights(frozenset(CAPABILITIES), b"")


def _rights(names: frozenset[str], program: bytes) -> Rights:
    kept = {CAPABILITIES[name] for name in names}
    known = range(process.last_capability() + 1)
    mask = sum(1 << number for number in kept if number in known) & _permitted()
    return Rights(mask, tuple(number for number in known if number not in kept), program, _may_set_groups())


def _permitted() -> int:
    """The caller's own capabilities: it can't pass on more."""
    return next(int(line.split()[1], 16) for line in _lines("/proc/self/status") if line.startswith("CapPrm"))


def _may_set_groups() -> bool:
    return _lines("/proc/self/setgroups") == ["allow\n"]


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readlines()


def give_up(calls: Calls, rights: Rights, user: Identity) -> None:
    """Become the user with no more than these rights. `lock` makes sure that no program regains them."""
    process.drop_from_bounding_set(calls, rights.dropped)
    if rights.may_set_groups:
        groups = pack(f"{len(user.groups)}I", *user.groups)
        calls.make(_setgroups, len(user.groups), calls.memory(groups))
    calls.make(_setresgid, user.gid, user.gid, user.gid)
    calls.make(_setresuid, user.uid, user.uid, user.uid)
    if user.uid == 0:
        process.set_capabilities(calls, rights.capabilities)


def lock(calls: Calls, rights: Rights) -> None:
    """no_new_privs and the filter. The last step before exec; a no-op with every right."""
    if rights.seccomp:
        process.forbid_new_privileges(calls)
        process.set_seccomp_filter(calls, rights.seccomp)
