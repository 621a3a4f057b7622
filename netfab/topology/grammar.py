"""Small grammars: names, ranges, numbers and units. Text in, value out; Wrong says what would be right.

Knows no key and no place in a file. Addresses are addresses.py's, sentences of several words phrases.py's.
Patterns are compiled when first used (`re` keeps them): all at once would cost every command some
milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from netfab.topology.schema import Etcd


class Wrong(ValueError):
    """An invalid text: the message quotes it and says what would be right."""


MAX_NAME: Final = 24
NAME: Final = r"[a-z][a-z0-9-]{0,23}"
INTERFACE: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}"  # IFNAMSIZ is 16 with its NUL (linux/if.h)
RANGE: Final = r"(.*?)([0-9]{1,9})\.\.([0-9]{1,9})"
NO_NODE_NAMES: Final = frozenset({"host", "none", "external", "internet"})
NO_FABRIC_NAMES: Final = frozenset({"default", "adhoc"})
NO_INTERFACE_NAMES: Final = frozenset({"lo", "all", "default"})
_MICROSECONDS: Final = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
MAX_DURATION: Final = 10**12  # microseconds, eleven days
MAX_RATE: Final = 10**14  # bits per second
MIN_MEMORY: Final = 6 << 20  # bytes; docker's
MAX_SIZE: Final = 2**49  # bytes; still exact as a float, as which sizes are parsed
_BITS: Final = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}  # tc(8): decimal
_BYTES: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}  # powers of two, as docker's
CAPABILITIES: Final = frozenset(  # capabilities(7)
    [
        "ALL",
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "WAKE_ALARM",
    ]
)


def shown(text: str) -> str:
    """A text made safe for errors: a raw control character would reach the terminal."""
    return text if text.isprintable() else repr(text)[1:-1]


def quoted(text: str) -> str:
    """A text quoted for errors, shortened if long."""
    return f"`{shown(text if len(text) <= 60 else text[:57] + '...')}`"


def name(text: str) -> str:
    """The name of a fabric, network, node, kind or host."""
    if re.fullmatch(NAME, text):
        return text
    proposal = proposed_name(text)
    raise Wrong(
        f"{quoted(text)} is not a valid name: at most {MAX_NAME} of a-z, 0-9 and `-`, a letter first"
        + (f"; `{proposal}` would be" if proposal else "")
    )


def proposed_name(text: str) -> str:
    """The nearest valid name, or ""."""
    letters = re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-0123456789")
    return letters[:MAX_NAME].rstrip("-")


def node_name(text: str) -> str:
    """A node's name. Raises Wrong, as every function here does."""
    if text in NO_NODE_NAMES:
        raise Wrong(f"{quoted(text)} has a meaning of its own and can't name a node")
    return name(text)


def fabric_name(text: str) -> str:
    """A fabric's name, which becomes part of paths and nft identifiers."""
    if text in NO_FABRIC_NAMES:
        raise Wrong(f"{quoted(text)} is reserved and can't name a fabric")
    return name(text)


def interface_name(text: str) -> str:
    """The name of an interface or a bridge; not `%`, a template to the kernel (dev_alloc_name)."""
    if not re.fullmatch(INTERFACE, text):
        raise Wrong(
            f"{quoted(text)} is not an interface's name: at most 15 of letters, digits, `_`, `.` and `-`, "
            "a letter or digit first"
        )
    if text in NO_INTERFACE_NAMES:
        raise Wrong(f"{quoted(text)} is a name that the kernel uses itself; choose another")
    return text


def vlan_id(interface: str) -> int | None:
    """N of an interface named BASE.N, which is VLAN N on interface BASE."""
    match = re.fullmatch(r".+\.([1-9][0-9]{0,3})", interface) if "." in interface else None
    return int(match[1]) if match and int(match[1]) <= 4094 else None


def tag_of(interface: str) -> tuple[str, int] | None:
    """(BASE, N) of an interface that is VLAN N on interface BASE; None for any other."""
    vlan = vlan_id(interface)
    return None if vlan is None else (interface.rpartition(".")[0], vlan)


def is_range(text: str) -> bool:
    """Whether it is a range of names: `leaf1..4`."""
    return ".." in text


