"""The addresses of one subnet: which a host may have, which are taken, and the lowest free one.

Pure. assign.py decides in which order leased, written and free addresses are taken.
"""

from __future__ import annotations

from typing import Literal

from netfab.errors import AddressTaken, PlanError, PoolExhausted
from netfab.topology.schema import Address, Prefix
from netfab.tuples import NamedTuple


class Assigned(NamedTuple):
    """An interface's address and subnet: an ipaddress.IPv4Interface that is cheaper to make."""

    ip: Address
    network: Prefix

    @property
    def version(self) -> Literal[4, 6]:
        """The address family."""
        return self.ip.version

    def __str__(self) -> str:
        return f"{self.ip}/{self.network.prefixlen}"


def usable(prefix: Prefix) -> tuple[int, int]:
    """First and last address that a node may have, as integers.

    IPv4 loses the network and the broadcast address, except on a /31 (RFC 3021) and a /32. IPv6 loses the
    subnet-router anycast address (RFC 4291, section 2.6.1), except on a /127 (RFC 6164) and a /128.
    """
    first = int(prefix.network_address)
    host_bits = prefix.max_prefixlen - prefix.prefixlen
    last = first + (1 << host_bits) - 1
    if host_bits <= 1:
        return first, last
    return first + 1, last - (prefix.version == 4)


class Addresses:
    """The holders of a subnet's addresses. Linear in takes and holds together.

    With a range (a prefix in the subnet) `take` gives addresses only from there; `hold` may name any.
    """

    def __init__(self, prefix: Prefix, range: Prefix | None = None) -> None:
        self.prefix = prefix
        self._range = range
        self._usable = usable(prefix)
        self._next, self._last = self._usable
        if range is not None:
            start = int(range.network_address)
            self._next = max(self._next, start)
            self._last = min(self._last, start + (1 << (range.max_prefixlen - range.prefixlen)) - 1)
        self._held: dict[int, str] = {}
        self._type: type[Address] = type(prefix.network_address)

    def fits(self, address: Address) -> bool:
        """Whether a node of the subnet may have it at all."""
        return address.version == self.prefix.version and self._usable[0] <= int(address) <= self._usable[1]

    def holder(self, address: Address) -> str:
        """Its holder; "" if it is free."""
        return self._held.get(int(address), "")

    def is_free(self, address: Address) -> bool:
        """Whether a node of the subnet could have it now."""
        return self.fits(address) and int(address) not in self._held

    def dynamic(self, address: Address) -> bool:
        """Whether `take` could give it."""
        return self._range is None or address in self._range

    def hold(self, address: Address, holder: str) -> None:
        """Hold that address for the holder.

        Raises AddressTaken if it is held, PlanError if no node of the subnet may have it.
        """
        if address not in self.prefix:
            raise PlanError(f"{address}, for {holder}, is not in {self.prefix}")
        number = int(address)
        if not self._usable[0] <= number <= self._usable[1]:
            role = "network" if number == int(self.prefix.network_address) else "broadcast"
            if self.prefix.version == 6:
                role = "subnet-router anycast"
            raise PlanError(f"{address}, for {holder}, is the {role} address of {self.prefix}")
        if number in self._held:
            raise AddressTaken(f"{address}, for {holder}, is held by {self._held[number]}")
        self._held[number] = holder

    def take(self, holder: str) -> Address:
        """The lowest free address, held from now on. Raises PoolExhausted."""
        while self._next in self._held:
            self._next += 1
        if self._next > self._last:
            raise self._exhausted(holder)
        self._held[self._next] = holder
        return self._type(self._next)

    def _exhausted(self, holder: str) -> PoolExhausted:
        if self._range is not None:
            return PoolExhausted(
                f"no free address for {holder} in range {self._range} of {self.prefix}",
                hint="widen `range`, or leave it out",
            )
        # One bit more doubles a subnet, except that a /30 holds no more nodes than a /31.
        bigger = self.prefix.prefixlen - (
            2 if self.prefix.version == 4 and self.prefix.prefixlen == 31 else 1
        )
        room = self._usable[1] - self._usable[0] + 1
        return PoolExhausted(
            f"no free address for {holder} in {self.prefix}, which has {room}",
            hint=f"`subnet: /{bigger}` plans a bigger one; a leased subnet never grows by itself",
        )
