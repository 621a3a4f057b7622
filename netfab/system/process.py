"""Processes: started in namespaces, stripped of privileges, waited for by descriptor.

clone3(2), prctl(2), capabilities(7), close_range(2), pidfd_open(2). Which privileges a process keeps is
decided elsewhere.
"""

from __future__ import annotations

import _signal as signal  # `signal` takes 0.5 ms, and memory
import ctypes
import fcntl
import os
from collections.abc import Iterable
from struct import pack

from netfab.system.calls import Calls, library
from netfab.system.calls import system_call as noted
from netfab.system.libc import (
    NR_CLONE3,
    NR_CLOSE_RANGE,
    NR_PRCTL,
    checked,
    machine,
    system_call,
)

CLONE_PIDFD = 0x00001000  # linux/sched.h
CLONE_INTO_CGROUP = 0x200000000

_CLOSE_RANGE_CLOEXEC = 0x4
_LAST = 0xFFFFFFFF  # descriptor
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info) in its first published size, 64 bytes
_PIDFD_INFO_EXIT = 1 << 3


_close_range = system_call(NR_CLOSE_RANGE, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
_prctl = system_call(NR_PRCTL[machine], *(ctypes.c_void_p,) * 5)
_noted_prctl, _noted_capset = library("prctl", "capset")


# A fork: a call that released the interpreter's lock would take it back in both processes.
clone3 = ctypes.PyDLL(None, use_errno=True)["syscall"]
clone3.argtypes, clone3.restype = (ctypes.c_long,) * 3, ctypes.c_long


class _CloneArgs(ctypes.Structure):
    """struct clone_args, as of Linux 5.7."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
            "set_tid", "set_tid_size", "cgroup",
        )
    ]  # fmt: skip


class Clone:
    """fork into new namespaces, and into the v2 cgroup whose directory is open as `cgroup`; clone3(2).

    Prepared before it is made, since a process that makes many can't do so in between (runtime/spawn.py).
    Neither Python's nor the C library's fork handlers run: only for a process with one thread, whose child
    makes system calls and executes a program or exits.
    """

    def __init__(self, flags: int, cgroup: int | None = None) -> None:
        self._pidfd = ctypes.c_int(-1)
        self._arguments = _CloneArgs(
            flags=flags | CLONE_PIDFD | (0 if cgroup is None else CLONE_INTO_CGROUP),
            pidfd=ctypes.addressof(self._pidfd),
            exit_signal=signal.SIGCHLD,
            cgroup=cgroup or 0,
        )
        # The arguments of `clone3`.
        self.words = NR_CLONE3, ctypes.addressof(self._arguments), ctypes.sizeof(_CloneArgs)

    def make(self) -> int:
        """Returns the child's PID; 0 in the child. Raises OSError."""
        return checked(clone3(*self.words))

    @property
    def pidfd(self) -> int:
        """The child's pidfd."""
        return self._pidfd.value


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` up to be closed at exec; close_range(2)."""
    _close_range(first, _LAST, _CLOSE_RANGE_CLOEXEC)


def hide_from_ptrace(calls: Calls) -> None:
    """Deny /proc/PID/exe, fd and mem to all without CAP_SYS_PTRACE until exec (CVE-2019-5736)."""
    calls.make(_noted_prctl, _PR_SET_DUMPABLE, 0)


def note_close(calls: Calls, first: int, last: int = _LAST) -> None:
    """Close every descriptor from `first` to `last`; close_range(2)."""
    calls.make(noted, NR_CLOSE_RANGE, first, last, 0)


def note_close_on_exec(calls: Calls, first: int) -> None:
    """The same as close_on_exec_from."""
    calls.make(noted, NR_CLOSE_RANGE, first, _LAST, _CLOSE_RANGE_CLOEXEC)


def die_with_parent() -> None:
    """Get SIGKILL when the parent ends. A change of user resets this, so call it after that."""
    signal_with_parent(signal.SIGKILL)


def signal_with_parent(number: int) -> None:
    """Get that signal when the parent ends; also for process 1 of a namespace, if it handles it.

    0: none.
    """
    _prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def adopt_orphans() -> None:
    """Make orphaned descendants our children, except for those in other PID namespaces."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def forbid_new_privileges(calls: Calls) -> None:
    """Let no program executed from here gain rights by set-user-ID or file capabilities."""
    calls.make(_noted_prctl, _PR_SET_NO_NEW_PRIVS, 1)


def drop_from_bounding_set(calls: Calls, capabilities: Iterable[int]) -> None:
    """Drop these; numbers that the kernel does not know are refused (EINVAL)."""
    for number in capabilities:
        calls.make(_noted_prctl, _PR_CAPBSET_DROP, number)


def set_capabilities(calls: Calls, capabilities: int) -> None:
    """Set permitted and effective to that bit mask, inheritable to none; capset(2)."""
    header = pack("2I", _CAPABILITY_VERSION_3, 0)
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    # Effective, permitted, inheritable; then their high words.
    sets = pack("6I", low, low, 0, high, high, 0)
    calls.make(_noted_capset, calls.memory(header), calls.memory(sets))


def set_seccomp_filter(calls: Calls, program: bytes) -> None:
    """Install a classic BPF program (8 bytes an instruction) for good; descendants inherit it; seccomp(2)."""
    filter_program = pack("HP", len(program) // 8, calls.memory(program))  # struct sock_fprog
    calls.make(_noted_prctl, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, calls.memory(filter_program))


def exit_status_of_stranger(pidfd: int) -> int | None:
    """The wait status of a reaped process that was not our child; None: the kernel can't tell (< 6.15)."""
    info = bytearray(64)
    info[0:8] = _PIDFD_INFO_EXIT.to_bytes(8, "little")
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not int.from_bytes(info[0:8], "little") & _PIDFD_INFO_EXIT:
        return None
    return int.from_bytes(info[60:64], "little", signed=True)


def user_namespace_is_initial() -> bool:
    """Whether our user namespace maps every user ID of the machine."""
    with open("/proc/self/uid_map", encoding="utf-8") as file:
        return file.read().split() == ["0", "0", str(0xFFFFFFFF)]


def last_capability() -> int:
    """The highest capability number that this kernel knows."""
    fd = os.open("/proc/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 16))
    finally:
        os.close(fd)
