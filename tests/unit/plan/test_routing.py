"""`routes: auto`, judged by packets: forwarding is simulated, along every branch of every multipath route."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfab.plan.paths import HOST, Graph, Interface, Segment
from netfab.plan.routing import Computed, computed_routes
from netfab.topology.schema import Address, Prefix

TTL = 64
OUTSIDE: dict[int, Address] = {4: IPv4Address("198.51.100.1"), 6: IPv6Address("2001:db8::1")}

Routes = dict[str, tuple[Computed, ...]]


class Lab:
    """A graph in few words. Segment N is 10.0.N.0/24 and fd00:0:0:N::/64; nodes are 10, 11 ... on each."""

    def __init__(self, ipv6: bool = False) -> None:
        self.ipv6 = ipv6
        self.segments: dict[str, Segment] = {}
        self.interfaces: list[Interface] = []
        self.routers: set[str] = set()
        self.loopbacks: dict[str, tuple[Address, ...]] = {}
        self.unrouted: set[str] = set()
        self._numbers: dict[str, int] = {}

    def segment(
        self, name: str, gateway: str | None = None, external: str = "", cost: int = 1, link: bool = False
    ) -> None:
        number = len(self.segments)
        prefixes: list[Prefix] = [ip_network(f"10.0.{number}.0/24")]
        if self.ipv6:
            prefixes.append(IPv6Network((0xFD << 120 | number << 64, 64)))
        away = (ip_address(external),) if external else ()
        self.segments[name] = Segment(name, tuple(prefixes), cost, gateway, away, link)
        if gateway == HOST:
            self.join(HOST, name)
        elif gateway is not None:
            self.routers.add(gateway)

    def join(self, node: str, *segments: str, gateway: bool = False, masquerade: bool = False) -> None:
        """An interface on each segment, named eth0, eth1 ... in that order."""
        number = self._numbers.setdefault(node, 10 + len(self._numbers))
        for segment in segments:
            taken = sum(interface.node == node for interface in self.interfaces)
            addresses = tuple(prefix[number] for prefix in self.segments[segment].prefixes)
            self.interfaces.append(Interface(node, f"eth{taken}", segment, addresses, gateway, masquerade))

    def link(self, a: str, b: str, cost: int = 1) -> None:
        self.segment(f"{a}-{b}", cost=cost, link=True)
        self.join(a, f"{a}-{b}")
        self.join(b, f"{a}-{b}")

    def graph(self) -> Graph:
        return Graph(
            tuple(self.interfaces),
            tuple(self.segments.values()),
            frozenset(self.routers),
            self.loopbacks,
            frozenset(self.unrouted),
        )

    def routes(self, node: str) -> list[str]:
        """The node's routes as `ip route` would show them, one line each."""
        return [text(route) for route in computed_routes(self.graph()).get(node, ())]

    def address(self, node: str, segment: str, family: int = 4) -> Address:
        found = next(i for i in self.interfaces if (i.node, i.segment) == (node, segment))
        return next(address for address in found.addresses if address.version == family)


def text(route: Computed) -> str:
    to = "default" if route.destination.prefixlen == 0 else str(route.destination)
    return to + " via " + ", ".join(f"{hop.address} {hop.interface}" for hop in route.via)


