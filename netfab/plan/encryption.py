"""ESP between the hosts of encrypted networks: the keys of each pair of hosts, and what uses them. Pure.

Keys are derived from the fabric's secret, and serve as long as the states that have them: these count their
packets, and a new state would begin at 1 while its peer has gone on. So each pair of hosts has an epoch
number, which is leased, and rises when a state of theirs is gone or was recreated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from netfab.errors import NetfabError, PlanError, Unsupported
from netfab.objects.base import Fabric, KernelObject
from netfab.objects.digest import digest
from netfab.objects.link import group_of
from netfab.objects.xfrm import FEATURE, IN, OUT
from netfab.objects.xfrm_policy import XfrmPolicy
from netfab.objects.xfrm_state import KEY, WINDOW, XfrmState, state_name
from netfab.plan.facts import Esp, Facts
from netfab.plan.leases import MOST_KEYS, Lease
from netfab.plan.tunnels import Tunnel
from netfab.topology.schema import Address, Topology
from netfab.tuples import NamedTuple

LEASE = "esp"
_ALL_UNDERWAY = 1 << 31  # more packets than can be in flight between a sending and a receiving host
_RESERVED = 256  # SPIs with meanings of their own; RFC 4303, section 2.1


class _Pair(NamedTuple):
    """Two hosts with common encrypted networks."""

    hosts: tuple[str, str]  # by name
    ends: Mapping[str, Address]
    ports: tuple[int, ...]  # UDP

    @property
    def key(self) -> str:
        return " ".join(self.hosts)

    def ways(self) -> Iterator[tuple[str, str]]:
        """From one to the other, and back."""
        yield self.hosts
        yield self.hosts[::-1]


def mixed(topology: Topology, tunnels: Mapping[str, Tunnel]) -> Iterator[PlanError]:
    """Encrypted and unencrypted networks between the same hosts on the same port: indistinguishable."""
    for (name, one), (other_name, other) in combinations(tunnels.items(), 2):
        shared = [host for host in one.ends if host in other.ends]
        if one.port == other.port and one.encrypted != other.encrypted and len(shared) > 1:
            secret, clear = (name, other_name) if one.encrypted else (other_name, name)
            yield PlanError(
                f"{secret} is encrypted and {clear} is not, and both go from {shared[0]} to {shared[1]}"
                f" by UDP port {one.port}",
                at=topology.networks[secret].at.of("encrypt"),
                hint=f"`vxlan: {{port: {one.port + 1}}}` for one of them, or `encrypt: true` for both",
            )


def unsupported(
    topology: Topology, tunnels: Mapping[str, Tunnel], facts: Mapping[str, Facts]
) -> Iterator[NetfabError]:
    """Hosts without ESP, and what ESP between two hosts does not support."""
    for name, tunnel in tunnels.items():
        at = topology.networks[name].at.of("encrypt")
        if tunnel.encrypted and tunnel.multicast:
            message = f"{name} is flooded by multicast, which keys of two hosts do not encrypt"
            yield Unsupported(message, at=at, hint="leave `control` out")
        for host in tunnel.ends if tunnel.encrypted else ():
            esp = facts[host].esp if host in facts else None
            if esp is not None and not esp.works:
                yield Unsupported(
                    f"{name} is encrypted, and {host}'s kernel lacks {FEATURE}",
                    at=at,
                    hint="`modprobe -a esp4 esp6` there, where these are modules; `netfab doctor` tries it",
                )


def agreed(
    topology: Topology,
    tunnels: Mapping[str, Tunnel],
    facts: Mapping[str, Facts],
    leases: Iterable[Lease],
    secret: bytes,
) -> frozenset[Lease]:
    """The number of the keys of each two hosts: the leased one while it serves, else the next.

    Of several leases of two hosts the one with the highest number counts. Hosts without facts, or not asked
    about ESP, do not count. Raises PlanError if a host reports a number that has no successor.
    """
    held: dict[str, tuple[int, str]] = {}
    for lease in leases:
        if lease.kind == LEASE:
            number, _, of_secret = lease.value.partition(" ")
            held[lease.key] = max(held.get(lease.key, (0, "")), (int(number), of_secret))
    name_of_secret = digest(b"netfab secret\0" + secret).hex()[:8]
    found = set()
    for pair in _pairs(tunnels):
        said = {host: facts[host].esp for host in pair.hosts if host in facts}
        esp = {host: one for host, one in said.items() if one is not None}
        epoch, of_secret = held.get(pair.key, (0, ""))
        if of_secret != name_of_secret or not _serves(topology.name, pair, epoch, esp):
            epoch += 1
            while any(_has(topology.name, pair, epoch, one) for one in esp.values()):
                epoch += 1
        if epoch > MOST_KEYS:
            raise PlanError(
                f"a host says that {' and '.join(pair.hosts)} have had {epoch - 1} keys, which can't be",
                hint=f"`netfab destroy {topology.name}`, and apply it without the host that lies",
            )
        found.add(Lease(LEASE, pair.key, f"{epoch} {name_of_secret}"))
    return frozenset(found)


def encrypted(
    topology: Topology, tunnels: Mapping[str, Tunnel], leases: Iterable[Lease], secret: bytes
) -> Mapping[str, Fabric]:
    """The states and policies of each host."""
    epochs = {lease.key: int(lease.value.partition(" ")[0]) for lease in leases if lease.kind == LEASE}
    found: dict[str, list[KernelObject]] = {}
    for pair in _pairs(tunnels):
        for own, peer in pair.ways():
            made = _objects(topology.name, pair, own, peer, epochs[pair.key], secret)
            found.setdefault(own, []).extend(made)
    return {host: Fabric(topology.name, objects) for host, objects in found.items()}


def _objects(
    fabric: str, pair: _Pair, own: str, peer: str, epoch: int, secret: bytes
) -> Iterator[KernelObject]:
    """What `own` needs to speak to that peer."""
    mark = group_of(fabric)
    here, there = pair.ends[own], pair.ends[peer]
    for source, target, window in ((peer, own, WINDOW), (own, peer, 1)):
        ends = pair.ends[source], pair.ends[target]
        spi, key = _spi(fabric, source, target, epoch), _key(secret, fabric, source, target, epoch)
        yield XfrmState(*ends, spi, mark, key, window)
    for port in pair.ports:
        yield XfrmPolicy(IN, there, here, port, mark)
        yield XfrmPolicy(OUT, here, there, port, mark)


def _pairs(tunnels: Mapping[str, Tunnel]) -> list[_Pair]:
    ports: dict[tuple[str, str], set[int]] = {}
    ends: dict[str, Address] = {}
    for tunnel in tunnels.values():
        if tunnel.encrypted:
            ends |= tunnel.ends
            for one, other in combinations(sorted(tunnel.ends), 2):
                ports.setdefault((one, other), set()).add(tunnel.port)
    return [_Pair(hosts, ends, tuple(sorted(of))) for hosts, of in ports.items()]


def _names(fabric: str, pair: _Pair, epoch: int) -> dict[tuple[str, str], str]:
    """The names of the pair's states in facts, by direction."""
    return {way: state_name(pair.ends[way[1]], _spi(fabric, *way, epoch)).text for way in pair.ways()}


