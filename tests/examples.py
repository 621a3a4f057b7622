"""Examples of every kind of kernel object, for the tests that run on every kind.

For each kind: a fabric that has one, and the same fabric with one field changed, for every field that can
differ.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Collection, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import openvswitch
from dhcp_servers import end_clients, serving
from lacking import skip_without

from netfab.kernel.lending import await_addresses
from netfab.kernel.netlink import Netlink
from netfab.kernel.nics import nics
from netfab.objects.address import Address, address_name
from netfab.objects.base import Fabric, Name, node_space
from netfab.objects.bridge import Bridge
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.dhcp import Dhcp
from netfab.objects.expressions import ACCEPT, DROP, match, meta
from netfab.objects.file import File
from netfab.objects.filtering import Filtering
from netfab.objects.firewall import Chain, Firewall, Rule, Set
from netfab.objects.guest import Guest
from netfab.objects.link import Settings, group_of, moved_mark
from netfab.objects.macvlan import Macvlan
from netfab.objects.namespace import Namespace
from netfab.objects.neighbour import Neighbour
from netfab.objects.nic import Nic
from netfab.objects.original import Original
from netfab.objects.ovsbridge import OvsBridge
from netfab.objects.ovsdb import FEATURE as OPEN_VSWITCH
from netfab.objects.ovsport import OvsPort
from netfab.objects.port import Port
from netfab.objects.qdisc import Qdisc
from netfab.objects.route import Hop, Route
from netfab.objects.sysctl import Sysctl
from netfab.objects.uplink import Uplink
from netfab.objects.veth import End, Veth
from netfab.objects.vlan import Vlan
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import EVERYBODY, VxlanFdb
from netfab.objects.xfrm import IN, OUT
from netfab.objects.xfrm_policy import XfrmPolicy
from netfab.objects.xfrm_state import XfrmState

FABRIC = "shop"
GROUP = group_of(FABRIC)
BR0, BR1 = Name("host", "br0"), Name("host", "br1")
OVS0, OVS1 = Name("host", "ovs0"), Name("host", "ovs1")
WEB, DB = node_space(FABRIC, "web"), node_space(FABRIC, "db")
WEB_HOST = Name("host", "nfweb")
WEB_ETH0, WEB_ETH1, DB_ETH1 = Name(WEB, "eth0"), Name(WEB, "eth1"), Name(DB, "eth1")
TUNNEL = Name("host", "vx42")
GUEST = node_space(FABRIC, "blue")
GUEST_ETH1 = Name(GUEST, "eth1")
SERVERS: list[subprocess.Popen[str]] = []  # that `here` started
FILE = f"/run/netfab/{FABRIC}/etc/hosts.1"


class Example(NamedTuple):
    """A fabric with an object of the kind, and what it becomes."""

    kind: type[Any]
    what: str  # the field that changes; "" for the fabric itself
    before: Fabric
    after: Fabric

    def __str__(self) -> str:
        return f"{self.kind.__name__}{'.' if self.what else ''}{self.what}"


def namespace(node: str = "web") -> Namespace:
    return Namespace(Name("namespace", f"{FABRIC}.{node}"), GROUP)


def bridge(link: Name = BR0, **fields: Any) -> Bridge:
    return Bridge(link, "02:00:00:00:00:01", 1500, GROUP)._replace(**fields)


def veth(**fields: Any) -> Veth:
    a, b = End(WEB_HOST, "02:00:00:00:01:01", 1500), End(WEB_ETH0, "02:00:00:00:01:02", 1500)
    return Veth(a, b, GROUP)._replace(**fields)


def cable(**fields: Any) -> Veth:
    """A veth between two nodes."""
    a, b = End(DB_ETH1, "02:00:00:00:02:01", 1500), End(WEB_ETH1, "02:00:00:00:02:02", 1500)
    return Veth(a, b, GROUP)._replace(**fields)


def port(**fields: Any) -> Port:
    return Port(WEB_HOST, BR0)._replace(**fields)


def address(text: str = "10.0.0.2/24", link: Name = WEB_ETH0) -> Address:
    ip, _, length = text.partition("/")
    return Address(link, ip_address(ip), int(length))


def route(destination: str = "0.0.0.0/0", via: str = "10.0.0.1", **fields: Any) -> Route:
    through = (address_name(WEB_ETH0, ip_address("10.0.0.2"), 24),)
    hop = Hop(ip_address(via), WEB_ETH0)
    return Route(WEB, ip_network(destination), (hop,), 0, through)._replace(**fields)


def firewall(**fields: Any) -> Firewall:
    by_port = Rule.of(match(meta("iifname"), "@ports"), DROP)
    chain = Chain("forward", (by_port, Rule.of(ACCEPT)), "filter", "forward", 0, "accept")
    ports = Set("ports", ("ifname",), counted=True).holding([("nfweb",), ("nfdb",)])
    return Firewall("inet", f"netfab-{FABRIC}", (chain,), (ports,))._replace(**fields)


def guest(netns: str = "blue") -> Guest:
    """A foreign namespace; `here` makes it, and then knows its inode."""
    return Guest(Name("namespace", f"{FABRIC}.blue"), f"netns:{netns}", f"/run/netns/{netns}", 0, "")


def in_guest(netns: str = "blue", last: int = 2) -> tuple[Any, ...]:
    """A guest with an address and a default route of ours."""
    held = address(f"10.0.0.{last}/24", GUEST_ETH1)
    hop = Hop(ip_address("10.0.0.1"), GUEST_ETH1)
    way = Route(GUEST, ip_network("0.0.0.0/0"), (hop,), 0, held.names[:1], in_front=True)
    return guest(netns), veth(b=veth().b._replace(link=GUEST_ETH1)), port(), held, way


def features_of(example: Example) -> set[str]:
    """What not every host has, and it needs."""
    things = (*example.before.values(), *example.after.values())
    return {thing.feature for thing in things if getattr(thing, "feature", "")}


def here(example: Example) -> Example:
    """The example with the guests and NICs that it speaks of, made where the caller is; and a DHCP server."""
    features = features_of(example)
    if features == {OPEN_VSWITCH}:
        openvswitch.start()
    elif features:
        skip_without(*features)
    staged = example._replace(before=_on_stage(example.before), after=_on_stage(example.after))
    if any(isinstance(thing, Dhcp) for thing in (*example.before.values(), *example.after.values())):
        _ip("address add 10.0.0.1/24 dev far", inside="behind-ens1")
        SERVERS.append(serving("behind-ens1", Path("/run/leases"), "10.0.0.100", "10.0.0.200"))
    return staged


def gone() -> None:
    """End the processes that there are of examples in the host where the caller is."""
    end_clients()
    openvswitch.stop()
    while SERVERS:
        with SERVERS.pop() as server:
            server.kill()


def _on_stage(wanted: Fabric) -> Fabric:
    ours = {name for thing in wanted.values() for name in thing.names}
    return Fabric(wanted.name, (_made(thing, ours) for thing in wanted.values()))


def _made(thing: Any, ours: Collection[Name]) -> Any:
    if isinstance(thing, Nic | Uplink | Vxlan) or (isinstance(thing, Macvlan) and thing.nic not in ours):
        return _plugged(thing)
    return _begun(thing) if isinstance(thing, Guest) else thing


def _plugged(thing: Any) -> Any:
    name = _plug(thing)
    if not os.path.exists(f"/run/netns/behind-{name}"):
        _plug_in(name)
        if isinstance(thing, Uplink):
            _address(name)
    if isinstance(thing, Macvlan | Vxlan):
        return thing
    netlink = Netlink()
    try:
        return thing._replace(original=nics(netlink, [name])[name].original)
    finally:
        netlink.close()


def _plug(thing: Any) -> str:
    if isinstance(thing, Uplink):
        return thing.nic
    return thing.name if isinstance(thing, Nic) else _below(thing).text


def _below(thing: Macvlan | Vxlan) -> Name:
    """The NIC that it sends through."""
    return thing.device if isinstance(thing, Vxlan) else thing.nic


def _begun(thing: Guest) -> Guest:
    if not os.path.exists(thing.path):
        name = os.path.basename(thing.path)
        _ip(f"netns add {name}")
        _ip("link set lo up", "route add default via 127.0.0.9 dev lo", inside=name)
    return thing._replace(started=str(os.stat(thing.path).st_ino))


def macvlan(link: Name = WEB_ETH0, nic: str = "ens1") -> Macvlan:
    return Macvlan(End(link, "02:00:00:00:03:01", 1500), Name("host", nic), GROUP)


def vlan(**fields: Any) -> Vlan:
    end = End(Name("host", "nfweb.20"), "02:00:00:00:01:01", 1500, settings=Settings())
    return Vlan(end, WEB_HOST, 20, GROUP)._replace(**fields)


def nic(link: Name = WEB_ETH0, name: str = "ens1") -> Nic:
    """A NIC that `here` makes, and then knows what it has."""
    return Nic(name, End(link, "02:00:00:00:04:02", 1500), GROUP, Original("veth", 0, "", 0, 0, True))


def vxlan(**fields: Any) -> Vxlan:
    """A tunnel by a NIC that `here` makes."""
    end = End(TUNNEL, "02:00:00:00:05:01", 1450)
    return Vxlan(end, Name("host", "ens1"), 42, ip_address("192.0.2.11"), GROUP)._replace(**fields)


def _plug_in(name: str) -> None:
    """A NIC of the host, whose far side is in a machine of its own; it makes no addresses by itself."""
    machine = f"behind-{name}"
    _ip(
        f"netns add {machine}",
        f"link add {name} type veth peer name far netns {machine}",
        f"link set {name} addrgenmode none up",
    )
    _ip("link set far up", inside=machine)


def _ip(*commands: str, inside: str = "") -> None:
    """Commands of ip(8), here or in a named namespace, by one process."""
    where = ["-n", inside] if inside else []
    subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(commands), text=True, check=True)


def uplink(nic: str = "ens1", **fields: Any) -> Uplink:
    """Likewise."""
    original = Original("veth", 0, "", 0, 0, True)
    return Uplink(nic, BR0, moved_mark(FABRIC, nic), original)._replace(**fields)


def _address(name: str) -> None:
    """What a NIC has that serves a host."""
    last = name[-1]
    _ip(
        f"address add 198.51.10{last}.1/24 dev {name}",
        f"address add 198.51.10{last}.7/24 dev {name} label {name}:web",
        f"address add 2001:db8:{last}::1/64 dev {name} nodad",
        f"route add default via 198.51.10{last}.9 metric 5{last}",
        f"route add 10.9.0.0/16 via 198.51.10{last}.9 table 9{last} mtu 1300",
        f"route add ::/0 via 2001:db8:{last}::9 metric 7{last}",
    )
    netlink = Netlink()
    try:  # what is compared later has the route that the kernel makes in its own time
        await_addresses(netlink, socket.if_nametoindex(name))
    finally:
        netlink.close()


def fabric(*objects: Any) -> Fabric:
    return Fabric(FABRIC, objects)


def _variations(
    kind: type[Any], base: Any, around: Callable[[Any], Fabric], **fields: Any
) -> Iterator[Example]:
    yield Example(kind, "", fabric(), around(base))
    for field, value in fields.items():
        yield Example(kind, field, around(base), around(base._replace(**{field: value})))


def _lower(mtu: int) -> dict[str, End]:
    """The ends of a veth with that MTU."""
    return {"a": veth().a._replace(mtu=mtu), "b": veth().b._replace(mtu=mtu)}


def small(end: End) -> End:
    """With an MTU that is too small for IPv6."""
    return end._replace(mtu=600, settings=end.settings.without_ipv6())


def _dhcps() -> Iterator[Example]:
    """A client of a server beyond a NIC."""
    on = namespace(), macvlan()
    base = Dhcp(WEB_ETH0, macvlan().end.mac, "udhcpc", (), "web", True, "")
    yield from _variations(
        Dhcp, base, lambda it: fabric(*on, it), hostname="db", gateway=False, options=("-V", "nine")
    )
    yield Example(Dhcp, "ended", fabric(*on, base), fabric(*on))


def _small_mtus() -> Iterator[Example]:
    """Links that lose their IPv6 with their MTU, and get it back while they are up."""
    ends = veth(a=small(veth().a), b=small(veth().b))
    both = {
        Bridge: (
            fabric(bridge(), address("fe80::1/64", BR0)),
            fabric(bridge(mtu=600, settings=Settings().without_ipv6())),
        ),
        Veth: (
            fabric(namespace(), bridge(), veth(), port(), address(), address("fe80::2/64")),
            fabric(namespace(), bridge(), ends, port(), address()),
        ),
        Macvlan: (
            fabric(namespace(), macvlan()),
            fabric(namespace(), macvlan()._replace(end=small(macvlan().end))),
        ),
        Nic: (fabric(namespace(), nic()), fabric(namespace(), nic()._replace(end=small(nic().end)))),
    }
    for kind, (large, less) in both.items():
        yield Example(kind, "mtu 1500 -> 600", large, less)
        yield Example(kind, "mtu 600 -> 1500", less, large)
        yield Example(kind, "mtu 600, ended", less, fabric())


def _macvlans() -> Iterator[Example]:
    base, at_guest = macvlan(), Name(GUEST, "eth1")
    fields = {
        "mac": "02:00:00:00:03:09",
        "mtu": 1400,
        "up": False,
        "link": Name(WEB, "lan0"),
        "settings": Settings(forwarding=True),
    }
    yield from _variations(
        Macvlan, base, lambda it: fabric(namespace(), it), nic=Name("host", "ens2"), mode=1
    )
    for field, value in fields.items():
        changed = base._replace(end=base.end._replace(**{field: value}))
        yield Example(Macvlan, f"end.{field}", fabric(namespace(), base), fabric(namespace(), changed))
    yield Example(Macvlan, "ended", fabric(namespace(), base, address()), fabric(namespace()))
    held = address("10.0.0.2/24", at_guest)
    yield Example(Macvlan, "in a guest", fabric(), fabric(guest(), macvlan(at_guest), held))
    yield Example(Macvlan, "ended in a guest", fabric(guest(), macvlan(at_guest), held), fabric())


def _nics() -> Iterator[Example]:
    base, at_guest = nic(), Name(GUEST, "eth1")
    fields = {
        "mac": "02:00:00:00:04:09",
        "mtu": 1400,
        "up": False,
        "link": Name(WEB, "lan0"),
        "settings": Settings(forwarding=True),
    }
    yield from _variations(Nic, base, lambda it: fabric(namespace(), it), name="ens2")
    for field, value in fields.items():
        changed = base._replace(end=base.end._replace(**{field: value}))
        yield Example(Nic, f"end.{field}", fabric(namespace(), base), fabric(namespace(), changed))
    yield Example(Nic, "ended", fabric(namespace(), base, address()), fabric(namespace()))
    held = address("10.0.0.2/24", at_guest)
    yield Example(Nic, "in a guest", fabric(), fabric(guest(), nic(at_guest), held))
    yield Example(Nic, "ended in a guest", fabric(guest(), nic(at_guest), held), fabric())


def _vlans() -> Iterator[Example]:
    base = vlan()
    around = (namespace(), veth())
    yield from _variations(
        Vlan,
        base,
        lambda it: fabric(*around, it),
        vlan=30,
        end=base.end._replace(link=Name("host", "nfweb.x"), mtu=1400, mac="02:00:00:00:01:09", up=False),
    )
    carried = Macvlan(End(WEB_ETH1, "02:00:00:00:03:01", 1500), base.end.link, GROUP)
    yield Example(Vlan, "below a macvlan", fabric(*around), fabric(*around, base, carried))
    yield Example(Vlan, "ended", fabric(*around, base, carried), fabric(*around))


def _uplinks() -> Iterator[Example]:
    other = bridge(BR1, mac="02:00:00:00:00:02")
    yield from _variations(
        Uplink, uplink(), lambda it: fabric(bridge(), other, it), bridge=BR1, isolated=True
    )
    others = uplink("ens2")
    yield Example(Uplink, "nic", fabric(bridge(), uplink()), fabric(bridge(), others))
    yield Example(Uplink, "ended", fabric(bridge(), uplink(), address("10.0.0.1/24", BR0)), fabric(bridge()))


def _tunnels() -> Iterator[Example]:
    base, peer, other = vxlan(), ip_address("192.0.2.12"), ip_address("192.0.2.13")
    fields = {
        "mac": "02:00:00:00:05:09",
        "mtu": 1400,
        "up": False,
        "link": Name("host", "vx43"),
        "settings": Settings(forwarding=True),
    }
    yield from _variations(
        Vxlan,
        base,
        fabric,
        vni=43,
        port=4790,
        local=ip_address("192.0.2.21"),
        device=Name("host", "ens2"),
        learning=True,
        ttl=9,
    )
    for group in ("239.192.0.1", "239.192.0.2"):
        member = base._replace(multicast=ip_address(group))
        joined = fabric(member, VxlanFdb(TUNNEL, EVERYBODY, ip_address(group), Name("host", "ens1")))
        yield Example(Vxlan, f"multicast {group}", fabric(base), joined)
        yield Example(Vxlan, f"multicast to {group}", joined, fabric(base))
    six = vxlan(local=ip_address("2001:db8::11"), end=base.end._replace(mtu=1430))
    yield Example(Vxlan, "local of the other family", fabric(base), fabric(six))
    for field, value in fields.items():
        changed = base._replace(end=base.end._replace(**{field: value}))
        yield Example(Vxlan, f"end.{field}", fabric(base), fabric(changed))
    flood = VxlanFdb(TUNNEL, EVERYBODY, peer)
    for entry in (VxlanFdb(TUNNEL, "02:00:00:00:06:01", peer), flood):
        yield from _variations(
            VxlanFdb,
            entry,
            lambda it: fabric(base, it),
            mac="02:00:00:00:06:02",
            peer=other,
            device=Name("host", "ens1"),
        )
    both = fabric(base, flood, flood._replace(peer=other))
    yield Example(VxlanFdb, "one of two peers", both, fabric(base, flood))
    yield Example(VxlanFdb, "link", both, fabric(base))
    on = (bridge(mtu=1450), bridge(BR1, mac="02:00:00:00:00:02", mtu=1450), base)
    behind, known = Port(TUNNEL, BR0), BridgeFdb(TUNNEL, BR0, "02:00:00:00:06:01")
    yield from _variations(
        Port,
        behind,
        lambda it: fabric(*on, it),
        isolated=True,
        learning=False,
        neigh_suppress=True,
    )
    yield from _variations(BridgeFdb, known, lambda it: fabric(*on, behind, it), mac="02:00:00:00:06:02")
    moved = behind._replace(bridge=BR1), known._replace(bridge=BR1)
    yield Example(BridgeFdb, "bridge", fabric(*on, behind, known), fabric(*on, *moved))
    yield Example(BridgeFdb, "link", fabric(*on, behind, known), fabric(*on, behind))
    for address in (ip_address("10.0.0.9"), ip_address("fd00::9")):
        there = Neighbour(BR0, address, "02:00:00:00:06:01")
        yield from _variations(
            Neighbour,
            there,
            lambda it: fabric(*on, it),
            mac="02:00:00:00:06:02",
            address=address + 1,
            link=BR1,
        )
        narrower = on[0]._replace(mtu=1400), *on[1:], there
        yield Example(Neighbour, "kept by a bridge that changes", fabric(*on, there), fabric(*narrower))
        yield Example(Neighbour, "ended with its tunnel", fabric(*on, there), fabric(bridge(mtu=1450)))


def _encryption() -> Iterator[Example]:
    for local, peer in (("192.0.2.11", "192.0.2.12"), ("2001:db8::11", "2001:db8::12")):
        ends = ip_address(local), ip_address(peer)
        policy = XfrmPolicy(OUT, *ends, 4789, GROUP)
        yield from _variations(
            XfrmPolicy,
            policy,
            fabric,
            direction=IN,
            source=ends[0] + 9,
            destination=ends[1] + 9,
            port=4790,
        )
        state = XfrmState(*ends, 0x10203040, GROUP, "5a" * 36)
        yield from _variations(
            XfrmState,
            state,
            fabric,
            source=ends[0] + 9,
            destination=ends[1] + 9,
            spi=0x50607080,
            key="a5" * 36,
            window=1,
        )
        yield Example(XfrmState, "ended", fabric(policy, state), fabric(policy))


def every_example() -> list[Example]:
    """All of them. A field that no example changes is found by a test of its own."""
    a, b = veth().a, veth().b
    on = (namespace(), bridge(), veth())
    addressed = (*on, address())
    switches = tuple(OvsBridge(link, "netdev", FABRIC) for link in (OVS0, OVS1))
    second = address("10.0.1.2/24")
    ways = (Hop(ip_address("10.0.0.1"), WEB_ETH0), Hop(ip_address("10.0.0.3"), WEB_ETH0, 2))
    six = (*on, address("fd00::2/64"), address("fe80::2/64"))
    route6 = Route(WEB, ip_network("::/0"), (Hop(ip_address("fd00::1"), WEB_ETH0),), 1024,
                   (address_name(WEB_ETH0, ip_address("fd00::2"), 64),))  # fmt: skip
    ends = {
        f"a.{field}": {"a": a._replace(**{field: value})}
        for field, value in (
            ("mac", "02:00:00:00:09:09"),
            ("mtu", 1400),
            ("up", False),
            ("link", Name("host", "nfother")),
        )
    } | {
        f"b.{field}": {"b": b._replace(**{field: value})}
        for field, value in (
            ("mac", "02:00:00:00:09:08"),
            ("mtu", 1400),
            ("up", False),
            ("settings", Settings(forwarding=True, accept_ra=True)),
            ("link", Name(WEB, "lan0")),
        )
    }  # fmt: skip
    return [
        *_variations(Namespace, namespace(), fabric),
        Example(Guest, "", fabric(bridge()), fabric(bridge(), *in_guest())),
        Example(Guest, "path", fabric(bridge(), *in_guest()), fabric(bridge(), *in_guest("red"))),
        Example(Guest, "ended", fabric(bridge(), *in_guest()), fabric(bridge())),
        Example(Route, "in_front", fabric(bridge(), *in_guest()), fabric(bridge(), *in_guest()[:4])),
        *_variations(
            Sysctl, Sysctl(WEB, "net/ipv4/ip_forward", "1"), lambda it: fabric(namespace(), it), value="0"
        ),
        Example(
            Sysctl,
            "ended",
            fabric(namespace(), Sysctl(WEB, "net/ipv4/ip_default_ttl", "9")),
            fabric(namespace()),
        ),
        Example(
            Sysctl,
            "ended, of a link",
            fabric(namespace(), veth(), Sysctl(WEB, "net/ipv4/conf/eth0/proxy_arp", "1")),
            fabric(namespace(), veth()),
        ),
        *_variations(
            Bridge,
            bridge(),
            fabric,
            link=BR1,
            mac="02:00:00:00:00:99",
            mtu=1400,
            up=False,
            forward_delay=200,
            snooping=True,
            settings=Settings(forwarding=True),
        ),
        Example(Bridge, "stp", fabric(bridge()), fabric(bridge(stp=True, forward_delay=200))),
        *_variations(Veth, veth(), lambda it: fabric(namespace(), it)),
        *(
            Example(Veth, what, fabric(namespace(), veth()), fabric(namespace(), veth(**end)))
            for what, end in ends.items()
        ),
        *_variations(
            Veth, cable(), lambda it: fabric(namespace(), namespace("db"), it), a=cable().a._replace(mtu=1300)
        ),
        *_dhcps(),
        *_small_mtus(),
        *_macvlans(),
        *_nics(),
        *_uplinks(),
        *_tunnels(),
        *_encryption(),
        *_variations(
            Port,
            port(),
            lambda it: fabric(*on, bridge(BR1, mac="02:00:00:00:00:02"), it),
            bridge=BR1,
            isolated=True,
            hairpin=True,
        ),
        *_variations(Filtering, Filtering(BR0), lambda it: fabric(bridge(), it)),
        *_variations(Port, port(vlan=20), lambda it: fabric(*on, Filtering(BR0), it), vlan=30),
        Example(Port, "vlan", fabric(*on, port()), fabric(*on, Filtering(BR0), port(vlan=20))),
        *_vlans(),
        *_variations(OvsBridge, OvsBridge(OVS0, "netdev", FABRIC), fabric, link=OVS1),
        *_variations(
            OvsPort,
            OvsPort(WEB_HOST, OVS0, FABRIC),
            lambda it: fabric(namespace(), veth(), *switches, it),
            bridge=OVS1,
            vlan=20,
        ),
        Example(
            OvsPort,
            "a bridge",
            fabric(*on, port()),
            fabric(*on, switches[0], OvsPort(WEB_HOST, OVS0, FABRIC, 20)),
        ),
        *_variations(
            Address,
            address(),
            lambda it: fabric(*on, it),
            address=ip_address("10.0.0.9"),
            length=16,
            link=BR0,
        ),
        *_variations(Address, address("fd00::2/64"), lambda it: fabric(*on, it)),
        *_variations(Address, address("10.255.0.1/32", Name(WEB, "lo")), lambda it: fabric(namespace(), it)),
        *_variations(
            Qdisc,
            Qdisc(WEB_ETH0, 8_000_000),
            lambda it: fabric(*on, it),
            rate=8_000_000_000,
        ),
        Example(Port, "mtu", fabric(*on), fabric(namespace(), bridge(), veth(**_lower(1400)), port())),
        Example(Qdisc, "link", fabric(*on, Qdisc(WEB_ETH0, 8_000_000)), fabric(*on)),
        *_variations(
            Route,
            route(),
            lambda it: fabric(*addressed, it),
            hops=ways,
            metric=50,
            destination=ip_network("10.9.0.0/16"),
        ),
        Example(
            Route,
            "kind",
            fabric(*addressed, route()),
            fabric(*addressed, route(hops=(), through=(), kind="blackhole")),
        ),
        Example(
            Route,
            "through",
            fabric(*addressed, second, route("10.9.0.0/16")),
            fabric(
                *addressed,
                second,
                route("10.9.0.0/16", "10.0.1.1", through=(address_name(WEB_ETH0, second.address, 24),)),
            ),
        ),
        Example(Route, "space", fabric(*addressed, route()), fabric(*addressed)),
        *_variations(Route, route6, lambda it: fabric(*six, it), metric=50),
        *_variations(
            Firewall,
            firewall(),
            fabric,
            chains=(firewall().chains[0]._replace(policy="drop"),),
            sets=(firewall().sets[0].holding([("nfweb",), ("nfother",)]),),
        ),
        Example(Firewall, "family", fabric(firewall()), fabric(firewall(), firewall(family="bridge"))),
        *_variations(
            File, File(FILE, "10.0.0.1 web\n"), fabric, content="10.0.0.2 web\n", mode=0o600, path=f"{FILE}2"
        ),
    ]