def expanded(text: str) -> list[str]:
    """`leaf1..4` is leaf1 to leaf4, keeping leading zeros; a text without `..` is itself."""
    if not is_range(text):
        return [text]
    prefix, first, last = range_bounds(text)
    width = len(first) if first.startswith("0") else 0
    return [f"{prefix}{n:0{width}}" for n in range(int(first), int(last) + 1)]


def range_bounds(text: str) -> tuple[str, str, str]:
    """Prefix, first and last of a range, as written."""
    match = re.fullmatch(RANGE, text)
    if match is None:
        raise Wrong(f"{quoted(text)} is not a range; `leaf1..4` is leaf1, leaf2, leaf3, leaf4")
    prefix, first, last = match.groups()
    if int(first) > int(last):
        raise Wrong(f"{quoted(text)} counts backwards; write `{shown(prefix)}{last}..{first}`")
    return prefix, first, last


def range_length(text: str) -> int:
    """The number of names in a range, without making them."""
    if not is_range(text):
        return 1
    _, first, last = range_bounds(text)
    return int(last) - int(first) + 1


def trailing_number(name: str) -> int:
    """A node's `{n}`: the number at the end of its name, its number within a range or a scale; else 1."""
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits) if digits else 1


def whole(text: str, least: int, most: int) -> int:
    """A decimal number within bounds, without sign or leading zeros."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", text) or not least <= int(text) <= most:
        raise Wrong(f"{quoted(text)} is not a number from {least} to {most}")
    return int(text)


def port_number(text: str) -> int:
    """A TCP or UDP port."""
    return whole(text, 1, 65535)


def _measure(text: str, unit: str) -> tuple[float, str] | None:
    """A decimal number and its unit, lower case."""
    match = re.fullmatch(rf"([0-9]{{1,15}}(?:\.[0-9]{{1,9}})?|\.[0-9]{{1,9}})({unit})", text.lower())
    return (float(match[1]), match[2]) if match else None


def duration(text: str) -> int:
    """Microseconds of `20ms`, `1.5s`, `300us`, `2m`, `1h`; `0` needs no unit."""
    if text == "0":
        return 0
    measure = _measure(text, "us|ms|s|m|h")
    if measure is None or measure[0] * _MICROSECONDS[measure[1]] > MAX_DURATION:
        raise Wrong(f"{quoted(text)} is not a time; write a number with us, ms, s, m or h: `20ms`")
    return round(measure[0] * _MICROSECONDS[measure[1]])


def duration_text(microseconds: int) -> str:
    """The inverse: a whole number of the longest possible unit up to seconds: `60s`."""
    return _of_units(microseconds, {unit: _MICROSECONDS[unit] for unit in ("us", "ms", "s")}) or "0"


def seconds(text: str) -> float:
    """Seconds of `500ms`, `2s`, `1m`."""
    return duration(text) / 1e6


def rate(text: str) -> int:
    """Bits per second of `100mbit`, `1gbit`, `64kbit`."""
    measure = _measure(text, "|".join(_BITS))
    if measure is None or not 1 <= round(measure[0] * _BITS[measure[1]]) <= MAX_RATE:
        raise Wrong(
            f"{quoted(text)} is not a rate; write a number with bit, kbit, mbit, gbit or tbit: `100mbit`"
        )
    return round(measure[0] * _BITS[measure[1]])


def rate_text(bits: int) -> str:
    """The inverse, for display: `100mbit`."""
    return _of_units(bits, _BITS)


def share(text: str) -> int:
    """Parts per million of `1%`, `0.1%`."""
    measure = _measure(text, "%")
    if measure is None or measure[0] > 100:
        raise Wrong(f"{quoted(text)} is not a percentage; write a number from 0 to 100 with `%`: `1%`")
    return round(measure[0] * 10_000)


def share_text(millionths: int) -> str:
    """The inverse, for display: `1%`, `0.1%`."""
    return f"{decimal_text(millionths / 10_000, 4)}%"


def decimal_text(value: float, digits: int) -> str:
    """A number with at most that many decimals: `1.5`."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def size(text: str) -> int:
    """Bytes of `64m`, `1g`, `512k`, `1048576`; powers of two, as docker's."""
    measure = _measure(text, "[kmgt]?(?:i?b)?")
    value = round(measure[0] * 2 ** _BYTES[measure[1].rstrip("ib")]) if measure else 0
    if not 1 <= value <= MAX_SIZE:
        raise Wrong(f"{quoted(text)} is not a size; write a number with k, m or g: `64m`")
    return value


