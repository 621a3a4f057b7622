"""pyroute2 is the judge: what we send must decode to what we meant; what the kernel holds is asked of it.

It shares no line with our own codec, which the rest of the tests would have judge itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from examples import (
    BR0,
    FABRIC,
    GROUP,
    WEB,
    WEB_ETH0,
    WEB_HOST,
    Example,
    address,
    bridge,
    cable,
    every_example,
    fabric,
    here,
    port,
    route,
    veth,
)
from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from netfab.engine.apply import apply
from netfab.engine.diff import diff
from netfab.hosts.local import LocalHost
from netfab.kernel.netns import Namespaces
from netfab.objects.address import Address
from netfab.objects.base import Name
from netfab.objects.bridge import Bridge
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.link import Settings
from netfab.objects.neighbour import Neighbour
from netfab.objects.port import Port
from netfab.objects.route import KINDS, Hop, Route
from netfab.objects.veth import Veth
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import EVERYBODY, VxlanFdb
from netfab.objects.wire import MARK, Request, encode

EXAMPLES = every_example()
of_every_kind = pytest.mark.parametrize("example", EXAMPLES, ids=str)
NUMBERS = {BR0: 5, WEB_HOST: 6, WEB_ETH0: 7, Name("namespace", f"{FABRIC}.web"): 9}
TWO_WAYS = Hop(ip_address("10.0.0.1"), WEB_ETH0), Hop(ip_address("10.0.0.3"), WEB_ETH0, 2)
FLAGS = {0x100: "replace", 0x200: "excl", 0x400: "create", 0x800: "append"}


def _number(name: Name) -> int:
    return NUMBERS.get(name, 77)


def _decoded(request: Request) -> Any:
    (message,) = MarshalRtnl().parse(encode(request, _number, 1))
    return message


def _attributes(attrs: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a decoded message, however deep, by the last parts of its name."""
    for name, value in ((attr[0], attr[1]) for attr in attrs):
        short = prefix + name.removeprefix("IFLA_").removeprefix("IFA_").removeprefix("RTA_").removeprefix(
            "NDA_"
        ).removeprefix("INFO_")
        if isinstance(value, list):
            yield short, [(hop["oif"], hop["hops"], *(via[1] for via in hop["attrs"])) for hop in value]
        elif hasattr(value, "get") and "attrs" in value:
            yield from _attributes(value["attrs"], "peer " if name == "VETH_INFO_PEER" else prefix)
        else:
            yield short, value


def said(request: Request) -> str:
    """A message in words, as pyroute2 understands it."""
    message = _decoded(request)
    flags = " ".join(word for bit, word in FLAGS.items() if message["header"]["flags"] & bit)
    header = {
        "RTM_NEWLINK": ("index", "flags", "change"),
        "RTM_DELLINK": ("index",),
        "RTM_NEWADDR": ("index", "family", "prefixlen", "scope"),
        "RTM_DELADDR": ("index", "family", "prefixlen", "scope"),
        "RTM_NEWNEIGH": ("ifindex", "family", "state", "flags"),
        "RTM_DELNEIGH": ("ifindex", "family", "state", "flags"),
    }.get(message["event"], ("family", "dst_len", "table", "proto", "scope", "type"))
    values = [f"{field}={message[field]}" for field in header]
    values += [
        f"{name}={value}" for name, value in _attributes(message["attrs"]) if not isinstance(value, bytes)
    ]
    return f"{message['event']} {flags}: {' '.join(values)}".replace(" :", ":")


def _said(ops: list[Any]) -> list[str]:
    return [said(op) for op in ops if isinstance(op, Request)]


def test_a_bridge_is_born_with_its_mark_and_mac_and_set_up_last() -> None:
    assert _said(bridge(mtu=1400, settings=Settings(forwarding=True)).create()) == [
        f"RTM_NEWLINK excl create: index=5 flags=0 change=0 IFNAME=br0 ADDRESS=02:00:00:00:00:01 MTU=1401 "
        f"GROUP={GROUP} KIND=bridge BR_FORWARD_DELAY=0 BR_STP_STATE=0 BR_MCAST_SNOOPING=0",
        "RTM_NEWLINK: index=5 flags=0 change=0 MTU=1400",
        "RTM_NEWLINK: index=5 flags=0 change=0 IFALIAS=netfab:br0 INET6_ADDR_GEN_MODE=1",
        "RTM_NEWLINK: index=5 flags=1 change=1",
    ]