class Simulation:
    """Where packets go with those routes."""

    def __init__(self, graph: Graph, routes: Routes) -> None:
        self.graph = graph
        self.own = {
            (interface.node, address) for interface in graph.interfaces for address in interface.addresses
        } | {(node, address) for node, addresses in graph.loopbacks.items() for address in addresses}
        self.at = {
            (interface.segment, address): interface.node
            for interface in graph.interfaces
            for address in interface.addresses
        }
        prefixes = {segment.name: segment.prefixes for segment in graph.segments}
        self.tables: dict[str, list[tuple[Prefix, list[tuple[Address | None, str]]]]] = {}
        for interface in graph.interfaces:
            self.tables.setdefault(interface.node, []).extend(
                (prefix, [(None, interface.segment)]) for prefix in prefixes[interface.segment]
            )
        of = {(interface.node, interface.name): interface.segment for interface in graph.interfaces}
        for node, found in routes.items():
            for route in found:
                hops = [(hop.address, of[node, hop.interface]) for hop in route.via]
                self.tables[node].append((route.destination, list(hops)))
        self.external = {a for segment in graph.segments for a in segment.external}

    def ends(self, source: str, to: Address) -> set[str]:
        """Every way that a packet's journey can end: "delivered", "out", "lost: ...", "loop"."""
        found: set[str] = set()
        seen: set[tuple[str, int]] = set()
        waiting = [(source, TTL)]
        while waiting:
            node, ttl = waiting.pop()
            if (node, to) in self.own:
                found.add("delivered")
            elif ttl == 0:
                found.add("loop")
            elif node != source and node == HOST:
                found.add("out" if to in OUTSIDE.values() else "lost: the host joins no networks")
            elif node != source and node not in self.graph.routers:
                found.add(f"lost: {node} does not forward")
            else:
                for hop, segment in self.lookup(node, to):
                    if hop in self.external:
                        found.add("out" if to in OUTSIDE.values() else "lost: outside")
                    elif (following := self.at.get((segment, hop or to))) is None:
                        found.add(f"lost: {node} finds no {hop or to} on {segment}")
                    elif (following, ttl - 1) not in seen:
                        seen.add((following, ttl - 1))
                        waiting.append((following, ttl - 1))
                if not self.lookup(node, to):
                    found.add(f"lost: {node} has no route")
        return found

    def lookup(self, node: str, to: Address) -> list[tuple[Address | None, str]]:
        """The longest prefix that matches; a connected one before a route of that length."""
        matching = [entry for entry in self.tables.get(node, []) if to in entry[0]]
        return max(matching, key=lambda entry: entry[0].prefixlen)[1] if matching else []


def within_reach(graph: Graph, source: str, family: int) -> set[str]:
    """The segments that some path of routers leads to from the node, found by flooding."""
    on: dict[str, list[Interface]] = {}
    for interface in graph.interfaces:
        if any(address.version == family for address in interface.addresses):
            on.setdefault(interface.node, []).append(interface)
    reached = {i.segment for i in on.get(source, ())}
    grew = True
    while grew:
        grew = False
        for router in graph.routers:
            entries = [i for i in on.get(router, ()) if i.segment in reached and not i.masquerade]
            beyond = {i.segment for i in on.get(router, ())} if entries else set()
            if not beyond <= reached:
                reached |= beyond
                grew = True
    return reached


def random_lab(seed: int, nodes: int, routed: float, ipv6: bool) -> Lab:
    """Networks and links at random, with each kind of gateway, loopbacks and costs."""
    dice = random.Random(seed)
    lab = Lab(ipv6)
    names = [f"n{number}" for number in range(nodes)]
    lab.routers = {name for name in names if dice.random() < routed}
    for number in range(dice.randint(1, nodes)):
        gateway = dice.choice([HOST, None, dice.choice(names), "external"])
        members = dice.sample(names, min(nodes, dice.randint(0, 4)))
        name = f"net{number}"
        if gateway == "external":
            lab.segment(name, external=f"10.0.{len(lab.segments)}.254", cost=dice.randint(1, 3))
        else:
            lab.segment(name, gateway=gateway, cost=dice.randint(1, 3))
        for node in dict.fromkeys([*members, *([gateway] if gateway in names else [])]):
            translates = node != gateway and dice.random() < 0.1
            lab.join(node, name, gateway=dice.random() < 0.1, masquerade=translates)
    for _ in range(dice.randint(0, nodes)):
        a, b = dice.sample(names, 2) if nodes > 1 else (names[0], names[0])
        if a != b and f"{a}-{b}" not in lab.segments:
            lab.link(a, b, cost=dice.randint(1, 3))
    for number, name in enumerate(names):
        if dice.random() < 0.3:
            lab.loopbacks[name] = (IPv4Address(f"10.255.0.{number}"),)
    return lab


