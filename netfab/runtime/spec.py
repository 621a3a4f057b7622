"""What one container is: the description that is stored, compared, and turned into a process.

Pure data. Everything that confinement takes for granted is here too, as data: which capabilities, devices,
masked and read-only paths a container gets (those of Docker, or stricter). How any of it is done is for the
other files.
"""

from __future__ import annotations

from functools import cache

from netfab import TYPE_CHECKING
from netfab.errors import NetfabError
from netfab.system import json
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from typing import Any


class Mount(NamedTuple):
    """A path of the host shown inside. Both paths are absolute."""

    source: str
    target: str
    read_only: bool = False


class File(NamedTuple):
    """A file written into the container's private layer at every start."""

    path: str
    content: str
    mode: int = 0o644
    owner: str = ""  # user[:group], names or numbers of the container; "": root


class Spec(NamedTuple):
    """One container. Specs are equal if a process started for one also satisfies the other."""

    fabric: str
    name: str
    argv: tuple[str, ...]
    image: str = "host"  # or an image's id, `sha256:…`; or a directory's absolute path
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""  # user[:group], names or numbers of the container; "": root
    workdir: str = "/"
    read_only: bool = False  # its root; not what is mounted on it
    init: bool = False  # process 1 is an init of the host's, which reaps and passes signals on
    stop_signal: str = ""  # SIGQUIT, or a number; "": SIGTERM
    hostname: str = ""  # "": the name
    mounts: tuple[Mount, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    memory: int | None = None  # bytes
    cpus: float | None = None
    pids: int | None = None
    restart: str = "no"  # no | always | on-failure[:N] | unless-stopped
    netns: str = ""  # path of its network namespace: for restarts by a supervisor that has it not open
    hosts_file: str = ""  # shown as /etc/hosts
    resolv_conf: str = ""  # shown as /etc/resolv.conf
    files: tuple[File, ...] = ()
    exec: tuple[tuple[str, ...], ...] = ()  # commands run after the start with all capabilities
    # The caller's, stored so that it reads back what it asked for; nothing here uses these.
    ready: tuple[tuple[Any, ...], ...] = ()  # ready.Probe's fields
    addresses: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    terminal: bool = False  # 0, 1 and 2 are one terminal; its output is logged
    stdin: str = ""  # "": /dev/null; once: a pipe that ends with its writer; open: one that never ends
    separate: bool = False  # standard error has a log of its own
    remove: bool = False  # remove everything of it when it has ended
    uses: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line, in the order of the fields; defaults are left out."""
        return json.dumps(
            {key: value for key, value in self._asdict().items() if value != _DEFAULTS.get(key)}
        )

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """The inverse of to_json."""
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Spec:
        """From parsed JSON, whose lists become tuples again."""
        plain = {key: _tuple(value) for key, value in fields.items() if key in cls._fields}
        plain["mounts"] = tuple(Mount(*mount) for mount in plain.get("mounts", ()))
        plain["files"] = tuple(File(*file) for file in plain.get("files", ()))
        return cls(**plain)

    @property
    def changeable(self) -> Spec:
        """This spec without what can change at run time: if two are equal, no new process is needed."""
        return self._replace(
            memory=None, cpus=None, pids=None, restart="no", ready=(), addresses=(), depends_on=(), uses=()
        )


_DEFAULTS = Spec("", "", ())._asdict() | {"fabric": None, "name": None, "argv": None}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value


DEFAULT_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

CAPABILITIES = {  # linux/capability.h
    name: number
    for number, name in enumerate(
        [
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "LINUX_IMMUTABLE",
            "NET_BIND_SERVICE",
            "NET_BROADCAST",
            "NET_ADMIN",
            "NET_RAW",
            "IPC_LOCK",
            "IPC_OWNER",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_CHROOT",
            "SYS_PTRACE",
            "SYS_PACCT",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_NICE",
            "SYS_RESOURCE",
            "SYS_TIME",
            "SYS_TTY_CONFIG",
            "MKNOD",
            "LEASE",
            "AUDIT_WRITE",
            "AUDIT_CONTROL",
            "SETFCAP",
            "MAC_OVERRIDE",
            "MAC_ADMIN",
            "SYSLOG",
            "WAKE_ALARM",
            "BLOCK_SUSPEND",
            "AUDIT_READ",
            "PERFMON",
            "BPF",
            "CHECKPOINT_RESTORE",
        ]
    )
}

# Docker's fourteen without MKNOD: every file system of the container is `nodev` or read-only.
DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)


def capabilities_of(spec: Spec) -> frozenset[str]:
    """The default capabilities plus cap_add minus cap_drop; ALL is every one. Dropping ALL leaves cap_add.

    Raises NetfabError for an unknown name.
    """
    added, dropped = _capabilities(spec.cap_add), _capabilities(spec.cap_drop)
    if len(dropped) == len(CAPABILITIES):
        return added
    return (DEFAULT_CAPABILITIES | added) - dropped


def _capabilities(words: tuple[str, ...]) -> frozenset[str]:
    names = {word.upper().removeprefix("CAP_") for word in words}
    if "ALL" in names:
        return frozenset(CAPABILITIES)
    for name in names - CAPABILITIES.keys():
        raise NetfabError(f"there is no capability {name}")
    return frozenset(names)


class Restart(NamedTuple):
    """A restart policy, parsed."""

    kind: str
    limit: int = 0  # on-failure: most restarts; 0: no limit

    @classmethod
    @cache
    def parse(cls, text: str) -> Restart:
        """`on-failure:3` → on-failure, 3. Raises ValueError."""
        kind, _, limit = text.partition(":")
        if kind not in ("no", "always", "on-failure", "unless-stopped") or (limit and kind != "on-failure"):
            raise ValueError(text)
        return cls(kind, int(limit) if limit else 0)

    def wants(self, exit_code: int | None, restarts: int) -> bool:
        """Whether a process that exited with this code is restarted. None: unknown, so no success."""
        if self.kind == "on-failure":
            return exit_code != 0 and (not self.limit or restarts < self.limit)
        return self.kind != "no"


# Programs for `init`, the first that the host has; Docker and Podman ship the same ones.
INIT_PROGRAMS = ("/usr/bin/tini-static", "/usr/bin/docker-init", "/usr/bin/catatonit")
INIT = "init"  # its name in the container's /dev

DEVICES = (  # name, major, minor; mode 0666
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
    ("console", "null"),  # for programs that need one; the host's own is not shown
)

MASKED_IN_PROC = tuple(
    [
        "acpi",
        "asound",
        "interrupts",
        "kcore",
        "keys",
        "latency_stats",
        "sched_debug",
        "scsi",
        "timer_list",
        "timer_stats",
    ]
)
MASKED_IN_SYS = ("firmware", "devices/virtual/powercap")
MASKED_IN_EACH_CPU = "thermal_throttle"  # below /sys/devices/system/cpu/cpuN
READ_ONLY_IN_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")

# Of the host's root, what `image: host` hides: directories appear empty, files absent.
HIDDEN_DIRECTORIES = (("/root", 0o700), ("/run", 0o755), ("/tmp", 0o1777), ("/var/tmp", 0o1777))
HIDDEN_FILES = ("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-")
HOST_KEYS = ("/etc/ssh", "ssh_host_")  # a directory, and a prefix of names in it
