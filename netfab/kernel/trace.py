"""Which rule of nftables drops a packet, by the kernel's own trace (nft(8), `monitor trace`).

The rule that marks what is to be traced is in a table that belongs to the process that made it, and ends with
that (NFT_TABLE_F_OWNER, linux/netfilter/nf_tables.h): whatever happens, nothing of it stays.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from netfab.kernel.nft import program
from netfab.system.poll import readable
from netfab.tuples import NamedTuple

_TABLE = "netfab-why"
_PATIENCE = 5.0  # seconds for nft to start
_EARLY = -450  # before connection tracking's defragmentation, linux/netfilter_ipv4.h
_LINE = re.compile(
    r"trace id (?P<id>\S+) (?P<family>\S+) (?P<table>\S+) (?P<chain>\S+) "
    r"(?:(?:unknown )?rule (?P<rule>.*) \(verdict (?P<verdict>\w+)|policy (?P<policy>drop))"
)


class Match(NamedTuple):
    """What is traced: packets (`ip daddr 10.0.1.2`), and on bridges frames (`ether saddr MAC`)."""

    packets: str
    frames: str


class Dropped(NamedTuple):
    """Where a packet was dropped."""

    match: int  # index of the match that traced it
    family: str
    table: str
    chain: str
    rule: str  # as nft prints it; "" for the chain's policy


class Tracer:
    """Traces packets of the namespace in which it was started, while its processes live."""

    def __init__(self, told: int) -> None:
        self._told, self._read = told, b""

    def dropped(self) -> list[Dropped]:
        """For each match, where the first packet was dropped so far."""
        while readable([self._told], 0) and (part := os.read(self._told, 1 << 16)):
            self._read += part
        matches: dict[str, int] = {}  # by the id of a packet: the first match whose rule it hit
        ends: dict[int, Dropped] = {}
        for found in filter(None, map(_LINE.match, self._read.decode(errors="replace").splitlines())):
            if found["table"] == _TABLE:
                matches.setdefault(found["id"], int(found["chain"].rpartition("-")[2]))
            elif found["id"] in matches and (found["policy"] or found["verdict"] == "drop"):
                match = matches[found["id"]]
                where = found["family"], found["table"], found["chain"], found["rule"] or ""
                ends.setdefault(match, Dropped(match, *where))
        return [ends[match] for match in sorted(ends)]


@contextmanager
def tracing(matches: Sequence[Match]) -> Iterator[Tracer]:
    """Trace packets that match one of these in this thread's namespace.

    Raises Unsupported without nft.
    """
    with _running("-i") as marking, _running("monitor", "trace") as watching:
        _mark(marking, matches)
        assert watching.stdout is not None
        yield Tracer(watching.stdout.fileno())


@contextmanager
def _running(*words: str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [program(), *words],
        text=True,
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        env={"LC_ALL": "C"},
    )
    try:
        yield process
    finally:
        with suppress(OSError):
            process.kill()
        process.communicate()


def _mark(process: subprocess.Popen[str], matches: Sequence[Match]) -> None:
    """Add a chain for each match, which marks packets for tracing; return when it is in effect."""
    commands, answers = process.stdin, process.stdout
    assert commands is not None
    assert answers is not None
    with suppress(BrokenPipeError):  # it ended without a message
        commands.writelines(f"{command}\n" for command in (*_commands(matches), "list tables inet"))
        commands.flush()
    ready, said = f"table inet {_TABLE}".encode(), b""
    while ready not in said.splitlines() and readable([answers], _PATIENCE):
        part = os.read(answers.fileno(), 1 << 16)  # unbuffered: poll does not see what a buffer has taken
        if not part:
            return
        said += part


def _commands(matches: Sequence[Match]) -> Iterator[str]:
    for family, hooks in (("inet", ("prerouting", "output")), ("bridge", ("prerouting",))):
        yield f"add table {family} {_TABLE} {{ flags owner; }}"
        for number, match in enumerate(matches):
            what = match.packets if family == "inet" else match.frames
            for hook in hooks:
                chain = f"{hook}-{number}"
                yield f"add chain {family} {_TABLE} {chain} {{ type filter hook {hook} priority {_EARLY}; }}"
                yield f"add rule {family} {_TABLE} {chain} {what} meta nftrace set 1"
