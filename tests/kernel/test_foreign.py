"""What netfab did not make: in the way, it is named and left alone; beside ours, it is never touched."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address, ip_network

import pytest
from examples import (
    BR0,
    FABRIC,
    WEB_ETH0,
    address,
    bridge,
    fabric,
    firewall,
    namespace,
    port,
    route,
    veth,
)
from machine import differences, snapshot
from test_damage import DB_IP, WEB_IP, WHOLE, shell

from netfab.engine.apply import apply, changes_for
from netfab.errors import ForeignObject, NetfabError
from netfab.hosts.local import LocalHost
from netfab.objects.address import address_name
from netfab.objects.base import HOST, Fabric, Name, node_space
from netfab.objects.link import group_of, scratch_of
from netfab.objects.route import Hop, Route

ON_BR0 = address("10.0.0.1/24", BR0)
THROUGH_BR0 = Route(HOST, ip_network("10.9.0.0/16"), (Hop(ip_address("10.0.0.2"), BR0),), 0,
                    (address_name(BR0, ip_address("10.0.0.1"), 24),))  # fmt: skip
IN_THE_WAY = [
    ("ip link add br0 type bridge", "create bridge br0: br0 is a bridge that netfab did not make"),
    ("ip link add br0 type veth peer name x", "create bridge br0: br0 is a veth that netfab did not make"),
    (
        f"ip link add br0 type bridge; ip link set br0 group {group_of('other')} alias netfab:other/lan",
        "create bridge br0: br0 is another fabric's bridge (netfab:other/lan)",
    ),
    (
        "ip link add nfweb type veth peer name x",
        "create veth eth0 of web: nfweb is a veth that",
    ),
    (
        f"ip netns add {FABRIC}.web",
        "create namespace shop.web: shop.web is a network namespace that netfab did not make",
    ),
    (
        f"mkdir -p /run/netns; echo mine > /run/netns/{FABRIC}.web",
        "create namespace shop.web: shop.web is a file that netfab",
    ),
    (
        f"mkdir -p /run/netns/{FABRIC}.web",
        "create namespace shop.web: shop.web is a file that netfab did not make",
    ),
    (
        f"mkdir -p /run/netns; ln -s /etc/passwd /run/netns/{FABRIC}.web",
        "create namespace shop.web: shop.web is a file that",
    ),
]


@pytest.mark.parametrize(("there", "told"), IN_THE_WAY, ids=[there for there, _ in IN_THE_WAY])
def test_what_has_a_name_that_is_needed_is_named_with_its_holder_and_left_alone(
    host: LocalHost, there: str, told: str
) -> None:
    shell(there)
    before = snapshot()

    with pytest.raises(NetfabError) as refused:
        apply(WHOLE, host)

    assert f"can't {told}" in str(refused.value)
    assert differences(before, snapshot()) == []
    apply(fabric(), host, [WHOLE])
    assert differences(before, snapshot()) == []


def _ruleset() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "table",
    [
        f"table inet netfab-{FABRIC} {{ }}",
        f'table inet netfab-{FABRIC} {{ chain mine {{ counter comment "keep me"; }}; }}',
        f"table inet netfab-{FABRIC} {{ chain forward {{ type filter hook forward priority 0; }}; }}",
        f"table inet netfab-{FABRIC} {{ flags dormant; }}",
    ],
)
def test_a_table_of_somebody_elses_is_named_and_the_same_before_and_after(
    host: LocalHost, table: str
) -> None:
    wanted = fabric(bridge(), firewall(), firewall(family="bridge"))
    subprocess.run(["nft", table], check=True)
    before, rules = snapshot(), _ruleset()

    with pytest.raises(ForeignObject) as refused:
        apply(wanted, host)
    apply(fabric(), host, [wanted])

    assert str(refused.value) == (
        f"can't create firewall inet netfab-{FABRIC}: the inet table is one that netfab did not make,"
        f" netfab-{FABRIC}"
    )
    assert (differences(before, snapshot()), _ruleset()) == ([], rules)


def test_all_that_is_in_the_way_is_named_at_once(host: LocalHost) -> None:
    shell(f"ip link add br0 type bridge; ip netns add {FABRIC}.db; ip link add nfweb type bridge")

    with pytest.raises(NetfabError) as refused:
        apply(WHOLE, host)

    assert [name for name in ("br0", "shop.db", "nfweb") if f"{name} is a " not in str(refused.value)] == []


def _applied_and_in_the_way(host: LocalHost, wanted: Fabric, base: Fabric, there: str) -> str:
    """Refused, on a host where the base is applied and something is there; what was said."""
    apply(base, host)
    shell(there)
    before, own = snapshot(), host.observe(FABRIC, [base]).own

    with pytest.raises(NetfabError) as refused:
        apply(wanted, host)

    assert differences(before, snapshot()) == []
    assert host.observe(FABRIC, [base]).own == own
    return str(refused.value)


def test_a_link_of_the_users_inside_a_node_that_has_a_needed_name_is_named(host: LocalHost) -> None:
    base = fabric(namespace(), bridge())
    wanted = fabric(namespace(), bridge(), veth(), port(), address())

    told = _applied_and_in_the_way(host, wanted, base, f"{WEB_IP} link add eth0 type bridge")

    assert told.startswith("can't create veth eth0 of web: eth0 of web is a bridge that netfab")


def test_an_address_that_somebody_gave_already_is_named(host: LocalHost) -> None:
    base = fabric(namespace(), veth())

    told = _applied_and_in_the_way(
        host,
        fabric(namespace(), veth(), address()),
        base,
        f"{WEB_IP} addr add 10.0.0.2/24 dev eth0",
    )

    assert told == "give eth0 of web 10.0.0.2/24: it has 10.0.0.2 already, and not from netfab (EEXIST)"


@pytest.mark.parametrize(
    ("there", "holder"),
    [
        ("ip route add 10.9.0.0/16 dev br0 proto static", "a route via br0"),
        (
            "ip link add up0 type bridge; ip link set up0 up; ip route add 10.9.0.0/16 dev up0",
            "a route via up0",
        ),
        ("ip route add blackhole 10.9.0.0/16", "a route"),
    ],
)
def test_a_route_of_the_hosts_to_the_same_place_is_named(host: LocalHost, there: str, holder: str) -> None:
    base = fabric(bridge(), ON_BR0)

    told = _applied_and_in_the_way(host, fabric(bridge(), ON_BR0, THROUGH_BR0), base, there)

    assert (
        f"create route 10.9.0.0/16 via 10.0.0.2 dev br0: {holder} is there that netfab did not make" in told
    )


def test_a_default_route_that_the_user_set_in_a_node_is_named(host: LocalHost) -> None:
    base = fabric(namespace(), veth(), address())

    told = _applied_and_in_the_way(
        host,
        fabric(namespace(), veth(), address(), route()),
        base,
        f"{WEB_IP} route add default via 10.0.0.77",
    )

    assert "create route default via 10.0.0.1 dev eth0 in web: a route via eth0 is there that" in told


def test_a_directory_where_a_file_should_be_is_left_alone(host: LocalHost) -> None:
    path = next(thing.path for thing in WHOLE.values() if type(thing).__name__ == "File")
    shell(f"mkdir -p {path}/theirs")
    before = snapshot()

    with pytest.raises(NetfabError) as refused:
        apply(WHOLE, host)

    assert path in str(refused.value)
    assert differences(before, snapshot()) == []


BESIDE = f"""
ip link add br9 type bridge; ip link set br9 up group 7; ip addr add 10.200.0.1/24 dev br9
ip link add v9 type veth peer name v9p; ip link set v9 master br9 up
ip netns add other.web; ip -n other.web link set lo up; ip netns add {FABRIC}; ip netns add {FABRIC}x.web
ip link add other9 type bridge; ip link set other9 up mtu 1300 alias mine
ip route add 10.201.0.0/16 dev other9; ip route add blackhole 10.202.0.0/16
ip -6 route add fd20::/64 dev other9
ip rule add from 10.200.0.0/24 table 77; ip route add default dev other9 table 77
mkdir -p /run/netfab/other; echo theirs > /run/netfab/other/hosts; echo plain > /run/netns/plain
"""


def test_what_is_beside_a_fabric_is_the_same_before_during_and_after(host: LocalHost) -> None:
    shell(BESIDE)
    before = snapshot()

    apply(WHOLE, host)
    gone = [line for line in differences(before, snapshot()) if line.startswith("-")]
    apply(fabric(), host, [WHOLE])

    assert gone == []
    assert differences(before, snapshot()) == []


def test_what_a_user_adds_inside_a_node_or_to_a_bridge_is_no_drift_and_stays(host: LocalHost) -> None:
    apply(WHOLE, host)
    shell(
        f"{WEB_IP} link add wg0 type bridge; {WEB_IP} addr add 10.77.0.1/24 dev wg0;"
        f"{WEB_IP} link set wg0 up; {WEB_IP} route add 10.78.0.0/16 via 10.77.0.2;"
        f"{WEB_IP} addr add 10.0.0.99/24 dev eth0; {WEB_IP} route add 10.79.0.0/16 via 10.0.0.1;"
        f"{DB_IP} link add v0 type veth peer name v1;"
        f"{WEB_IP} link add v2 type veth peer v3 netns {FABRIC}.db;"
        "ip link add mine type veth peer name mine2; ip link set mine master br0 up;"
        "ip addr add 10.0.0.250/24 dev br0"
    )
    theirs = snapshot()
    inside = subprocess.run(
        ["ip", "-n", f"{FABRIC}.web", "addr"], capture_output=True, text=True, check=True
    ).stdout

    assert changes_for(WHOLE, host.observe(FABRIC, [WHOLE])) == ()
    assert apply(WHOLE, host).changes == ()
    assert differences(theirs, snapshot()) == []
    assert (
        subprocess.run(
            ["ip", "-n", f"{FABRIC}.web", "addr"], capture_output=True, text=True, check=True
        ).stdout
        == inside
    )


def _of(name: str, bridge_name: str, net: int) -> Fabric:
    """A fabric like others, of that name, with a blackhole of its own on the host's side."""
    group, space, br = group_of(name), node_space(name, "web"), Name(HOST, bridge_name)
    host_end, eth0 = Name(HOST, f"nf{name}"), Name(space, "eth0")
    gateway = address(f"10.{net}.0.1/24", br)
    cable = veth()._replace(a=veth().a._replace(link=host_end), b=veth().b._replace(link=eth0), group=group)
    inner = address(f"10.{net}.0.2/24", eth0)
    default = route()._replace(
        space=space, hops=(Hop(gateway.address, eth0),), through=(address_name(eth0, inner.address, 24),)
    )
    out = Route(
        HOST,
        ip_network(f"10.{net + 100}.0.0/16"),
        (Hop(inner.address, br),),
        0,
        (address_name(br, gateway.address, 24),),
    )
    return Fabric(name, (
        namespace()._replace(name=Name("namespace", f"{name}.web"), group=group),
        bridge(br, group=group), cable, port(link=host_end, bridge=br), gateway, inner, default, out,
    ))  # fmt: skip


