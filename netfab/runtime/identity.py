"""Who `user[:group]` is, by the container's own /etc/passwd and /etc/group.

Both are the guest's files: opened below its root, read up to a limit, parsed here (no NSS library of the
guest is loaded).
"""

from __future__ import annotations

import errno
import os

from netfab.system.mounts import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, open_below
from netfab.tuples import NamedTuple

_LIMIT = 1 << 20  # bytes read of either file
_NOBODY = 0xFFFFFFFF  # no user or group: setresuid(2) reads it as "keep the current one", which is root


class Identity(NamedTuple):
    """The numeric ids of a user."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"


def identify(root: int, user: str) -> Identity:
    """Look up a user below the root. Raises OSError(EINVAL) for an unknown name."""
    if not user:
        return Identity()
    return parse_identity(user, _read(root, "etc/passwd"), _read(root, "etc/group"))


def parse_identity(user: str, passwd: str, group: str) -> Identity:
    """passwd(5) and group(5). A numeric id needs no entry; the default group is the entry's, or 0."""
    name, _, group_name = user.partition(":")
    rows = [
        row
        for row in (line.split(":") for line in passwd.splitlines())
        if len(row) >= 6 and _is_id(row[2]) and _is_id(row[3])
    ]
    row = next((row for row in rows if row[0] == name), None) or next(
        (row for row in rows if row[2] == name), None
    )
    if row is None and not _is_id(name):
        raise OSError(errno.EINVAL, "no such user", name)
    uid, gid, home = (int(row[2]), int(row[3]), row[5]) if row else (int(name), 0, "/")
    groups = [
        row for row in (line.split(":") for line in group.splitlines()) if len(row) >= 4 and _is_id(row[2])
    ]
    if group_name:
        return Identity(uid, _group(group_name, groups), (), home)
    more = tuple(int(entry[2]) for entry in groups if row and row[0] in entry[3].split(","))
    return Identity(uid, gid, more, home)


def _group(name: str, groups: list[list[str]]) -> int:
    for entry in groups:
        if entry[0] == name:
            return int(entry[2])
    if not _is_id(name):
        raise OSError(errno.EINVAL, "no such group", name)
    return int(name)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_NOBODY)) and int(text) < _NOBODY


def _read(root: int, path: str) -> str:
    try:
        fd = open_below(root, path, os.O_RDONLY | os.O_NONBLOCK, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, _LIMIT).decode(errors="replace")
    finally:
        os.close(fd)