def test_a_veth_is_born_in_one_message_with_its_peer_in_the_nodes_namespace() -> None:
    assert _said(veth(b=veth().b._replace(mtu=1400)).create()) == [
        f"RTM_NEWLINK excl create: index=6 flags=0 change=0 IFNAME=nfweb ADDRESS=02:00:00:00:01:01 MTU=1500"
        f" GROUP={GROUP} NUM_TX_QUEUES=1 NUM_RX_QUEUES=1 KIND=veth peer IFNAME=eth0"
        f" peer ADDRESS=02:00:00:00:01:02 peer MTU=1400 peer GROUP={GROUP}"
        " peer NUM_TX_QUEUES=1 peer NUM_RX_QUEUES=1 peer NET_NS_FD=9",
        "RTM_NEWLINK: index=7 flags=0 change=0 IFALIAS=netfab:shop.web/eth0 INET6_ADDR_GEN_MODE=1",
        "RTM_NEWLINK: index=7 flags=1 change=1",
        "RTM_NEWLINK: index=6 flags=0 change=0 IFALIAS=netfab:shop.web/eth0 INET6_ADDR_GEN_MODE=1",
        "RTM_NEWLINK: index=6 flags=1 change=1",
    ]


def test_the_peer_of_a_cable_between_nodes_has_its_own_number() -> None:
    (peer,) = (
        value
        for name, value in _decoded(cable().create()[0]).get_attr("IFLA_LINKINFO")["attrs"]
        if name == "IFLA_INFO_DATA"
    )

    assert peer.get_attr("VETH_INFO_PEER")["index"] == 77


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (port().create(), "RTM_NEWLINK: index=6 flags=0 change=0 MASTER=5"),
        (port().delete(), "RTM_NEWLINK: index=6 flags=0 change=0 MASTER=0"),
        (
            port(isolated=True).update(port()),
            "RTM_NEWLINK: index=6 flags=0 change=0 SLAVE_KIND=bridge BRPORT_ISOLATED=1 BRPORT_MODE=0"
            " BRPORT_LEARNING=1 BRPORT_NEIGH_SUPPRESS=0",
        ),
        (
            VxlanFdb(WEB_HOST, "02:00:00:00:06:01", ip_address("192.0.2.12")).create(),
            "RTM_NEWNEIGH replace create: ifindex=6 family=7 state=128 flags=2 LLADDR=02:00:00:00:06:01"
            " DST=192.0.2.12",
        ),
        (
            VxlanFdb(WEB_HOST, EVERYBODY, ip_address("2001:db8::12")).create(),
            "RTM_NEWNEIGH create append: ifindex=6 family=7 state=128 flags=2 LLADDR=00:00:00:00:00:00"
            " DST=2001:db8::12",
        ),
        (
            BridgeFdb(WEB_HOST, BR0, "02:00:00:00:06:01").create(),
            "RTM_NEWNEIGH replace create: ifindex=6 family=7 state=66 flags=4 LLADDR=02:00:00:00:06:01",
        ),
        (
            Neighbour(BR0, ip_address("fd00::9"), "02:00:00:00:06:01").delete(),
            "RTM_DELNEIGH: ifindex=5 family=10 state=128 flags=0 DST=fd00::9 LLADDR=02:00:00:00:06:01"
            " PROTOCOL=110",
        ),
        (
            address().create(),
            "RTM_NEWADDR excl create: index=7 family=2 prefixlen=24 scope=0 LOCAL=10.0.0.2 ADDRESS=10.0.0.2 "
            "FLAGS=130 PROTO=110",
        ),
        (
            address("fe80::2/64").create(),
            "RTM_NEWADDR excl create: index=7 family=10 prefixlen=64 scope=253 LOCAL=fe80::2 ADDRESS=fe80::2 "
            "FLAGS=130 PROTO=110",
        ),
        (
            address().delete(),
            "RTM_DELADDR: index=7 family=2 prefixlen=24 scope=0 LOCAL=10.0.0.2 ADDRESS=10.0.0.2 "
            "FLAGS=130 PROTO=110",
        ),
        (
            route().create(),
            "RTM_NEWROUTE excl create: family=2 dst_len=0 table=254 proto=110 scope=0 type=1 GATEWAY=10.0.0.1"
            " OIF=7",
        ),
        (
            route("10.9.0.0/16", metric=50).update(route("10.9.0.0/16", "10.0.0.7")),
            "RTM_NEWROUTE replace create: family=2 dst_len=16 table=254 proto=110 scope=0 type=1 "
            "DST=10.9.0.0 PRIORITY=50 GATEWAY=10.0.0.1 OIF=7",
        ),
        (
            route(hops=TWO_WAYS).create(),
            "RTM_NEWROUTE excl create: family=2 dst_len=0 table=254 proto=110 scope=0 type=1"
            " MULTIPATH=[(7, 0, '10.0.0.1'), (7, 1, '10.0.0.3')]",
        ),
        (
            route("10.8.0.0/24", hops=(Hop(None, WEB_ETH0),)).delete(),
            "RTM_DELROUTE: family=2 dst_len=24 table=254 proto=110 scope=253 type=1 DST=10.8.0.0 OIF=7",
        ),
        (
            route("10.7.0.0/24", hops=(), kind="blackhole").create(),
            "RTM_NEWROUTE excl create: family=2 dst_len=24 table=254 proto=110 scope=0 type=6 DST=10.7.0.0",
        ),
        (
            Route(WEB, ip_network("fd09::/64"), (Hop(ip_address("fd00::1"), WEB_ETH0),), 1024).create(),
            "RTM_NEWROUTE excl create: family=10 dst_len=64 table=254 proto=110 scope=0 type=1 DST=fd09:: "
            "PRIORITY=1024 GATEWAY=fd00::1 OIF=7",
        ),
    ],
)  # fmt: skip
def test_a_message_means_to_others_what_it_means_to_us(ops: list[Any], message: str) -> None:
    assert _said(ops) == [message]