def _has(fabric: str, pair: _Pair, epoch: int, esp: Esp) -> bool:
    """Whether the host has a state of that name, no matter who made it."""
    return any(name in esp.counted for name in _names(fabric, pair, epoch).values())


def _serves(fabric: str, pair: _Pair, epoch: int, esp: Mapping[str, Esp]) -> bool:
    """Whether both have all states, and accept the other's next sequence number."""
    names = _names(fabric, pair, epoch)
    if any(name not in one.counted for one in esp.values() for name in names.values()):
        return False
    for (sender, receiver), name in names.items():
        if sender in esp and receiver in esp:
            sent, received = esp[sender].counted[name][0], esp[receiver].counted[name][1]
            if not 0 <= sent - received < _ALL_UNDERWAY:
                return False
    return epoch > 0


def _about(fabric: str, source: str, target: str, epoch: int) -> bytes:
    return f"netfab esp\0{fabric}\0{source}\0{target}\0{epoch}".encode()


def _spi(fabric: str, source: str, target: str, epoch: int) -> int:
    """Not secret: it is in every packet."""
    number = int.from_bytes(digest(_about(fabric, source, target, epoch))[:4], "big")
    return _RESERVED + number % ((1 << 32) - _RESERVED)


def _key(secret: bytes, fabric: str, source: str, target: str, epoch: int) -> str:
    """HKDF-Expand (RFC 5869) of the secret, which is random already."""
    import hmac  # it loads OpenSSL

    found, block, about = b"", b"", _about(fabric, source, target, epoch)
    while len(found) < KEY:
        block = hmac.digest(secret, block + about + bytes((len(found) // 32 + 1,)), "sha256")
        found += block
    return found[:KEY].hex()
