"""How an ordinary user becomes root inside a user namespace (user_namespaces(7))."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import EINVAL, ENOSPC, EPERM

from netfab.errors import Unsupported
from netfab.system import linux
from netfab.tuples import NamedTuple

_MAPPERS = "/usr/bin/newuidmap", "/usr/bin/newgidmap"


class _Range(NamedTuple):
    """Subordinate ids of a user: a line of /etc/subuid or /etc/subgid (subuid(5))."""

    first: str
    size: str


def become_root() -> None:
    """Make an ordinary user's process root of a new user namespace.

    It maps this user and, if newuidmap(1) can, the ids of /etc/subuid, for programs that change theirs.
    No thread may be running. Raises Unsupported with the setting that forbids it.
    """
    if os.geteuid() == 0:
        return
    user, group = os.geteuid(), os.getegid()
    ranges = _own(user)
    helper = _Helper(user, group, ranges) if ranges else None
    try:
        linux.unshare(linux.CLONE_NEWUSER)
    except OSError as error:
        if error.errno in (EPERM, ENOSPC, EINVAL):
            raise Unsupported(
                f"this host does not let ordinary users create user namespaces: {error.strerror}",
                hint=_cure(),
            ) from error
        raise
    finally:
        mapped = helper is not None and helper.map()
    if mapped:
        return
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def begin_again_by_sudo(say: Callable[[str], None]) -> None:
    """Rerun this command as the machine's root, if sudo(8) asks for no password; returns if that fails.

    say: called before, with a notice.
    """
    with suppress(OSError):  # there is no sudo
        asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
        if asked.returncode == 0:
            say("this host does not let ordinary users create user namespaces: as root, by sudo")
            os.execvp("sudo", ["sudo", "-n", "--preserve-env", sys.executable, *sys.orig_argv[1:]])


class _Helper:
    """A child that stays outside, where newuidmap and newgidmap get the privileges of their files."""

    def __init__(self, user: int, group: int, ranges: tuple[_Range, _Range]) -> None:
        self._begin, begun = os.pipe()[::-1]
        parent = str(os.getpid())
        self._child = os.fork()
        if self._child == 0:
            code = 1
            try:
                os.close(self._begin)
                os.read(begun, 1)
                code = int(
                    any(
                        subprocess.run(
                            [program, parent, "0", str(own), "1", "1", *more],
                            env={},
                            check=False,
                            stderr=subprocess.DEVNULL,
                        ).returncode
                        for program, own, more in zip(_MAPPERS, (user, group), ranges, strict=True)
                    )
                )
            finally:
                os._exit(code)
        os.close(begun)

    def map(self) -> bool:
        """Map the ids in the namespace that its parent has entered by now; whether that succeeded."""
        os.close(self._begin)
        return os.waitpid(self._child, 0)[1] == 0


def _own(user: int) -> tuple[_Range, _Range] | None:
    """The user's ranges of subordinate uids and gids, if there are both, and programs that map them."""
    if not all(os.access(program, os.X_OK) for program in _MAPPERS):
        return None
    users, groups = _range("/etc/subuid", user), _range("/etc/subgid", user)
    return (users, groups) if users and groups else None


def _range(path: str, user: int) -> _Range | None:
    names = {str(user)}
    with suppress(KeyError):
        names.add(pwd.getpwuid(user).pw_name)
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, rest = line.strip().partition(":")
            first, _, size = rest.partition(":")
            if name in names and first.isdecimal() and size.isdecimal():
                return _Range(first, size)
    return None


def _cure() -> str:
    for key, value in (
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
        ("kernel/unprivileged_userns_clone", "1"),
        ("user/max_user_namespaces", "1000"),
    ):
        with suppress(OSError), open(f"/proc/sys/{key}") as file:
            found = file.read().strip()
            if found != value and not (key.startswith("user/") and int(found) > 0):
                return f"sudo sysctl {key.replace('/', '.')}={value}, or run it as root"
    return "run it as root; in a container, --cap-add SYS_ADMIN or a seccomp profile that allows unshare"
