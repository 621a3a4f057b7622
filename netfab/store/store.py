"""What outlives a process: fabrics, their leases, and what was last applied.

The interface; sqlite.py is one implementation, public.py the reading half of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

from netfab.plan.leases import HeldSubnet, Lease
from netfab.tuples import NamedTuple

# What the reading of something damaged raises, which was JSON of ours.
NO_SENSE = ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError
NO_COMMANDS = "{}"
_BEGUN = ',"whole":false}'


class Record(NamedTuple):
    """One fabric that was applied.

    Three are JSON: its last desired objects, what status shows, and the commands to be run in nodes without
    a program when they are made. The last is what topology/kept.py keeps of the file.
    """

    name: str
    file: str  # absolute path, "-" for standard input
    user: int  # id of who applied it
    desired: str
    summary: str
    commands: str = NO_COMMANDS
    topology: str = ""  # unknown: applied in parts, or by the words of a command

    @property
    def whole(self) -> bool:
        """Whether it was ever applied to its end; else its first apply was killed, and left some of it."""
        return not self.desired.endswith(_BEGUN)

    def begun(self) -> Record:
        """The record before the first apply has come to its end."""
        return self._replace(desired=f'{{"name":{json.dumps(self.name)},"objects":[]{_BEGUN}')


class Part(NamedTuple):
    """What a host knows of a fabric of which it has a part, besides the part's record and leases.

    `generation` counts the applies to the whole fabric, `transaction` is the last of them; `undecided` is
    what was begun and never committed, JSON, and empty when there is no such.
    """

    host: str
    generation: int
    transaction: str
    undecided: str = ""


class Store(Protocol):
    """All writes are transactions; every method raises StoreError."""

    def record(self, fabric: str) -> Record | None:
        """What was last applied under that name."""

    def records(self) -> list[Record]:
        """All fabrics, by name."""

    def leases(self, fabric: str) -> frozenset[Lease]:
        """What the fabric holds."""

    def held(self, besides: str) -> list[HeldSubnet]:
        """Subnet leases of all other fabrics."""

    def published(self, besides: str) -> dict[str, str]:
        """Ports of the host that other fabrics publish: tcp/*/8080 -> fabric."""

    def vnis(self, besides: str) -> dict[int, str]:
        """VNIs of other fabrics: VNI -> fabric."""

    def bridges(self, besides: str) -> dict[str, str]:
        """Bridges that other fabrics made, or are about to: name -> "network NETWORK of fabric FABRIC"."""

    def borrowed(self, besides: str) -> dict[str, str]:
        """Sysctls of the host that other fabrics borrow: key -> what it was before the first of them."""

    def contents(self) -> list[tuple[str | int, ...]]:
        """All that anybody may plan from: rows that differ whenever it does."""

    def claim(self, fabric: str, claims: Iterable[Lease]) -> None:
        """Hold these too.

        Raises LeaseConflict, and holds nothing new, when another fabric has an overlapping subnet, the
        same published port, or a bridge of that name.
        """

    def commit(self, record: Record, claims: Iterable[Lease], part: Part | None = None) -> None:
        """The fabric was applied: keep its record, and exactly these leases; and what `part` says."""

    def part(self, fabric: str) -> Part | None:
        """Of a fabric that spans hosts, what is kept of this one's part."""

    def keep_part(self, fabric: str, part: Part) -> None:
        """Keep that, and leave record and leases as they are."""

    def forget(self, fabric: str) -> None:
        """The fabric is gone: so are its record and leases."""

    def close(self) -> None:
        """Let go of the file."""
