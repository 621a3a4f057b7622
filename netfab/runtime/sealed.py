"""A read-only mount of the interpreter, for processes that run what a guest chose.

/proc/self/exe of a process that is about to run a guest's program is our interpreter. A guest that gets that
opened (as its own program, or as the interpreter of a script of its own) holds a file of the host, and could
write it once nobody runs it any more (CVE-2019-5736). By a read-only mount it can't, whatever its rights.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from netfab.system import linux
from netfab.system.process import user_namespace_is_initial

_KEPT = {os.ST_NOSUID: linux.MS_NOSUID, os.ST_NODEV: linux.MS_NODEV, os.ST_NOEXEC: linux.MS_NOEXEC}
_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv[1]); from netfab.runtime.{0} import main; main(*sys.argv[2:])"
)


def must_be_sealed() -> bool:
    """Whether our interpreter could be written through /proc/self/exe.

    In a user namespace a guest's root is an ordinary user of the host, who may write no more than that user.
    """
    return user_namespace_is_initial() and not os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY


def command(module: str, *arguments: str) -> list[str]:
    """The command line for `main` of a module here; only the standard library and netfab are on its path."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, "-I", "-S", "-c", _BOOTSTRAP.format(module), package, *arguments]


def execute(argv: Sequence[str]) -> NoReturn:
    """exec that, sealed if necessary, with an empty environment. Raises OSError."""
    if must_be_sealed():
        _mount_read_only()
    os.execve(argv[0], list(argv), {})


def _mount_read_only() -> None:
    """Bind the interpreter read-only over itself, in a mount namespace of our own."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_SLAVE)
    interpreter = os.path.realpath(sys.executable)
    found = os.statvfs(interpreter).f_flag
    kept = sum(flag for seen, flag in _KEPT.items() if found & seen)
    linux.mount(interpreter, interpreter, flags=linux.MS_BIND)
    linux.mount("", interpreter, flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | kept)