labs = st.builds(
    random_lab, st.integers(0, 10**9), st.integers(1, 12), st.sampled_from([0.2, 0.5, 0.9]), st.booleans()
)


def check_reachability(lab: Lab, sources: Iterable[str]) -> None:
    """Whoever is within reach is reached on every branch; whoever is not, on none."""
    graph = lab.graph()
    simulation = Simulation(graph, computed_routes(graph))
    homes: dict[Address, set[str]] = {}  # the segments where an address is at home
    members: dict[str, set[str]] = defaultdict(set)
    for interface in graph.interfaces:
        members[interface.node].add(interface.segment)
        homes.update((address, {interface.segment}) for address in interface.addresses)
    for node, addresses in graph.loopbacks.items():
        homes.update((address, members[node]) for address in addresses)
    for source in sources:
        reach = {family: within_reach(graph, source, family) for family in (4, 6)}
        for node, address in simulation.own:
            ends = simulation.ends(source, address)
            if homes[address] & reach[address.version] or node == source:
                assert ends == {"delivered"}, f"{source} to {address}: {ends}"
            elif members[node] & reach[address.version]:
                # Its far side's address: it answers if it gets to see the packet (Linux is a weak host).
                assert "loop" not in ends
            else:
                assert not ends & {"delivered", "loop"}, f"{source} to {address}: {ends}"


@settings(max_examples=150)
@given(labs)
def test_every_pair_with_a_path_over_routers_reaches_each_other_and_no_other_pair_does(lab: Lab) -> None:
    check_reachability(lab, {interface.node for interface in lab.interfaces} - {HOST})


@pytest.mark.parametrize("seed", range(3))
def test_with_fifty_routers_every_pair_with_a_path_reaches_each_other(seed: int) -> None:
    lab = random_lab(seed, 60, 0.85, ipv6=bool(seed % 2))

    check_reachability(lab, random.Random(seed).sample(sorted(lab.routers), 8))


@settings(max_examples=150)
@given(labs)
def test_what_leaves_the_fabric_never_loops_and_no_branch_of_a_router_loses_it(lab: Lab) -> None:
    graph = lab.graph()
    routes = computed_routes(graph)
    simulation = Simulation(graph, routes)

    for node in {interface.node for interface in graph.interfaces} - {HOST}:
        for to in OUTSIDE.values():
            ends = simulation.ends(node, to)
            assert "loop" not in ends
            if node in graph.routers and any(
                route.destination.prefixlen == 0 and route.destination.version == to.version
                for route in routes.get(node, ())
            ):
                assert ends == {"out"}


