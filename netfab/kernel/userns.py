"""How an ordinary user becomes root of something: a user namespace (user_namespaces(7))."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EINVAL, ENOSPC, EPERM

from netfab.errors import Unsupported
from netfab.system import linux


def become_root() -> None:
    """As an ordinary user: root of a new user namespace in which only this user exists.

    No thread may be running. Raises Unsupported with the setting that forbids it.
    """
    if os.geteuid() == 0:
        return
    user, group = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.CLONE_NEWUSER)
    except OSError as error:
        if error.errno in (EPERM, ENOSPC, EINVAL):
            raise Unsupported(
                f"this host lets no ordinary user make a user namespace: {error.strerror}", hint=_cure()
            ) from error
        raise
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


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