def memory(text: str) -> int:
    """Bytes of a program's memory limit: at least 6m, as in docker, since less starts nothing."""
    value = size(text)
    if value < MIN_MEMORY:
        raise Wrong(
            f"{quoted(text)} is too little to start a program; write `{size_text(MIN_MEMORY)}` or more"
        )
    return value


def size_text(size: int) -> str:
    """The inverse, for display: `64m`."""
    return _of_units(size, {unit: 1 << power for unit, power in _BYTES.items()})


def _of_units(value: int, units: Mapping[str, int]) -> str:
    """A whole number of the largest possible unit; units from the smallest. "" for 0."""
    fitting = [unit for unit, worth in units.items() if value and value % worth == 0]
    return f"{value // units[fitting[-1]]}{fitting[-1]}" if fitting else ""


def processors(text: str) -> float:
    """A number of processors: 0.5 is half of one."""
    measure = _measure(text, "")
    if measure is None or not 0.01 <= measure[0] <= 4096:
        raise Wrong(f"{quoted(text)} is not a number of CPUs; write `0.5` or `2`")
    return measure[0]


def capability(text: str) -> str:
    """NET_ADMIN of `NET_ADMIN`, `cap_net_admin`."""
    known = text.upper().removeprefix("CAP_")
    if known not in CAPABILITIES:
        raise Wrong(f"{quoted(text)} is not a capability; `NET_ADMIN` is one (capabilities(7))")
    return known


def file_mode(text: str) -> int:
    """A file mode, octal: `644`, `0644`, `0o644`."""
    if not re.fullmatch(r"(0o?)?[0-7]{3,4}", text):
        raise Wrong(f"{quoted(text)} is not a file mode; write it octal: `0644`")
    return int(text.removeprefix("0o"), 8)


def restart(text: str) -> str:
    """A restart policy, as written."""
    if re.fullmatch(r"no|always|unless-stopped|on-failure(:[1-9][0-9]{0,5})?", text):
        return text
    raise Wrong(
        f"{quoted(text)} is not one of `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`"
    )


def hostname(text: str) -> str:
    """A host's name (RFC 1123, section 2.1; 64 characters at most, linux/utsname.h)."""
    label = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if len(text) <= 64 and re.fullmatch(rf"{label}(\.{label})*", text):
        return text
    raise Wrong(f"{quoted(text)} is not a hostname: letters, digits, `-` and `.`, at most 64")


def user(text: str) -> str:
    """`name`, `1000`, `name:group`, `1000:1000`."""
    part = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}"
    if re.fullmatch(rf"{part}(:{part})?", text):
        return text
    raise Wrong(f"{quoted(text)} is not a user; write `www-data`, `1000` or `1000:1000`")


def sysctl(text: str) -> str:
    """A sysctl of a node's own namespaces, its key with dots: net.*, and the ipc ones (as docker allows)."""
    key = text.replace("/", ".")
    if re.fullmatch(
        r"(net|fs\.mqueue)(\.[A-Za-z0-9_-]+)+|kernel\.(msg(max|mnb|mni)|sem|shm(all|max|mni|_rmid_forced))",
        key,
    ):
        return key
    raise Wrong(f"{quoted(text)} is not a node's own; `net.*`, `fs.mqueue.*` and kernel's ipc sysctls are")


def variable(text: str) -> str:
    """An environment variable's name."""
    if text and "=" not in text and text.isprintable() and " " not in text:
        return text
    raise Wrong(f"{quoted(text)} is not a variable's name")


def store(text: str) -> Etcd | None:
    """Where leases and locks are kept; None: each host keeps its own."""
    if text == "sqlite":
        return None
    from netfab.topology.etcd import etcd

    return etcd(text)
