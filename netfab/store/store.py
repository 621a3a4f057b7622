"""What outlives a process: fabrics, their leases, and what was last applied.

The interface; sqlite.py is one implementation, public.py the reading half of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from netfab.plan.facts import HeldSubnet, Lease

# What the reading of something damaged raises, which was JSON of ours.
NO_SENSE = ValueError, TypeError, LookupError, AttributeError, RecursionError


class Record(NamedTuple):
    """One fabric that was applied.

    The last three are JSON: its last desired objects, what status shows, and the commands to be run in nodes
    without a program when they are made.
    """

    name: str
    file: str  # absolute path, "-" for standard input
    user: int  # id of who applied it
    desired: str
    summary: str
    commands: str = "{}"


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

    def borrowed(self, besides: str) -> dict[str, str]:
        """Sysctls of the host that other fabrics borrow: key -> what it was before the first of them."""

    def claim(self, fabric: str, wants: Iterable[Lease]) -> None:
        """Hold these too.

        Raises LeaseConflict, and holds nothing new, when another fabric has an overlapping subnet or the
        same published port.
        """

    def commit(self, record: Record, wants: Iterable[Lease]) -> None:
        """The fabric was applied: keep its record, and exactly these leases."""

    def forget(self, fabric: str) -> None:
        """The fabric is gone: so are its record and leases."""

    def close(self) -> None:
        """Let go of the file."""
