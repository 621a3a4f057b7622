"""How this room calls the kernel: one C library handle, one check of results.

Knows nothing of any particular system call but the numbers that are equal on x86_64 and aarch64 (all of those
since Linux 5.1, asm-generic/unistd.h). Every call raises OSError with the errno that the kernel gave.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

NR_OPEN_TREE = 428
NR_MOVE_MOUNT = 429
NR_FSOPEN = 430
NR_FSCONFIG = 431
NR_FSMOUNT = 432
NR_CLONE3 = 435
NR_CLOSE_RANGE = 436
NR_OPENAT2 = 437
NR_MOUNT_SETATTR = 442
NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
NR_PRCTL = {"x86_64": 157, "aarch64": 167}

machine = os.uname().machine
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, path: str | None = None) -> int:
    """The result of a C call, or OSError with its errno."""
    if result < 0:
        raise failure(path)
    return result


def failure(path: str | None = None) -> OSError:
    """The error of the last C call."""
    errno = ctypes.get_errno()
    return OSError(errno, os.strerror(errno), path)


def system_call(number: int, *types: type) -> Callable[..., int]:
    """syscall(2) with that number, for arguments of these C types. Strings must be bytes.

    Declared once, so that a call costs half a microsecond: starting a container makes a hundred.
    """
    function = libc["syscall"]  # a function object of its own
    function.argtypes = (ctypes.c_long, *types)
    function.restype = ctypes.c_long

    def call(*arguments: object, path: str | None = None) -> int:
        result: int = function(number, *arguments)
        return result if result >= 0 else checked(result, path)

    return call
