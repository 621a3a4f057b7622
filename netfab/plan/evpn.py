"""`control: evpn`: hosts tell each other over BGP where nodes are (RFC 7432, RFC 8365), through FRR.

A host is told here of its own nodes only: a new node is no message to any other host. FRR writes what it
learns from others into the tunnels by itself; that is its own, and no object of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netfab.objects.base import HOST, KernelObject, Name
from netfab.objects.bgp import DAEMONS, EVPN, LIST, ROUTER, Bgp, Statement, may_tell
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.container import Container
from netfab.objects.neighbour import Neighbour
from netfab.objects.supervisor import Supervisor
from netfab.plan.facts import Facts
from netfab.plan.layout import Layout, Segment
from netfab.plan.leases import Lease
from netfab.plan.overlay import station_of
from netfab.plan.speakers import PORT, port_key, speakers
from netfab.topology.schema import Address, Topology

ASN = 64512  # the first for private use (RFC 6996); seen only by the fabric's own hosts
_MAP = LIST
_UNDER = f"{ROUTER}{ASN}"
_HOLD = 9  # hold time in seconds: a silent peer is dead then; keepalives take a third
# Only root is in the container, and FRR requires users of its sockets to be in this group.
_GROUPS = "root:x:0:\nfrrvty:x:0:root\n"
_KEPT = "/etc/bgpd.conf"  # the configuration with which it restarts
_RUN = "/etc/run-frr"
# zebra listens on its own socket once it serves at the other; bgpd tries that one, and again only after ten
# seconds. bgpd ends first: zebra then removes what it installed for it.
_SCRIPT = f"""\
trap 'kill $bgpd; wait $bgpd; kill $zebra; wait $zebra' TERM
rm -rf /run/frr; mkdir -p /run/frr; : >>{_KEPT}
common="-u root -g root -P 0 --log stdout --vty_socket /run/frr -z /run/frr/zserv.api"
"$1/zebra" $common -f /dev/null -i /run/frr/zebra.pid &
zebra=$!
until [ -S /run/frr/zebra.vty ]; do kill -0 $zebra || exit 1; sleep 0.01; done
"$1/bgpd" $common -f {_KEPT} -i /run/frr/bgpd.pid -l "$2" &
bgpd=$!
wait -n
"""


def objects(topology: Topology, layout: Layout, facts: Facts) -> Iterator[KernelObject]:
    """FRR on this host, if needed, its configuration, and the entries that it advertises."""
    speaking = _speaking(topology, layout)
    if layout.host not in speaking:
        return
    host = topology.hosts[layout.host]
    assert facts.frr is not None  # otherwise refused already (speakers.py)
    assert host.address is not None
    tunnels = [segment.tunnel.device for segment in _segments(layout) if segment.tunnel and segment.here]
    daemons = _daemons(topology.name, facts.frr.directory, host.address)
    yield daemons._replace(uses=tuple(tunnels))
    yield Supervisor(topology.name)
    told = [segment for segment in _segments(layout) if host.reflector or segment.here]
    yield Bgp(topology.name, tuple(sorted(_statements(host.address, told))))
    for name in speaking:
        peer = topology.hosts[name]
        if name != layout.host and peer.address and _have_session(topology, layout.host, name):
            client = host.reflector and not peer.reflector
            words = _session(peer.address, host.address, client)
            yield BgpPeer(topology.name, str(peer.address), tuple(sorted(words)))


def claims(topology: Topology, layout: Layout) -> Iterator[Lease]:
    """Leases that keep another fabric from running BGP here, too."""
    if layout.host in _speaking(topology, layout):
        yield Lease("publish", port_key(topology.hosts[layout.host]), str(PORT))


def _speaking(topology: Topology, layout: Layout) -> tuple[str, ...]:
    return speakers(topology, {name: segment.hosts for name, segment in layout.segments.items()})


def own_entries(layout: Layout) -> Iterator[KernelObject]:
    """Where this host's nodes are: known from the start, even of one that never sends a frame.

    Not where somebody may have the MAC or the address of another: there it is learned.
    """
    for nics in layout.here.values():
        for nic in nics:
            segment = layout.segments[nic.segment]
            if segment.tunnel and segment.tunnel.by_bgp and segment.tunnel.suppress and not nic.port.vlan:
                bridge, station = Name(HOST, segment.bridge), station_of(nic, segment)
                yield BridgeFdb(Name(HOST, nic.host_link), bridge, station.mac)
                yield from (Neighbour(bridge, address, station.mac) for address in station.addresses)


def _segments(layout: Layout) -> Iterator[Segment]:
    return (segment for segment in layout.segments.values() if segment.tunnel and segment.tunnel.by_bgp)


def _have_session(topology: Topology, one: str, other: str) -> bool:
    """A full mesh; if there are reflectors, sessions with these only."""
    reflect = [host.name for host in topology.hosts.values() if host.reflector]
    return not reflect or one in reflect or other in reflect


def _daemons(fabric: str, directory: str, address: Address) -> Container:
    return Container(
        fabric,
        DAEMONS,
        ("/bin/bash", _RUN, directory, str(address)),
        cap_add=("NET_ADMIN", "SYS_ADMIN"),
        restart="always",
        files=(("/etc/group", _GROUPS, 0o644, ""), (_RUN, _SCRIPT, 0o644, "")),
    )


def _statements(address: Address, told: Iterable[Segment]) -> Iterator[Statement]:
    """Other fabrics' tunnels on this host, which FRR sees, too, are not advertised.

    A network's route target is what FRR derives from its VNI (RFC 8365, section 5.1.2.1).
    """
    yield ("bgp route-map delay-timer 1",)  # seconds from a new network to its advertisement
    yield (_UNDER,)
    yield _UNDER, f"bgp router-id {address}"
    yield _UNDER, "no bgp default ipv4-unicast"
    yield _UNDER, EVPN, "advertise-all-vni"
    yield _UNDER, EVPN, "advertise-svi-ip"
    yield (f"route-map {_MAP} permit 1",)
    yield f"route-map {_MAP} permit 1", f"match extcommunity {LIST}"
    for segment in told:
        assert segment.tunnel is not None
        yield (may_tell(ASN, segment.tunnel.vni),)


def _session(peer: Address, own: Address, client: bool) -> Iterator[Statement]:
    about = f"neighbor {peer}"
    yield _UNDER, f"{about} remote-as {ASN}"
    yield _UNDER, f"{about} update-source {own}"
    yield _UNDER, f"{about} timers {_HOLD // 3} {_HOLD}"
    yield _UNDER, f"{about} timers connect 1"
    yield _UNDER, EVPN, f"{about} activate"
    yield _UNDER, EVPN, f"{about} route-map {_MAP} out"
    if client:
        yield _UNDER, EVPN, f"{about} route-reflector-client"
