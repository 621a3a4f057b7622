"""Routes of a whole plan: default routes, the host's, written ones. Shortest paths: test_routing.py."""

from __future__ import annotations

from typing import Any

import pytest
from planning import ends, held, of_kind, planned, routes

from netfab.errors import PlanError
from netfab.objects.bridge import Bridge
from netfab.objects.firewall import Firewall
from netfab.objects.route import DEFAULT_METRIC6, Route
from netfab.objects.sysctl import Sysctl


def test_the_first_network_with_a_gateway_has_the_default_route() -> None:
    found = planned("""
        name: lab
        networks: {a: {gateway: none}, b: {}, c: {}}
        nodes: {x: {networks: [a, b, c]}}
    """)

    assert routes(found, "x") == ["default via 10.0.1.1 dev eth1"]


def test_gateway_true_chooses_another_network() -> None:
    found = planned(
        "{name: lab, networks: {a: {}, b: {}}, nodes: {x: {networks: {a: {}, b: {gateway: true}}}}}"
    )

    assert routes(found, "x") == ["default via 10.0.1.1 dev eth1"]


def test_a_node_on_a_link_has_its_default_route_by_the_router_at_the_other_end() -> None:
    found = planned("{name: lab, nodes: {r: {forward: true}, x: {}}, links: [[r, x]]}")

    assert routes(found, "x") == ["default via 10.0.0.0 dev eth0"]


def test_both_families_have_default_routes() -> None:
    found = planned(
        "{name: lab, networks: {a: {subnet: [10.5.0.0/24, 'fd00:5::/64']}}, nodes: {x: {networks: [a]}}}"
    )

    assert routes(found, "x") == ["default via 10.5.0.1 dev eth0", "default via fd00:5::1 dev eth0"]


def test_an_internal_network_has_no_way_out_and_the_host_is_still_on_it() -> None:
    found = planned(
        "{name: lab, networks: {a: {internal: true}}, nodes: {x: {networks: [a]}}}", uplinks=("eth0",)
    )

    (table,) = (thing for thing in of_kind(found, Firewall) if thing.family == "inet")
    assert routes(found, "x") == []
    assert not {"masqueraded4", "uplinks4"} & {held.name for held in table.sets}
    assert [str(i) for i in found.layout.segments["a"].host_addresses] == ["10.0.0.1/24"]


BEHIND = """
    name: lab
    networks: {wan: {}, lan: {gateway: r}}
    nodes: {r: {networks: [wan], loopback: 10.9.0.1}, x: {networks: [lan]}}
"""


def test_the_host_gets_routes_to_what_lies_behind_routers() -> None:
    assert routes(planned(BEHIND), "host") == [
        "10.0.1.0/24 via 10.0.0.2 dev br-wan",
        "10.9.0.1/32 via 10.0.0.2 dev br-wan",
    ]


def test_the_host_gets_no_route_where_it_is_not_the_gateway() -> None:
    assert routes(planned(BEHIND.replace("wan: {}", "wan: {gateway: none}")), "host") == []


def test_a_router_goes_out_by_the_host_and_its_network_by_the_router() -> None:
    found = planned(BEHIND)

    assert routes(found, "r") == ["default via 10.0.0.1 dev eth0"]
    assert routes(found, "x") == ["default via 10.0.1.1 dev eth0"]


def test_two_networks_of_the_host_are_not_joined() -> None:
    found = planned("{name: lab, networks: {a: {}, b: {}}, nodes: {x: {networks: [a]}, y: {networks: [b]}}}")

    assert routes(found, "host") == []
    assert routes(found, "x") == ["default via 10.0.0.1 dev eth0"]


def test_routes_none_means_none() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a], routes: none}}}")

    assert routes(found, "x") == []


def test_a_node_keeps_its_default_route_where_its_router_has_routes_none() -> None:
    found = planned(BEHIND.replace("loopback: 10.9.0.1", "routes: none"))

    assert (routes(found, "r"), routes(found, "x")) == ([], ["default via 10.0.1.1 dev eth0"])


def written(*specs: str, networks: str = "[a, b]") -> str:
    return f"""
        name: lab
        networks: {{a: {{}}, b: {{}}}}
        nodes:
          hub: {{networks: [b], forward: true}}
          x: {{networks: {networks}, routes: {list(specs)}}}
    """


@pytest.mark.parametrize(
    ("spec", "route"),
    [
        ("10.9.0.0/16 via hub", "10.9.0.0/16 via 10.0.1.2 dev eth1"),
        ("10.9.0.0/16 via 10.0.0.9", "10.9.0.0/16 via 10.0.0.9 dev eth0"),
        ("10.9.0.0/16 via 192.0.2.1 dev eth1", "10.9.0.0/16 via 192.0.2.1 dev eth1"),
        ("10.9.0.0/16 dev eth1", "10.9.0.0/16 dev eth1"),
        ("10.9.0.0/16 via hub metric 50", "10.9.0.0/16 via 10.0.1.2 dev eth1 metric 50"),
        ("blackhole 10.9.0.0/16", "10.9.0.0/16 blackhole"),
    ],
)
def test_a_written_route_adds_to_the_others(spec: str, route: str) -> None:
    assert routes(planned(written(spec)), "x") == ["default via 10.0.0.1 dev eth0", route]


