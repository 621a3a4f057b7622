"""Persistent state: fabrics, their leases, and what was last applied.

This is the interface; sqlite.py implements it, public.py its read-only half.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

from netfab.plan.leases import HeldSubnet, Lease
from netfab.tuples import NamedTuple

# The exceptions that parsing our own JSON raises if it is damaged.
NO_SENSE = ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError
NO_COMMANDS = "{}"
_BEGUN = ',"whole":false}'


class Record(NamedTuple):
    """An applied fabric.

    Three fields are JSON: the last desired objects, what status shows, and the commands for new nodes without
    a program. The last is the file as topology/kept.py keeps it.
    """

    name: str
    file: str  # absolute path, "-" for standard input
    user: int  # user ID of who applied it
    desired: str
    summary: str
    commands: str = NO_COMMANDS
    topology: str = ""  # "": unknown, as it was applied in parts or without a file

    @property
    def whole(self) -> bool:
        """Whether an apply ever completed; else the first one was killed, and left some of it."""
        return not self.desired.endswith(_BEGUN)

    def begun(self) -> Record:
        """The record as it is before the first apply completes."""
        return self._replace(desired=f'{{"name":{json.dumps(self.name)},"objects":[]{_BEGUN}')


class Part(NamedTuple):
    """What a host knows of a multi-host fabric, besides the record and leases of its part.

    `generation` counts the applies of the whole fabric, `transaction` is the last of them; `undecided` is
    the order that was begun and not committed, as JSON; empty if there is none.
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
        """The fabric's leases."""

    def held(self, besides: str) -> list[HeldSubnet]:
        """Subnet leases of all other fabrics."""

    def published(self, besides: str) -> dict[str, str]:
        """Ports of the host that other fabrics publish: tcp/*/8080 -> fabric."""

    def vnis(self, besides: str) -> dict[int, str]:
        """VNIs of other fabrics: VNI -> fabric."""

    def bridges(self, besides: str) -> dict[str, str]:
        """Bridges that other fabrics made or claim: name -> "network NETWORK of fabric FABRIC"."""

    def borrowed(self, besides: str) -> dict[str, str]:
        """Sysctls of the host that other fabrics borrow: key -> its value before the first of them."""

    def contents(self) -> list[tuple[str | int, ...]]:
        """Everything that plans depend on, as rows that differ whenever it does."""

    def claim(self, fabric: str, claims: Iterable[Lease]) -> None:
        """Claim these, in addition.

        Raises LeaseConflict, and claims nothing, if another fabric has an overlapping subnet, the
        same published port, or a bridge of that name.
        """

    def commit(self, record: Record, claims: Iterable[Lease], part: Part | None = None) -> None:
        """The fabric was applied: store its record, exactly these leases, and `part`."""

    def part(self, fabric: str) -> Part | None:
        """For a fabric over several hosts, what is stored about this host's part."""

    def keep_part(self, fabric: str, part: Part) -> None:
        """Store that, and leave record and leases as they are."""

    def forget(self, fabric: str) -> None:
        """The fabric is gone: delete its record and leases."""

    def close(self) -> None:
        """Close the file."""
