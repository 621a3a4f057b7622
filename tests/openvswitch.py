"""A real Open vSwitch in the network and mount namespace that the caller is in; it switches by itself.

With /run and /var/lib of its own (netfab.hosts.sandbox) it stands where netfab looks for it. Its bridges need
no module of the kernel (docs.openvswitch.org/en/latest/intro/install/userspace).
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from managers import ENVIRONMENT, run, until

from netfab.kernel.openvswitch import CHECKSUMS, DATABASE, DIRECTORY, lives

_STORED = Path("/var/lib/openvswitch/conf.db")
_RUNNING: list[subprocess.Popen[bytes]] = []


def start() -> None:
    """Start it, and wait until it answers."""
    for directory in (Path(DIRECTORY), _STORED.parent):
        directory.mkdir(exist_ok=True)
    run("ovsdb-tool", "create", _STORED, "/usr/share/openvswitch/vswitch.ovsschema")
    _started("ovsdb-server", f"--remote=punix:{DATABASE}", f"--pidfile={DIRECTORY}/ovsdb-server.pid", _STORED)
    until(lambda: Path(DATABASE).exists(), "its database listens")
    vsctl("--no-wait", "set", "Open_vSwitch", ".", f"other_config:{CHECKSUMS}=true")
    start_switching()


def start_switching() -> None:
    """Start the process that switches."""
    _started("ovs-vswitchd", f"--pidfile={DIRECTORY}/ovs-vswitchd.pid", f"unix:{DATABASE}")
    until(lives, "it switches")


def _started(program: str, *words: str | Path) -> None:
    quiet = "-vconsole:off", "-vsyslog:off"
    _RUNNING.append(subprocess.Popen((f"/usr/sbin/{program}", *quiet, *words), env=ENVIRONMENT))


def stop_switching() -> None:
    """End the process that switches."""
    _ended(_RUNNING.pop())


@contextmanager
def silent() -> Iterator[None]:
    """Its database listens, and says nothing."""
    _RUNNING[0].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        _RUNNING[0].send_signal(signal.SIGCONT)


def stop() -> None:
    """End what was started here, if anything was."""
    while _RUNNING:
        _ended(_RUNNING.pop())


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def vsctl(*words: str) -> str:
    """What ovs-vsctl prints."""
    return run("/usr/bin/ovs-vsctl", "--timeout=20", *words)