def test_one_of_two_fabrics_is_destroyed_and_the_other_is_as_it_was() -> None:
    one, other = _of("one", "br-one", 1), _of("other", "br-other", 2)
    with LocalHost("one") as first, LocalHost("other") as second:
        apply(one, first)
        alone = snapshot()
        apply(other, second)

        apply(Fabric("other"), second)

        assert differences(alone, snapshot()) == []
        assert changes_for(one, first.observe("one", [one])) == ()


def test_a_fabric_that_wants_anothers_bridge_is_refused_by_that_fabrics_name() -> None:
    one, other = _of("one", "br-lan", 1), _of("other", "br-lan", 2)
    with LocalHost("one") as first, LocalHost("other") as second:
        apply(one, first)
        before = snapshot()

        with pytest.raises(ForeignObject, match=r"br-lan is another fabric's bridge \(netfab:"):
            apply(other, second)

        assert differences(before, snapshot()) == []


def test_a_blackhole_that_another_fabric_made_on_the_host_is_not_ours(host: LocalHost) -> None:
    shell("ip route add blackhole 10.99.0.0/16 proto 110")

    assert host.observe(FABRIC).own == fabric()


@pytest.mark.parametrize("unmarked", ["ip link set br0 group default", f"{WEB_IP} link set lo group default"])
def test_what_lost_its_mark_is_no_longer_ours_and_is_neither_changed_nor_deleted(
    host: LocalHost, unmarked: str
) -> None:
    apply(WHOLE, host)
    shell(unmarked)
    before = snapshot()

    with pytest.raises(NetfabError, match="that netfab did not make"):
        apply(WHOLE, host)

    assert differences(before, snapshot()) == []


