"""Which rule of nftables drops a packet, by the kernel's own trace (nft(8), `monitor trace`).

The rule that marks what is to be traced is in a table that belongs to the process that made it, and ends with
that (NFT_TABLE_F_OWNER, linux/netfilter/nf_tables.h): whatever happens, nothing of it stays.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from netfab.kernel.nft import program
from netfab.tuples import NamedTuple

_TABLE = "netfab-why"
_PATIENCE = 5.0  # seconds for nft to begin
_EARLY = -450  # before connection tracking's defragmentation, linux/netfilter_ipv4.h
_LINE = re.compile(
    r"trace id \S+ (?P<family>\S+) (?P<table>\S+) (?P<chain>\S+) "
    r"(?:rule (?P<rule>.*) \(verdict drop\)|policy (?P<policy>drop))"
)


class Dropped(NamedTuple):
    """Where a packet ended."""

    family: str
    table: str
    chain: str
    rule: str  # as nft prints it; "" for the chain's policy


class Tracer:
    """Traces packets of the namespace in which it was begun, while its processes live."""

    def __init__(self, told: int) -> None:
        self._told, self._read = told, b""

    def fileno(self) -> int:
        """To wait with: readable when there is more to read."""
        return self._told

    def dropped(self) -> Dropped | None:
        """The end of the first packet that was dropped so far."""
        while select.select([self._told], [], [], 0)[0] and (part := os.read(self._told, 1 << 16)):
            self._read += part
        for line in self._read.decode(errors="replace").splitlines():
            if found := _LINE.match(line):
                return Dropped(found["family"], found["table"], found["chain"], found["rule"] or "")
        return None


@contextmanager
def tracing(packets: str, frames: str) -> Iterator[Tracer]:
    """Trace what matches in this thread's namespace: `ip daddr 10.0.1.2`, on bridges `ether saddr MAC`.

    Raises Unsupported without nft.
    """
    marking, watching = _started("-i"), _started("monitor", "trace")
    try:
        _mark(marking, packets, frames)
        assert watching.stdout is not None
        yield Tracer(watching.stdout.fileno())
    finally:
        for process in (watching, marking):
            with suppress(OSError):
                process.kill()
            process.communicate()


def _started(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [program(), *words],
        text=True,
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        env={"LC_ALL": "C"},
    )


def _mark(process: subprocess.Popen[str], packets: str, frames: str) -> None:
    """Return when what passes is marked."""
    commands, answers = process.stdin, process.stdout
    assert commands is not None
    assert answers is not None
    for family, match, hooks in (
        ("inet", packets, ("prerouting", "output")),
        ("bridge", frames, ("prerouting",)),
    ):
        commands.write(f"add table {family} {_TABLE} {{ flags owner; }}\n")
        for hook in hooks:
            kind = f"type filter hook {hook} priority {_EARLY};"
            commands.write(f"add chain {family} {_TABLE} {hook} {{ {kind} }}\n")
            commands.write(f"add rule {family} {_TABLE} {hook} {match} meta nftrace set 1\n")
    commands.write("list tables inet\n")
    commands.flush()
    while select.select([answers], [], [], _PATIENCE)[0] and answers.readline().split() != [
        "table",
        "inet",
        _TABLE,
    ]:
        pass
