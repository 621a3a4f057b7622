"""Pseudo terminals of the devpts that is below some root; pty(7), ioctl_tty(2)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from netfab.system.mounts import DEVPTS_SUPER_MAGIC, filesystem_magic, open_below
from netfab.system.trees import STRICT

_PTMX = "dev/pts/ptmx"  # not /dev/ptmx, which a guest's root may replace
_TIOCSPTLCK = 0x40045431  # asm-generic/ioctls.h; termios has neither of them before Python 3.13
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E  # termios has it, but costs a quarter of a megabyte


def open_terminal(root: int, owner: int) -> tuple[int, int]:
    """Both ends of a new terminal of the /dev/pts below `root`; the second is the command's and `owner`'s.

    A guest may have put anything there: this follows no symlink, never blocks, and refuses what is no
    devpts. The second end is opened from the first one, not by name (CVE-2025-52565). Raises OSError.
    """
    master = open_below(root, _PTMX, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK, STRICT)
    try:
        if filesystem_magic(master) != DEVPTS_SUPER_MAGIC:
            raise OSError(errno.ENODEV, "not a devpts", _PTMX)
        os.set_blocking(master, True)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        os.fchown(slave, owner, -1)
    except OSError:
        os.close(master)
        raise
    return master, slave


def control_by(slave: int) -> None:
    """Make that terminal our session's controlling one; ioctl_tty(2)."""
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
