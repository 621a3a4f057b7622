"""The system call filter: a classic BPF program, as bytes.

Denies what Docker's default profile denies, by a binary search over ranges of system call numbers instead of
one comparison per permitted call: the kernel verifies 100 instructions instead of 1,100 at every start, and a
call costs seven comparisons. Pure: loading it is for system/process.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from errno import ENOSYS, EPERM

from netfab.tuples import NamedTuple

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h

LD_W_ABS, JMP_JEQ_K, JMP_JGE_K, JMP_JSET_K, RET_K = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
# Offsets in struct seccomp_data; the low half of the first argument (little endian).
NUMBER, ARCH, ARG0 = 0, 4, 16

ALLOW = 0x7FFF0000  # linux/seccomp.h
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000

HIGHEST_KNOWN = 462  # mseal, Linux 6.10: later calls were not reviewed, so they get ENOSYS

# clone: all namespace flags. CLONE_NEWTIME lies in the exit signal's byte, which clone ignores.
_NAMESPACE_FLAGS = 0x7E020000
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)  # PER_LINUX, UNAME26 variants, and "ask"
_REFUSED_FAMILIES = (38, 40)  # AF_ALG, AF_VSOCK


class Call(NamedTuple):
    """A system call's numbers (None: that architecture lacks it), and the capability that permits it."""

    x86_64: int | None
    aarch64: int | None
    permitted_by: str | None = None


DENIED: Mapping[str, Call] = {
    "_sysctl": Call(156, None),
    "acct": Call(163, 89, "SYS_PACCT"),
    "add_key": Call(248, 217),
    "afs_syscall": Call(183, None),
    "bpf": Call(321, 280, "BPF"),
    "clock_adjtime": Call(305, 266, "SYS_TIME"),
    "clock_settime": Call(227, 112, "SYS_TIME"),
    "create_module": Call(174, None),
    "delete_module": Call(176, 106, "SYS_MODULE"),
    "epoll_ctl_old": Call(214, None),
    "epoll_wait_old": Call(215, None),
    "fanotify_init": Call(300, 262, "SYS_ADMIN"),
    "finit_module": Call(313, 273, "SYS_MODULE"),
    "fsconfig": Call(431, 431, "SYS_ADMIN"),
    "fsmount": Call(432, 432, "SYS_ADMIN"),
    "fsopen": Call(430, 430, "SYS_ADMIN"),
    "fspick": Call(433, 433, "SYS_ADMIN"),
    "get_kernel_syms": Call(177, None),
    "get_mempolicy": Call(239, 236, "SYS_NICE"),
    "getpmsg": Call(181, None),
    "init_module": Call(175, 105, "SYS_MODULE"),
    "io_uring_enter": Call(426, 426),
    "io_uring_register": Call(427, 427),
    "io_uring_setup": Call(425, 425),
    "ioperm": Call(173, None, "SYS_RAWIO"),
    "iopl": Call(172, None, "SYS_RAWIO"),
    "kcmp": Call(312, 272, "SYS_PTRACE"),
    "kexec_file_load": Call(320, 294, "SYS_BOOT"),
    "kexec_load": Call(246, 104, "SYS_BOOT"),
    "keyctl": Call(250, 219),
    "listmount": Call(458, 458, "SYS_ADMIN"),
    "lookup_dcookie": Call(212, 18, "SYS_ADMIN"),
    "lsm_get_self_attr": Call(459, 459),
    "lsm_list_modules": Call(461, 461),
    "lsm_set_self_attr": Call(460, 460),
    "mbind": Call(237, 235, "SYS_NICE"),
    "migrate_pages": Call(256, 238, "SYS_NICE"),
    "mount": Call(165, 40, "SYS_ADMIN"),
    "mount_setattr": Call(442, 442, "SYS_ADMIN"),
    "move_mount": Call(429, 429, "SYS_ADMIN"),
    "move_pages": Call(279, 239, "SYS_NICE"),
    "nfsservctl": Call(180, 42),
    "open_by_handle_at": Call(304, 265, "DAC_READ_SEARCH"),
    "open_tree": Call(428, 428, "SYS_ADMIN"),
    "perf_event_open": Call(298, 241, "PERFMON"),
    "pidfd_getfd": Call(438, 438, "SYS_PTRACE"),
    "pivot_root": Call(155, 41, "SYS_ADMIN"),
    "process_madvise": Call(440, 440, "SYS_PTRACE"),
    "putpmsg": Call(182, None),
    "query_module": Call(178, None),
    "quotactl": Call(179, 60, "SYS_ADMIN"),
    "quotactl_fd": Call(443, 443, "SYS_ADMIN"),
    "reboot": Call(169, 142, "SYS_BOOT"),
    "request_key": Call(249, 218),
    "security": Call(185, None),
    "set_mempolicy": Call(238, 237, "SYS_NICE"),
    "set_mempolicy_home_node": Call(450, 450, "SYS_NICE"),
    "setdomainname": Call(171, 162, "SYS_ADMIN"),
    "sethostname": Call(170, 161, "SYS_ADMIN"),
    "setns": Call(308, 268, "SYS_ADMIN"),
    "settimeofday": Call(164, 170, "SYS_TIME"),
    "statmount": Call(457, 457, "SYS_ADMIN"),
    "swapoff": Call(168, 225, "SYS_ADMIN"),
    "swapon": Call(167, 224, "SYS_ADMIN"),
    "syslog": Call(103, 116, "SYSLOG"),
    "sysfs": Call(139, None),
    "tuxcall": Call(184, None),
    "umount2": Call(166, 39, "SYS_ADMIN"),
    "unshare": Call(272, 97, "SYS_ADMIN"),
    "uselib": Call(134, None),
    "userfaultfd": Call(323, 282, "SYS_PTRACE"),
    "ustat": Call(136, None),
    "vhangup": Call(153, 58, "SYS_TTY_CONFIG"),
    "vserver": Call(236, None),
}
_CLONE = Call(56, 220, "SYS_ADMIN")
_CLONE3 = Call(435, 435, "SYS_ADMIN")  # its flags are behind a pointer, so libc must fall back to clone
_PERSONALITY = Call(135, 92)
_SOCKET = Call(41, 198)

