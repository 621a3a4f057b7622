"""What netfab's process may do as root: in a container that is often not everything."""

from __future__ import annotations

from struct import pack

from netfab.system import process
from netfab.system.calls import at_once

# Bits of capabilities(7) that creating networks and starting programs requires.
NEEDED = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "MKNOD": 27,
}
_FILTERED = "2"  # SECCOMP_MODE_FILTER, in /proc/PID/status
_ALLOW = pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET, SECCOMP_RET_ALLOW


def lacking() -> list[str]:
    """The capabilities that this process needs and lacks."""
    effective = int(_status("CapEff"), 16)
    return [name for name, bit in NEEDED.items() if not effective >> bit & 1]


def is_filtered() -> bool:
    """Whether this process has a seccomp filter, which its programs would inherit."""
    return _status("Seccomp") == _FILTERED


def set_a_filter() -> None:
    """Set a seccomp filter, as for nodes' programs, but one that allows everything. Raises OSError."""
    at_once(process.forbid_new_privileges)
    at_once(process.set_seccomp_filter, _ALLOW)


def _status(key: str) -> str:
    with open("/proc/self/status") as file:
        return next(line.partition(":")[2].strip() for line in file if line.startswith(f"{key}:"))