def test_a_written_route_wins_on_an_equal_destination() -> None:
    found = planned(written("default via hub metric 50"))

    assert routes(found, "x") == ["default via 10.0.1.2 dev eth1 metric 50"]


@pytest.mark.parametrize(
    ("specs", "networks", "message"),
    [
        (["10.9.0.0/16 via 192.0.2.1"], "[a]", "x is on no network with 192.0.2.1 (10.0.0.0/24)"),
        (["10.9.0.0/16 via hub"], "[a]", "hub shares no network with this node"),
        (["10.9.0.0/16 via 10.0.0.1 dev eth7"], "[a]", "x has no interface eth7"),
        (["10.9.0.0/16 dev eth7"], "[a]", "x has no interface eth7"),
        (["10.0.0.0/24 via 10.0.0.9"], "[a]", "10.0.0.0/24 is a network of its own in x"),
        (
            ["10.9.0.0/16 via 10.0.0.9", "10.9.0.0/16 via 10.0.0.8"],
            "[a]",
            "10.9.0.0/16 has a route already, with the same metric in x",
        ),
    ],
)
def test_a_written_route_that_leads_nowhere_or_twice_is_refused(
    specs: list[str], networks: str, message: str
) -> None:
    with pytest.raises(PlanError) as caught:
        planned(written(*specs, networks=networks))

    assert caught.value.message == message
    assert caught.value.at is not None
    assert caught.value.at.path.startswith("nodes.x.routes")


def test_a_written_route_with_another_metric_stands_beside_an_equal_one() -> None:
    found = planned(written("10.9.0.0/16 via 10.0.0.9", "10.9.0.0/16 via 10.0.0.8 metric 5", networks="[a]"))

    assert routes(found, "x")[1:] == [
        "10.9.0.0/16 via 10.0.0.9 dev eth0",
        "10.9.0.0/16 via 10.0.0.8 dev eth0 metric 5",
    ]


def sysctls(text: str, node: str, **facts: Any) -> dict[str, str]:
    found = planned(text, **facts)
    return {thing.key: thing.value for thing in of_kind(found, Sysctl) if thing.space == f"node lab.{node}"}


def test_a_router_forwards_both_families_filters_no_path_and_spreads_flows_by_ports() -> None:
    text = "{name: lab, networks: {a: {ipv6: true, gateway: r}}, nodes: {r: {}, x: {networks: [a]}}}"

    assert sysctls(text, "r") == {
        "net/ipv4/conf/all/rp_filter": "0",
        "net/ipv4/fib_multipath_hash_policy": "1",
        "net/ipv6/conf/all/forwarding": "1",
        "net/ipv6/fib_multipath_hash_policy": "1",
    }
    assert sysctls(text, "x") == {}


def test_only_routers_forward_ipv4() -> None:
    found = planned(BEHIND)

    assert {name: end.settings.forwarding for name, end in ends(found).items()} == {
        "r eth0": True,
        "r eth1": True,
        "x eth0": False,
    }


def test_a_nodes_own_sysctl_wins() -> None:
    text = "{name: lab, nodes: {r: {forward: true, sysctls: {net.ipv4.conf.all.rp_filter: 2}}}}"

    assert sysctls(text, "r")["net/ipv4/conf/all/rp_filter"] == "2"


def test_the_host_forwards_on_the_bridges_whose_gateway_it_is() -> None:
    found = planned("{name: lab, networks: {a: {}, b: {gateway: none}, c: {gateway: r}}, nodes: {r: {}}}")

    assert {b.link.text: b.settings.forwarding for b in of_kind(found, Bridge)} == {
        "br-a": True,
        "br-b": False,
        "br-c": False,
    }


def test_a_node_between_two_links_that_does_not_forward_is_a_warning() -> None:
    text = "{name: lab, nodes: {x: {}, y: {}, z: {}}, links: [[x, y], [y, z]]}"

    assert planned(text).warnings == (
        "y has 2 links and passes nothing on; `forward: true` makes it a router",
    )
    assert planned(text.replace("y: {}", "y: {forward: true}")).warnings == ()


def test_no_route_leads_to_a_prefix_that_the_host_takes_for_somebody_elses() -> None:
    with pytest.raises(PlanError, match=r"10\.7\.0\.0/24 overlaps 10\.7\.0\.0/16, routed via tun0"):
        planned(
            BEHIND.replace("lan: {gateway: r}", "lan: {gateway: r, subnet: 10.7.0.0/24}"),
            reservations=held("10.7.0.0/16"),
        )


def test_a_metric_of_none_at_all_is_the_kernels_own() -> None:
    found = planned("""
        name: lab
        networks: {a: {subnet: [10.1.0.0/24, "fd00:1::/64"]}}
        nodes:
          web: {networks: [a], routes: ["10.9.0.0/16 dev eth0 metric 0", "fd00:9::/64 dev eth0 metric 0"]}
    """)
    metrics = {str(route.destination): route.metric for route in of_kind(found, Route)}

    assert (metrics["10.9.0.0/16"], metrics["fd00:9::/64"]) == (0, DEFAULT_METRIC6)