_ALLOW, _EPERM, _ENOSYS = "allow", "eperm", "enosys"
_CHECK_CLONE, _CHECK_PERSONALITY, _CHECK_SOCKET = "clone", "personality", "socket"


class _Instruction(NamedTuple):
    code: int
    k: int
    true: str | None = None  # labels; None: the next instruction
    false: str | None = None


class _Range(NamedTuple):
    """From this number up to the next range's, all calls jump to the same label."""

    first: int
    answer: str


def build(machine: str, capabilities: Iterable[str]) -> bytes:
    """The program for a machine (as uname says) and for processes that may hold these capabilities.

    Raises KeyError for a machine that has no table here.
    """
    return _assemble([*_prologue(machine), *_search(_ranges(machine, frozenset(capabilities))), *_answers()])


def _prologue(machine: str) -> Iterator[_Instruction | str]:
    """Calls of another architecture (i386 on x86_64) would have other numbers: kill the process."""
    yield _Instruction(LD_W_ABS, ARCH)
    yield _Instruction(JMP_JEQ_K, AUDIT_ARCH[machine], None, "kill")
    yield _Instruction(LD_W_ABS, NUMBER)


def _ranges(machine: str, capabilities: frozenset[str]) -> list[_Range]:
    number: Callable[[Call], int | None] = (
        (lambda call: call.x86_64) if machine == "x86_64" else (lambda call: call.aarch64)
    )
    answers: dict[int | None, str] = {
        number(call): _EPERM for call in DENIED.values() if call.permitted_by not in capabilities
    }
    answers |= {number(_PERSONALITY): _CHECK_PERSONALITY, number(_SOCKET): _CHECK_SOCKET}
    if "SYS_ADMIN" not in capabilities:
        answers |= {number(_CLONE): _CHECK_CLONE, number(_CLONE3): _ENOSYS}
    ranges = [_Range(0, answers.get(0, _ALLOW))]
    for call in range(1, HIGHEST_KNOWN + 1):
        if (answer := answers.get(call, _ALLOW)) != ranges[-1].answer:
            ranges.append(_Range(call, answer))
    return [*ranges, _Range(HIGHEST_KNOWN + 1, _ENOSYS)]  # x32's numbers lie here too


def _search(ranges: list[_Range]) -> Iterator[_Instruction | str]:
    """A binary search tree of comparisons; the lower half follows its comparison, the upper has a label."""
    middle = len(ranges) // 2
    lower, upper = ranges[:middle], ranges[middle:]
    yield _Instruction(JMP_JGE_K, upper[0].first, _entry(upper), _entry(lower) if len(lower) == 1 else None)
    for half in (lower, upper):
        if len(half) > 1:
            yield _entry(half)
            yield from _search(half)


def _entry(ranges: list[_Range]) -> str:
    return ranges[0].answer if len(ranges) == 1 else f"{ranges[0].first} to {ranges[-1].first}"


def _answers() -> Iterator[_Instruction | str]:
    yield _CHECK_CLONE
    yield _Instruction(LD_W_ABS, ARG0)
    yield _Instruction(JMP_JSET_K, _NAMESPACE_FLAGS, _EPERM, _ALLOW)
    yield _CHECK_SOCKET
    yield _Instruction(LD_W_ABS, ARG0)
    yield from (_Instruction(JMP_JEQ_K, family, _EPERM) for family in _REFUSED_FAMILIES[:-1])
    yield _Instruction(JMP_JEQ_K, _REFUSED_FAMILIES[-1], _EPERM, _ALLOW)
    yield _CHECK_PERSONALITY
    yield _Instruction(LD_W_ABS, ARG0)
    yield from (_Instruction(JMP_JEQ_K, persona, _ALLOW) for persona in _PERSONALITIES)
    yield _EPERM
    yield _Instruction(RET_K, ERRNO | EPERM)
    yield _ALLOW
    yield _Instruction(RET_K, ALLOW)
    yield _ENOSYS
    yield _Instruction(RET_K, ERRNO | ENOSYS)
    yield "kill"
    yield _Instruction(RET_K, KILL_PROCESS)


def _assemble(lines: list[_Instruction | str]) -> bytes:
    """Labels become forward distances, at most 255 (struct sock_filter has one byte for each)."""
    places: dict[str, int] = {}
    instructions: list[_Instruction] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(instructions)
        else:
            instructions.append(line)

    def distance(here: int, label: str | None) -> int:
        return 0 if label is None else places[label] - here - 1

    return b"".join(
        struct.pack("=HBBI", one.code, distance(here, one.true), distance(here, one.false), one.k)
        for here, one in enumerate(instructions)
    )