@settings(max_examples=50)
@given(labs, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_segments_changes_nothing(lab: Lab, dice: random.Random) -> None:
    graph = lab.graph()
    nodes = sorted({interface.node for interface in graph.interfaces})
    segments = list(graph.segments)
    dice.shuffle(nodes)
    dice.shuffle(segments)
    shuffled = graph._replace(
        interfaces=tuple(i for node in nodes for i in graph.interfaces if i.node == node),
        segments=tuple(segments),
        loopbacks=dict(reversed(list(graph.loopbacks.items()))),
    )

    again = computed_routes(shuffled)

    assert list(again.items()) == list(computed_routes(graph).items())


def test_behind_a_router_everybody_has_a_default_route_and_nothing_else() -> None:
    lab = Lab()
    lab.segment("a", gateway="r")
    lab.segment("b", gateway="r")
    lab.join("r", "a", "b")
    lab.join("h1", "a")
    lab.join("h2", "b")
    lab.link("r", "srv")

    assert lab.routes("h1") == ["default via 10.0.0.10 eth0"]
    assert lab.routes("srv") == ["default via 10.0.2.10 eth0"]
    assert lab.routes("r") == []


def test_the_host_has_routes_to_what_lies_behind_routers_and_routers_have_a_way_out() -> None:
    lab = Lab()
    lab.segment("front", gateway=HOST)
    lab.segment("back", gateway="r")
    lab.join("r", "front", "back")
    lab.join("web", "back")
    lab.loopbacks = {"web": (IPv4Address("10.255.0.1"),)}

    assert lab.routes(HOST) == ["10.0.1.0/24 via 10.0.0.11 eth0", "10.255.0.1/32 via 10.0.0.11 eth0"]
    assert lab.routes("r") == ["default via 10.0.0.10 eth0", "10.255.0.1/32 via 10.0.1.12 eth1"]


def test_the_host_does_not_join_two_networks_whose_gateway_it_is_but_a_router_does() -> None:
    lab = Lab()
    lab.segment("a", gateway=HOST)
    lab.segment("b", gateway=HOST)
    lab.join("h1", "a")
    lab.join("h2", "b")
    assert lab.routes("h1") == ["default via 10.0.0.10 eth0"]

    lab.join("r", "a", "b")
    lab.routers.add("r")

    assert lab.routes("h1") == ["default via 10.0.0.10 eth0", "10.0.1.0/24 via 10.0.0.13 eth0"]
    assert lab.routes("r") == ["default via 10.0.0.10 eth0"]
    assert lab.routes(HOST) == []


def test_a_node_on_two_networks_gets_routes_to_what_is_better_reached_off_its_default_route() -> None:
    lab = Lab()
    lab.segment("front", gateway="r1")
    lab.segment("side", gateway="r2")
    lab.segment("behind-r1")
    lab.segment("behind-r2")
    lab.segment("behind-both")
    lab.join("h", "front", "side")
    lab.join("r1", "front", "behind-r1", "behind-both")
    lab.join("r2", "side", "behind-r2", "behind-both")

    assert lab.routes("h") == ["default via 10.0.0.11 eth0", "10.0.3.0/24 via 10.0.1.12 eth1"]


def test_gateway_true_moves_the_default_route_and_with_it_what_needs_a_route() -> None:
    lab = Lab()
    lab.segment("front", gateway="r1")
    lab.segment("side", gateway="r2")
    lab.segment("behind-r1")
    lab.join("h", "front")
    lab.join("h", "side", gateway=True)
    lab.join("r1", "front", "behind-r1")
    lab.join("r2", "side")

    assert lab.routes("h") == ["default via 10.0.1.12 eth1", "10.0.2.0/24 via 10.0.0.11 eth0"]


def test_a_router_with_gateway_true_leaves_there_though_another_way_out_is_nearer() -> None:
    lab = Lab()
    lab.segment("near", gateway=HOST)
    lab.segment("far", gateway=HOST)
    lab.segment("between", cost=5)
    lab.join("r1", "near")
    lab.join("r1", "between", gateway=True)
    lab.join("r2", "between", "far")
    lab.routers = {"r1", "r2"}

    assert "default via 10.0.2.12 eth1" in lab.routes("r1")
    assert "default via 10.0.1.10 eth1" in lab.routes("r2")


def test_equal_paths_are_one_route_with_sorted_next_hops_and_costs_break_the_tie() -> None:
    lab = Lab()
    lab.segment("net", gateway="leaf2")
    lab.join("leaf2", "net")
    for spine, cost in (("s3", 1), ("s1", 1), ("s2", 2)):
        lab.link("leaf1", spine, cost)
        lab.link(spine, "leaf2")
    lab.routers |= {"leaf1", "s1", "s2", "s3"}

    assert lab.routes("leaf1")[0] == "10.0.0.0/24 via 10.0.1.12 eth0, 10.0.3.13 eth1"


def test_a_multipath_route_has_at_most_sixteen_next_hops() -> None:
    lab = Lab()
    lab.segment("left", gateway="r0")
    lab.segment("right")
    for number in range(20):
        lab.join(f"r{number}", "left", "right")
        lab.routers.add(f"r{number}")
    lab.join("edge", "left")
    lab.routers.add("edge")

    (route,) = computed_routes(lab.graph())["edge"]

    assert [hop.address for hop in route.via] == [ip_address(f"10.0.0.{10 + n}") for n in range(16)]


def test_a_server_on_two_leaves_uses_both_and_the_better_one_where_there_is_one() -> None:
    lab = Lab()
    lab.segment("left", gateway="leaf1")
    lab.segment("both")
    lab.join("leaf1", "left", "both")
    lab.join("leaf2", "both")
    lab.routers.add("leaf2")
    lab.link("srv", "leaf1")
    lab.link("srv", "leaf2")

    assert lab.routes("srv") == [
        "default via 10.0.2.10 eth0, 10.0.3.11 eth1",
        "10.0.0.0/24 via 10.0.2.10 eth0",
    ]


def test_a_server_on_two_links_leaves_by_the_one_that_is_nearer_to_a_way_out() -> None:
    lab = Lab()
    lab.segment("out", external="10.0.0.1")
    lab.join("leaf1", "out")
    lab.routers |= {"leaf1", "leaf2"}
    lab.link("leaf1", "leaf2")
    lab.link("srv", "leaf2")
    lab.link("srv", "leaf1")

    assert lab.routes("srv")[0] == "default via 10.0.3.10 eth1"


def test_a_server_leaves_by_the_link_that_has_a_way_out_though_the_other_is_cheaper() -> None:
    lab = Lab()
    lab.segment("out", external="10.0.0.1")
    lab.join("leaf1", "out")
    lab.routers |= {"leaf1", "island"}
    lab.link("srv", "island")
    lab.link("srv", "leaf1", cost=5)

    assert lab.routes("srv")[0] == "default via 10.0.2.10 eth1"


def test_anycast_goes_to_the_nearest_and_to_all_that_are_equally_near() -> None:
    lab = Lab()
    for number, peer in enumerate(("s1", "s2", "s3")):
        lab.link("r", peer, cost=2 if number == 2 else 1)
        lab.loopbacks[peer] = (IPv4Address("10.255.0.1"),)
    lab.routers = {"r"}

    assert lab.routes("r") == ["10.255.0.1/32 via 10.0.0.11 eth0, 10.0.1.12 eth1"]
    assert lab.routes("s1") == ["default via 10.0.0.10 eth0"]


def test_two_nodes_without_a_router_reach_each_other_s_loopbacks_over_their_link() -> None:
    lab = Lab()
    lab.link("a", "b")
    lab.loopbacks = {"a": (IPv4Address("10.255.0.1"),), "b": (IPv4Address("10.255.0.2"),)}

    assert lab.routes("a") == ["10.255.0.2/32 via 10.0.0.11 eth0"]


def test_beside_a_gateway_that_we_do_not_run_a_node_gets_routes_to_what_its_routers_reach() -> None:
    lab = Lab()
    lab.segment("lan", external="10.0.0.1")
    lab.segment("back", gateway="r")
    lab.join("r", "lan", "back")
    lab.join("pc", "lan")

    assert lab.routes("pc") == ["default via 10.0.0.1 eth0", "10.0.1.0/24 via 10.0.0.10 eth0"]


def test_the_host_uses_no_router_on_a_network_whose_gateway_it_is_not() -> None:
    lab = Lab()
    lab.segment("internal")
    lab.segment("back", gateway="r")
    lab.join(HOST, "internal")
    lab.join("r", "internal", "back")

    assert lab.routes(HOST) == []


def test_gateway_true_on_a_network_without_a_gateway_means_its_routers() -> None:
    lab = Lab()
    lab.segment("plain")
    lab.join("r", "plain")
    lab.routers.add("r")
    lab.join("h", "plain", gateway=True)

    assert lab.routes("h") == ["default via 10.0.0.10 eth0"]


def test_a_link_to_the_outside_of_a_translating_router_is_no_way_out() -> None:
    lab = Lab()
    lab.segment("wire", link=True)
    lab.join("isp", "wire")
    lab.join("home", "wire", masquerade=True)
    lab.routers.add("home")

    assert lab.routes("isp") == []


def test_without_a_gateway_there_is_no_default_route_but_a_route_to_all_that_routers_reach() -> None:
    lab = Lab()
    lab.segment("internal")
    lab.segment("front", gateway=HOST)
    lab.join("r", "internal", "front")
    lab.routers.add("r")
    lab.join("db", "internal")

    assert lab.routes("db") == ["10.0.1.0/24 via 10.0.0.11 eth0"]


def test_with_routes_none_a_router_gets_none_and_its_neighbours_keep_their_default_route() -> None:
    lab = Lab()
    lab.segment("a", gateway="r1")
    lab.segment("b", gateway="r2")
    lab.join("r1", "a")
    lab.join("r2", "b")
    lab.link("r1", "r2")
    lab.join("pc", "a")
    lab.unrouted = {"r1", "r2"}

    assert lab.routes("r1") == []
    assert lab.routes("pc") == ["default via 10.0.0.10 eth0"]


def test_behind_a_router_with_routes_none_a_node_gets_routes_to_what_the_other_routers_reach() -> None:
    lab = Lab()
    lab.segment("lan", gateway="r1")
    lab.segment("back", gateway="r2")
    lab.join("r1", "lan")
    lab.join("r2", "lan", "back")
    lab.join("pc", "lan")
    lab.unrouted = {"r1"}

    assert lab.routes("pc") == ["default via 10.0.0.10 eth0", "10.0.1.0/24 via 10.0.0.11 eth0"]


def test_what_lies_behind_a_translating_port_is_not_routed_in_front_and_may_overlap() -> None:
    lab = Lab()
    lab.segment("isp", gateway=HOST)
    for home in ("home1", "home2"):
        lab.segment(home, gateway=f"{home}-router")
        lab.segments[home] = lab.segments[home]._replace(prefixes=(ip_network("192.168.1.0/24"),))
        lab.join(f"{home}-router", "isp", masquerade=True)
        lab.join(f"{home}-router", home)
        lab.join(f"{home}-pc", home)

    assert lab.routes(HOST) == []
    assert lab.routes("home1-router") == ["default via 10.0.0.10 eth0"]
    assert lab.routes("home1-pc") == ["default via 192.168.1.11 eth0"]


def test_each_family_goes_its_own_way_and_link_local_addresses_are_no_next_hops() -> None:
    lab = Lab(ipv6=True)
    lab.segment("a", gateway="r1")
    lab.segment("b", gateway="r2")
    lab.join("r1", "a")
    lab.join("r2", "b")
    lab.routers |= {"r3"}
    for number, (a, b) in enumerate((("r1", "r2"), ("r1", "r3"), ("r3", "r2"))):
        lab.link(a, b)
        if number == 0:  # the direct way has IPv4 only
            lab.interfaces[-2:] = [
                i._replace(addresses=(i.addresses[0], IPv6Address("fe80::1"))) for i in lab.interfaces[-2:]
            ]

    routes = lab.routes("r1")

    assert "10.0.1.0/24 via 10.0.2.11 eth1" in routes
    assert "fd00:0:0:1::/64 via fd00:0:0:3::c eth2" in routes


def test_of_two_interfaces_on_one_network_the_first_is_the_way() -> None:
    lab = Lab()
    lab.segment("a", gateway="r")
    lab.join("r", "a")
    lab.join("h", "a", "a")

    assert lab.routes("h") == ["default via 10.0.0.10 eth0"]
