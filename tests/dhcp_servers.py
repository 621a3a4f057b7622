"""DHCP servers of tests, and what they and their clients leave: processes, which no namespace ends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from netfab.guests import dhcp

_RUN = Path("/run/netfab")


def serving(namespace: str, leases: Path, first: str, last: str) -> subprocess.Popen[str]:
    """A real server in that namespace, which is ready, for these addresses."""
    command = [
        "ip", "netns", "exec", namespace, "dnsmasq", "--conf-file=/dev/null", "--port=0",
        "--keep-in-foreground", f"--dhcp-range={first},{last},2m", f"--dhcp-leasefile={leases}",
        "--no-ping", "--user=root", f"--pid-file={leases}.pid", "--dhcp-authoritative",
        "--log-facility=-",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "DHCP, IP range" not in process.stderr.readline():
        assert process.poll() is None
    return process


def end_clients() -> None:
    """Of all fabrics of the host where the caller is."""
    for directory in _RUN.glob("*/dhcp"):
        for file in directory.glob("*.json"):
            dhcp.stop(os.fspath(directory), file.stem)