@of_every_kind
def test_every_message_of_every_kind_is_understood_to_its_last_attribute(example: Example) -> None:
    there_and_back = ((example.before, fabric()), (example.after, example.before), (fabric(), example.after))
    requests = [
        op
        for desired, actual in there_and_back
        for change in diff(desired, actual)
        for op in change.ops()
        if isinstance(op, Request)
    ]

    for request in requests:
        unknown = [name for name, _ in _attributes(_decoded(request)["attrs"]) if "UNKNOWN" in name]
        assert unknown == [], request.doing


@contextmanager
def _asked(space: str) -> Iterator[IPRoute]:
    """pyroute2, in the namespace of that space."""
    namespaces = Namespaces()
    with namespaces.inside(space), IPRoute() as ask:
        yield ask
    namespaces.close()


def _link(ask: IPRoute, name: str) -> Any:
    (found,) = ask.get_links(ifname=name)
    return found


def _held_link(ask: IPRoute, name: str, end: Any, settings: Settings, label: str) -> None:
    found = _link(ask, name)
    assert (found.get_attr("IFLA_ADDRESS"), found.get_attr("IFLA_MTU")) == (end.mac, end.mtu)
    assert found.get_attr("IFLA_GROUP") == GROUP
    assert (found["flags"] & 1 == 1) == end.up
    assert found.get_attr("IFLA_IFALIAS") == label
    conf = found.get_attr("IFLA_AF_SPEC").get_attr("AF_INET")
    wanted = settings.forwarding, settings.rp_filter, settings.promote_secondaries
    assert tuple(int(conf[key]) for key in ("forwarding", "rp_filter", "promote_secondaries")) == tuple(
        map(int, wanted)
    )


def _held_bridge(ask: IPRoute, thing: Bridge) -> None:
    _held_link(ask, thing.link.text, thing, thing.settings, f"netfab:{thing.link.text}")
    info = _link(ask, thing.link.text).get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA")
    assert info.get_attr("IFLA_INFO_KIND") == "bridge"
    assert data.get_attr("IFLA_BR_FORWARD_DELAY") == thing.forward_delay
    assert data.get_attr("IFLA_BR_STP_STATE") == thing.stp
    assert data.get_attr("IFLA_BR_MCAST_SNOOPING") == thing.snooping


def _held_veth(ask: IPRoute, thing: Veth) -> None:
    with _asked(thing.b.link.space) as inside:
        for one, other, end in ((ask, inside, thing.a), (inside, ask, thing.b)):
            peer = thing.b if end is thing.a else thing.a
            label = f"netfab:{thing.b.link.space.removeprefix('node ')}/{thing.b.link.text}"
            _held_link(one, end.link.text, end, end.settings, label)
            assert _link(one, end.link.text).get_attr("IFLA_LINK") == _link(other, peer.link.text)["index"]


def _held_port(ask: IPRoute, thing: Port) -> None:
    found = _link(ask, thing.link.text)
    assert found.get_attr("IFLA_MASTER") == _link(ask, thing.bridge.text)["index"]
    data = found.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_SLAVE_DATA")
    assert data.get_attr("IFLA_BRPORT_ISOLATED") == thing.isolated
    assert data.get_attr("IFLA_BRPORT_LEARNING") == thing.learning
    assert data.get_attr("IFLA_BRPORT_NEIGH_SUPPRESS") == thing.neigh_suppress