def test_a_cable_whose_host_end_lost_its_mark_is_known_by_its_other_end(host: LocalHost) -> None:
    before = snapshot()
    apply(WHOLE, host)
    shell("ip link set nfweb group default")

    apply(WHOLE, host)

    assert host.observe(FABRIC, [WHOLE]).own == WHOLE
    apply(fabric(), host, [WHOLE])
    assert differences(before, snapshot()) == []


FOUR = [bridge(Name(HOST, f"br{n}"), mac=f"02:00:00:00:00:0{n}") for n in range(1, 5)]
PRECIOUS = f"ip link add mine type ifb; ip link set mine group {scratch_of(group_of(FABRIC))} alias precious"


def test_the_users_own_link_in_our_group_of_links_to_delete_stops_the_sweep_of_that_group(
    host: LocalHost,
) -> None:
    apply(fabric(*FOUR), host)
    shell(PRECIOUS)

    with pytest.raises(
        ForeignObject, match="mine is in the group of links to delete, and not ours: 'precious'"
    ):
        apply(fabric(*FOUR[:2]), host, [fabric(*FOUR)])

    assert host.observe(FABRIC).own == fabric(*FOUR)


def test_the_users_own_link_in_our_group_of_links_to_delete_survives_destroy(host: LocalHost) -> None:
    apply(fabric(*FOUR), host)
    shell(PRECIOUS)

    apply(fabric(), host, [fabric(*FOUR)])

    assert subprocess.run(["ip", "link", "show", "mine"], capture_output=True, check=False).returncode == 0


def test_the_interface_of_a_node_is_found_by_its_own_name(host: LocalHost) -> None:
    apply(WHOLE, host)

    assert host.observe(FABRIC, [WHOLE]).own[Name(HOST, "nfweb")].b.link == WEB_ETH0
