"""VLANs without a kernel that has them: what is sent, as pyroute2 reads it; what is read, as it writes it."""

from __future__ import annotations

from typing import Any

import pytest
from examples import BR0, BR1, GROUP, WEB_HOST, bridge, fabric, namespace, port, veth, vlan
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from netfab.engine.diff import Change, diff, order
from netfab.objects.base import Dump, Fabric, Name, Space
from netfab.objects.filtering import Filtering
from netfab.objects.link import AF_SPEC, Link, marked_links
from netfab.objects.macvlan import Macvlan
from netfab.objects.port import OTHERWISE, Port, entries
from netfab.objects.veth import End
from netfab.objects.vlan import Vlan
from netfab.objects.wire import IFINFO, Request, encode, parse

NUMBERS = {BR0: 5, WEB_HOST: 6, vlan().end.link: 8}
TAGGED = {"flags": 0, "vid": 20}
ACCESS = {"flags": 6, "vid": 20}
ON_ITS_BRIDGE = (namespace(), bridge(), veth())


def said(request: Any) -> tuple[Any, ...]:
    """The event, family, index, flags, and what the attributes say, as pyroute2 reads the message."""
    assert isinstance(request, Request)
    (message,) = MarshalRtnl().parse(encode(request, NUMBERS.__getitem__, 1))
    spec = message.get_attr("IFLA_AF_SPEC") if message["family"] else None
    told = [tuple(info[1].values()) for info in spec["attrs"]] if spec else message.get_attr("IFLA_MASTER")
    return message["event"], message["family"], message["index"], message["flags"], told


def test_a_port_of_a_vlan_is_down_until_it_is_in_that_and_no_other() -> None:
    assert [said(request) for request in port(vlan=20).create()] == [
        ("RTM_NEWLINK", 0, 6, 0, None),
        ("RTM_NEWLINK", 0, 6, 0, 5),
        ("RTM_DELLINK", 7, 6, 0, [(8, 1), (16, 4094)]),
        ("RTM_SETLINK", 7, 6, 0, [(6, 20)]),
        ("RTM_NEWLINK", 0, 6, 1, None),
    ]


def test_a_port_without_a_vlan_sends_nothing_that_a_kernel_without_them_has_not() -> None:
    assert [said(request) for request in port().create()] == [("RTM_NEWLINK", 0, 6, 0, 5)]


def test_a_bridge_of_ours_without_vlans_sends_nothing_about_them() -> None:
    data = [dict(op.body.attrs) for op in bridge().create() if isinstance(op, Request)]

    assert not any(7 in dict(dict(attrs[18])[2]) for attrs in data if 18 in attrs)


@pytest.mark.parametrize(
    ("op", "on"), [(Filtering(BR0).create()[0], 1), (Filtering(BR0).delete()[0], 0)], ids=["on", "off"]
)
def test_filtering_is_switched_by_itself(op: Any, on: int) -> None:
    (message,) = MarshalRtnl().parse(encode(op, NUMBERS.__getitem__, 1))

    assert message["index"] == 5
    (info,) = message["attrs"]
    said = info[1].get_attr("IFLA_INFO_DATA")["attrs"]
    assert [tuple(attr) for attr in said] == [("IFLA_BR_VLAN_FILTERING", on)]


def test_a_vlan_is_born_above_its_link_with_its_mark() -> None:
    request: Any = vlan().create()[0]
    (message,) = MarshalRtnl().parse(encode(request, NUMBERS.__getitem__, 1))

    assert request.makes == (Name("host", "nfweb.20"),)
    info = message.get_attr("IFLA_LINKINFO")
    assert (message.get_attr("IFLA_LINK"), message.get_attr("IFLA_GROUP")) == (6, GROUP)
    assert info.get_attr("IFLA_INFO_KIND") == "vlan"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_VLAN_ID") == 20


def link(index: int, name: str, kind: str = "", group: int = GROUP, up: int = 1, **attrs: Any) -> Link:
    """As a dump has it, written by pyroute2."""
    info: list[list[Any]] = [["IFLA_INFO_KIND", kind]] if kind else []
    if data := attrs.pop("data", None):
        info.append(["IFLA_INFO_DATA", {"attrs": [list(pair) for pair in data.items()]}])
    if attrs.pop("port", False):
        info.append(["IFLA_INFO_SLAVE_KIND", "bridge"])
        info.append(["IFLA_INFO_SLAVE_DATA", {"attrs": [["IFLA_BRPORT_LEARNING", 1]]}])
    message = ifinfmsg()
    message["index"], message["flags"] = index, up
    common = {"IFLA_IFNAME": name, "IFLA_GROUP": group, "IFLA_MTU": 1500, "IFLA_ADDRESS": "02:00:00:00:01:01"}
    message["attrs"] = [[key, value] for key, value in {**common, **attrs}.items()]
    message["attrs"].append(["IFLA_LINKINFO", {"attrs": info}])
    message.encode()
    data = bytes(message.data)
    return Link.parse(index, up, data, 16 + IFINFO.size, len(data))


