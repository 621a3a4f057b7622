"""Open vSwitch, by its own program: what bridges it has, and one transaction to change them (ovs-vsctl(8)).

What its rows mean is objects/ovsdb.py's business.
"""

from __future__ import annotations

import os
from _signal import SIGALRM  # `signal` takes 0.5 ms
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import EIO, ENOENT, ETIMEDOUT
from time import monotonic
from typing import TYPE_CHECKING

from netfab.errors import NoAnswer, Unsupported
from netfab.kernel.netlink import Netlink
from netfab.system.descriptors import LOCKS

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from netfab.objects.ovsdb import Switch

PROGRAMS = ("/usr/bin/ovs-vsctl", "/usr/local/bin/ovs-vsctl")
DIRECTORY = "/run/openvswitch"  # of its daemons' sockets
DATABASE = f"{DIRECTORY}/db.sock"
TIMEOUT = 10  # seconds for an answer
_AGAIN = 1  # second, if it gave none before: a command reads several times
_REMEMBERED = 60.0  # seconds to remember that it gave none
CHECKSUMS = "userspace-tso-enable"  # which also makes it compute checksums
_NETLINK_GENERIC, _GENL_ID_CTRL, _GETFAMILY, _FAMILY_NAME = 16, 16, 3, 2  # linux/genetlink.h
_FAMILY = b"ovs_datapath\0"  # linux/openvswitch.h
_silent_until = 0.0
_NOT_SET_UP = "Error detected while setting up"  # of a row that it keeps; the exit status is 0


def read() -> tuple[Switch, ...] | None:
    """Its bridges; None if it does not run. Raises NoAnswer if its answer is missing or invalid."""
    global _silent_until
    if not os.path.exists(DATABASE):
        return None
    from netfab.kernel import daemon
    from netfab.objects.ovsdb import COLUMNS, switches

    if not daemon.listens(DATABASE):  # a socket that was left behind
        return None

    tables = [
        word
        for table, columns in COLUMNS.items()
        for word in ("--", f"--columns={','.join(columns)}", "list", table)
    ]
    was_silent = monotonic() < _silent_until
    patience = _AGAIN if was_silent else TIMEOUT
    ran = _run(("--format=json", *tables), seconds=patience)
    if ran is not None and ran.returncode == -SIGALRM:
        if not was_silent:
            _silent_until = monotonic() + _REMEMBERED
        raise NoAnswer(DATABASE, f"gives no answer within {patience} s")
    if ran is None or ran.returncode:
        return None
    try:
        return switches(ran.stdout)
    except (ValueError, LookupError, TypeError) as error:
        raise NoAnswer(DATABASE, f"gives an invalid answer: {error!r}") from error


def change(commands: Iterable[Sequence[str]], ends: bool = False) -> None:
    """Carry out one transaction, and wait until it takes effect. Raises OSError with Open vSwitch's message.

    `ends`: only deletes, which take effect at once even if the switching process does not run.
    """
    words = [word for command in commands for word in ("--", *command)]
    ran = _run(("--no-wait", *words) if ends and not lives() else words, tuple(LOCKS))
    if ran is None:
        raise OSError(ENOENT, "there is no Open vSwitch")
    told = ran.stderr.partition("\n")[0].removeprefix("ovs-vsctl: ")
    if ran.returncode < 0:
        raise OSError(ETIMEDOUT, f"Open vSwitch gave no answer within {TIMEOUT} s")
    if ran.returncode or (_NOT_SET_UP in told and not ends):
        raise OSError(EIO, told or f"ovs-vsctl ended with status {ran.returncode}")


def lives() -> bool:
    """Whether the switching process (ovs-vswitchd) runs: it listens."""
    from netfab.kernel import daemon

    with suppress(OSError):
        names = [each for each in os.listdir(DIRECTORY) if each.startswith("ovs-vswitchd.")]
        return any(daemon.listens(f"{DIRECTORY}/{name}") for name in names if name.endswith(".ctl"))
    return False


def refuse_absent(what: str) -> None:
    """Raises Unsupported if Open vSwitch, which `what` needs, does not run."""
    if _program() and os.path.exists(DATABASE) and lives():
        return
    hint = "start it: `systemctl start openvswitch-switch`" if _program() else "install openvswitch-switch"
    raise Unsupported(
        f"{what}: Open vSwitch does not run here",
        hint=f"{hint}; or a Linux bridge, whose name begins with br",
    )


def datapath() -> str:
    """The datapath of new bridges: `system`, in the kernel; `netdev`, in a process, if that lacks the module.

    "" if the process would pass no TCP between veths, whose checksums are left to hardware, as it is not
    set to compute them (measured with 3.1).
    """
    if _in_kernel():
        return "system"
    ran = _run(("--", "--if-exists", "get", "Open_vSwitch", ".", f"other_config:{CHECKSUMS}"))
    return "netdev" if ran is not None and "true" in ran.stdout else ""


def _in_kernel() -> bool:
    """Whether the kernel has its module, or can load it."""
    netlink = Netlink(_NETLINK_GENERIC)
    attr = (4 + len(_FAMILY)).to_bytes(2, "little") + _FAMILY_NAME.to_bytes(2, "little") + _FAMILY
    try:
        netlink.get(_GENL_ID_CTRL, bytes((_GETFAMILY, 1, 0, 0)) + attr + bytes(-len(attr) % 4))
    except OSError:
        return False
    finally:
        netlink.close()
    return True


def _program() -> str:
    return next((path for path in PROGRAMS if os.access(path, os.X_OK)), "")


def _run(
    words: Sequence[str], holds: tuple[int, ...] = (), seconds: int = TIMEOUT
) -> CompletedProcess[str] | None:
    """None without such a program. `holds`: locks that it keeps until it ends."""
    import subprocess

    if not (program := _program()):
        return None
    return subprocess.run(
        [program, f"--timeout={seconds}", *words],
        env={"LC_ALL": "C", "OVS_RUNDIR": DIRECTORY},
        stdin=subprocess.DEVNULL,
        pass_fds=holds,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
