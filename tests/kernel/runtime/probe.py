"""What a program finds itself in, as data: run by two runtimes on the same root file system, and compared.

Standard library only: it runs in a container.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource

LIBC = ctypes.CDLL(None, use_errno=True)
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
    "/sys/devices/virtual/powercap", "/sys/devices/system/cpu/cpu0/thermal_throttle",
)  # fmt: skip
READ_ONLY = (
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys", "/sys/fs/cgroup",
)  # fmt: skip
LIMITS = ("RLIMIT_NOFILE", "RLIMIT_CORE")
# Name, and its number on x86_64 and aarch64; called with -1 as every argument, which does no harm.
CALLS = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "chroot": (161, 51),
    "clock_settime": (227, 112), "clone3": (435, 435), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "finit_module": (313, 273), "fsmount": (432, 432), "fsopen": (430, 430),
    "get_mempolicy": (239, 236), "init_module": (175, 105), "io_uring_setup": (425, 425),
    "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219),
    "landlock_create_ruleset": (444, 444), "mbind": (237, 235), "memfd_create": (319, 279),
    "migrate_pages": (256, 238), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "open_by_handle_at": (304, 265), "open_tree": (428, 428), "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438), "pivot_root": (155, 41), "process_madvise": (440, 440),
    "process_vm_readv": (310, 270), "ptrace": (101, 117), "quotactl": (179, 60), "reboot": (169, 142),
    "request_key": (249, 218), "setns": (308, 268), "settimeofday": (164, 170), "swapon": (167, 224),
    "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}  # fmt: skip


def status() -> dict[str, str]:
    """/proc/self/status, the rows about rights."""
    with open("/proc/self/status", encoding="utf-8") as file:
        rows = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {key: rows[key] for key in rows if key.startswith(("Cap", "NoNewPrivs", "Seccomp"))}


def errno_of(number: int) -> int:
    """What a call answers; 0 where it succeeds."""
    ctypes.set_errno(0)
    return ctypes.get_errno() if LIBC.syscall(number, *[-1] * 6) == -1 else 0


def size(path: str) -> int | None:
    """How much can be read, at most 1; of a directory how many names; None where there is nothing."""
    try:
        if os.path.isdir(path):
            return len(os.listdir(path))
        with open(path, "rb") as file:
            return len(file.read(1))
    except FileNotFoundError:
        return None
    except OSError:
        return 0


def writable(path: str) -> bool:
    """Whether the file system says so there."""
    return os.path.exists(path) and not os.statvfs(path).f_flag & os.ST_RDONLY


def main() -> None:
    """Print it all."""
    descriptors = sorted(os.listdir("/proc/self/fd"))
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = {line.split()[1]: line.split()[3].split(",") for line in file}
    column = 0 if platform.machine() == "x86_64" else 1
    found = {
        "status": status(),
        "mounts": mounts,
        "masked": {path: size(path) for path in MASKED},
        "writable": [path for path in READ_ONLY if writable(path)],
        "dev": sorted(entry.name for entry in os.scandir("/dev") if not entry.is_symlink()),
        "descriptors": descriptors,
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
        "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES},
        "calls": {name: errno_of(numbers[column]) for name, numbers in CALLS.items()},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