def dump(*links: Link, **read: Any) -> Dump:
    spaces = {"host": Space(list(links), [], [])}
    names = {("host", link.ifindex): Name("host", link.name) for link in links}
    return Dump("shop", spaces, names, marked_links("shop", spaces), set(), {}, {}, {}, **read)


def spec(*vlans: dict[str, int]) -> bytes:
    """The IFLA_AF_SPEC of a port, as the dump of bridges has it, written by pyroute2."""
    message = ifinfmsg()
    message["family"] = 7
    message["attrs"] = [["IFLA_AF_SPEC", {"attrs": [["IFLA_BRIDGE_VLAN_INFO", each] for each in vlans]}]]
    message.encode()
    data = bytes(message.data)
    return parse(data, 16 + IFINFO.size, len(data))[AF_SPEC]


@pytest.mark.parametrize(
    ("filtering", "default", "vlans", "vlan"),
    [
        (0, 1, [], 0),
        (1, 1, [{"flags": 6, "vid": 1}], 0),
        (1, 10, [{"flags": 6, "vid": 10}], 0),
        (1, 0, [], 0),
        (1, 1, [ACCESS], 20),
        (1, 20, [ACCESS], 0),
        (1, 1, [TAGGED], OTHERWISE),
        (1, 1, [{"flags": 6, "vid": 1}, TAGGED], OTHERWISE),
        (1, 1, [], OTHERWISE),
    ],
)
def test_a_port_reads_back_with_the_vlan_that_it_is_in(
    filtering: int, default: int, vlans: list[dict[str, int]], vlan: int
) -> None:
    data = {
        "IFLA_BR_FORWARD_DELAY": 0, "IFLA_BR_STP_STATE": 0, "IFLA_BR_MCAST_SNOOPING": 0,
        "IFLA_BR_VLAN_FILTERING": filtering, "IFLA_BR_VLAN_DEFAULT_PVID": default,
    }  # fmt: skip
    found = dump(
        link(5, "br0", "bridge", data=data),
        link(6, "nfweb", "veth", IFLA_MASTER=5, port=True),
        vlans={6: entries(spec(*vlans))} if filtering else {},
    )

    assert list(Port.read(found)) == [port(vlan=vlan)]
    assert list(Filtering.read(found)) == [Filtering(BR0)] * filtering


def test_a_vlan_reads_back_with_its_number_and_what_is_below() -> None:
    found = dump(
        link(3, "ens1", group=0),
        link(8, "ens1.20", "vlan", IFLA_LINK=3, data={"IFLA_VLAN_ID": 20}),
    )

    (read,) = Vlan.read(found)

    assert (read.end.link.text, read.base, read.vlan) == ("ens1.20", Name("host", "ens1"), 20)


def phases(desired: Fabric, actual: Fabric) -> list[set[str]]:
    def told(change: Change) -> str:
        return f"{change.action} {change.object}"

    return [set(map(told, phase)) for phase in order(diff(desired, actual))]


def test_a_bridge_filters_before_a_port_of_a_vlan_is_on_it_and_until_none_is() -> None:
    plain, tagged = fabric(*ON_ITS_BRIDGE), fabric(*ON_ITS_BRIDGE, Filtering(BR0), port(vlan=20))

    assert phases(tagged, plain) == [{"create vlan-filtering br0"}, {"create port nfweb"}]
    assert phases(plain, tagged) == [{"delete port nfweb"}, {"delete vlan-filtering br0"}]


def test_another_vlan_takes_the_port_off_the_bridge_meanwhile() -> None:
    on = (*ON_ITS_BRIDGE, Filtering(BR0))

    assert phases(fabric(*on, port(vlan=30)), fabric(*on, port(vlan=20))) == [
        {"delete port nfweb"},
        {"create port nfweb"},
    ]


def test_a_vlan_of_a_nic_comes_before_what_is_on_it_and_goes_after() -> None:
    above = Macvlan(End(Name("node shop.web", "eth0"), "02:00:00:00:03:01", 1500), vlan().end.link, GROUP)
    below = (namespace(), bridge(BR1))
    whole = fabric(*below, vlan(base=Name("host", "ens1")), above)

    assert phases(whole, fabric(*below)) == [
        {"create vlan nfweb.20"},
        {"create macvlan eth0 of web - nfweb.20"},
    ]
    assert phases(fabric(*below), whole) == [
        {"delete macvlan eth0 of web - nfweb.20"},
        {"delete vlan nfweb.20"},
    ]
