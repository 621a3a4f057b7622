"""`netfab lab --uplink`: Internet access for a sandbox that changes nothing on the machine.

slirp4netns(1) is a NAT in a user process: what it sends for the sandbox comes from ordinary sockets of
this machine. Needs no root; ends with the process that started it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from netfab.errors import NetfabError
from netfab.system import linux

DEVICE, MTU = "eth0", 1500
NAMESERVER = "10.0.2.3"  # where slirp4netns forwards to this machine's resolver
PROGRAMS = ("/usr/bin/slirp4netns", "/usr/local/bin/slirp4netns")
# It parses untrusted packets, so its system calls are filtered, and of our files it sees only /etc and /run.
_CONFINED = ("--enable-sandbox", "--enable-seccomp")
_RESOLV_CONF = "/etc/resolv.conf"
_OURS = "/run/resolv.conf"  # the sandbox's own /run


def program() -> str:
    """The path of slirp4netns. Raises NetfabError."""
    for path in PROGRAMS:
        if os.access(path, os.X_OK):
            return path
    raise NetfabError("--uplink: slirp4netns is not there", hint="apt install slirp4netns")


@contextmanager
def way_out(pid: int) -> Iterator[None]:
    """Within this, the network namespace of process `pid` has an interface with a default route.

    Raises NetfabError.
    """
    ready, telling = os.pipe()
    ending, holding = os.pipe()  # it ends when the last holder of the other end does
    options = ["--configure", f"--mtu={MTU}", "--disable-host-loopback", *_CONFINED]
    fds = [f"--ready-fd={telling}", f"--exit-fd={ending}"]
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(
        [program(), *options, *fds, str(pid), DEVICE],
        stdin=nowhere, stdout=nowhere, stderr=subprocess.PIPE, pass_fds=(telling, ending), env={},
    )  # fmt: skip
    os.close(telling)
    os.close(ending)
    try:
        with open(ready, "rb") as pipe:
            if not pipe.read(1):
                _, told = process.communicate()
                said = "; ".join(told.decode(errors="replace").split("\n")).strip("; ")
                raise NetfabError(f"--uplink: slirp4netns: {said or 'it ended'}")
        yield
    finally:
        os.close(holding)
        process.wait()


def use_its_resolver() -> None:
    """Point the resolver of this process's sandbox to NAMESERVER. Raises OSError."""
    with open(_OURS, "w") as file:
        file.write(f"nameserver {NAMESERVER}\n")
    path = os.path.realpath(_RESOLV_CONF)
    if path.startswith("/run/"):  # a link into a resolver's directory, which the sandbox lacks
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileExistsError):
            os.link(_OURS, path)
    elif os.path.exists(path):
        linux.mount(_OURS, path, flags=linux.MS_BIND)