def _held_vxlan(ask: IPRoute, thing: Vxlan) -> None:
    name = thing.end.link.text
    _held_link(ask, name, thing.end, thing.end.settings, f"netfab:{name}")
    data = _link(ask, name).get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    local = data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6")
    assert (data.get_attr("IFLA_VXLAN_ID"), data.get_attr("IFLA_VXLAN_PORT")) == (thing.vni, thing.port)
    assert (local, bool(data.get_attr("IFLA_VXLAN_LEARNING"))) == (str(thing.local), thing.learning)
    assert data.get_attr("IFLA_VXLAN_LINK") == _link(ask, thing.device.text)["index"]


def _entries(ask: IPRoute, link: Name, mac: str) -> list[Any]:
    index = _link(ask, link.text)["index"]
    found = ask.get_neighbours(family=7)
    return [one for one in found if one["ifindex"] == index and one.get_attr("NDA_LLADDR") == mac]


def _held_vxlan_fdb(ask: IPRoute, thing: VxlanFdb) -> None:
    peers = {one.get_attr("NDA_DST") for one in _entries(ask, thing.link, thing.mac)}
    assert str(thing.peer) in peers


def _held_bridge_fdb(ask: IPRoute, thing: BridgeFdb) -> None:
    bridge = _link(ask, thing.bridge.text)["index"]
    (found,) = (one for one in _entries(ask, thing.link, thing.mac) if one.get_attr("NDA_MASTER") == bridge)
    assert found["state"] & 0x40  # NUD_NOARP: static


def _held_neighbour(ask: IPRoute, thing: Neighbour) -> None:
    family = 2 if thing.address.version == 4 else 10
    (found,) = (
        one for one in ask.get_neighbours(family=family) if one.get_attr("NDA_DST") == str(thing.address)
    )
    assert found["ifindex"] == _link(ask, thing.link.text)["index"]
    assert (found["state"], found.get_attr("NDA_LLADDR")) == (0x80, thing.mac)


def _held_address(ask: IPRoute, thing: Address) -> None:
    (found,) = (
        held
        for held in ask.get_addr(index=_link(ask, thing.link.text)["index"])
        if held.get_attr("IFA_ADDRESS") == str(thing.address)
    )
    assert (found["prefixlen"], found.get_attr("IFA_PROTO")) == (thing.length, MARK)


def _held_route(ask: IPRoute, thing: Route) -> None:
    family = 2 if thing.destination.version == 4 else 10
    (found,) = (
        held
        for held in ask.get_routes(family=family, table=254)
        if held["proto"] == MARK
        and held["dst_len"] == thing.destination.prefixlen
        and (held.get_attr("RTA_DST") or str(thing.destination.network_address))
        == str(thing.destination.network_address)
    )
    assert (found.get_attr("RTA_PRIORITY") or 0, found["type"]) == (thing.metric, KINDS[thing.kind])
    several = found.get_attr("RTA_MULTIPATH") or [found]
    ways = {(way.get("oif") or way.get_attr("RTA_OIF"), way.get_attr("RTA_GATEWAY")) for way in several}
    assert thing.hops == () or ways == {
        (_link(ask, hop.link.text)["index"], str(hop.via) if hop.via else None) for hop in thing.hops
    }


HELD = {
    Bridge: _held_bridge,
    Veth: _held_veth,
    Port: _held_port,
    Vxlan: _held_vxlan,
    VxlanFdb: _held_vxlan_fdb,
    BridgeFdb: _held_bridge_fdb,
    Neighbour: _held_neighbour,
    Address: _held_address,
    Route: _held_route,
}
SPACE = {
    Bridge: lambda thing: thing.link.space,
    Veth: lambda thing: thing.a.link.space,
    Port: lambda thing: thing.link.space,
    Vxlan: lambda thing: thing.end.link.space,
    VxlanFdb: lambda thing: thing.link.space,
    BridgeFdb: lambda thing: thing.link.space,
    Neighbour: lambda thing: thing.link.space,
    Address: lambda thing: thing.link.space,
    Route: lambda thing: thing.space,
}


@pytest.mark.parametrize(
    "example", [each for each in EXAMPLES if each.kind in HELD and each.what != "in_front"], ids=str
)
def test_the_kernel_holds_what_was_applied_by_another_librarys_account(
    host: LocalHost, example: Example
) -> None:
    example = here(example)
    apply(example.before, host)
    apply(example.after, host, [example.before])

    for thing in example.after.values():
        if type(thing) in HELD:
            with _asked(SPACE[type(thing)](thing)) as ask:
                HELD[type(thing)](ask, thing)
