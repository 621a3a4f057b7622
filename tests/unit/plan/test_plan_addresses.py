"""Which address, name, MAC and MTU each interface gets."""

from __future__ import annotations

from typing import Any

import pytest
from planning import addresses, ends, held, of_kind, planned, routes, subnets

from netfab.errors import AddressTaken, PlanError, PoolExhausted, SubnetTaken
from netfab.objects.address import Address
from netfab.objects.base import HOST
from netfab.objects.bridge import Bridge
from netfab.objects.port import Port
from netfab.plan.leases import Lease


def test_the_bridge_has_the_first_address_and_nodes_the_next() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}, y: {networks: [a]}}}")

    assert addresses(found, HOST) == ["br-a 10.0.0.1/24"]
    assert addresses(found, "x") == ["eth0 10.0.0.2/24"]
    assert addresses(found, "y") == ["eth0 10.0.0.3/24"]


def test_a_written_gateway_is_the_bridges() -> None:
    found = planned(
        "{name: lab, networks: {a: {subnet: 10.5.0.0/24, gateway: 10.5.0.254}}, nodes: {x: {networks: [a]}}}"
    )

    assert addresses(found, HOST) == ["br-a 10.5.0.254/24"]
    assert routes(found, "x") == ["default via 10.5.0.254 dev eth0"]


def test_a_gateway_node_has_the_first_address_and_the_bridge_none() -> None:
    found = planned("{name: lab, networks: {a: {gateway: r}}, nodes: {x: {networks: [a]}, r: {}}}")

    assert addresses(found, HOST) == []
    assert addresses(found, "r") == ["eth0 10.0.0.1/24"]
    assert routes(found, "x") == ["default via 10.0.0.1 dev eth0"]


def test_a_gateway_node_has_the_address_that_it_writes() -> None:
    found = planned("""
        name: lab
        networks: {a: {gateway: r, ipv6: true, subnet: [10.5.0.0/24, "fd00:5::/64"]}}
        nodes: {x: {networks: [a]}, r: {networks: {a: {ip: 10.5.0.77}}}}
    """)

    assert addresses(found, "r") == ["eth0 10.5.0.77/24", "eth0 fd00:5::1/64"]
    assert routes(found, "x") == ["default via 10.5.0.77 dev eth0", "default via fd00:5::1 dev eth0"]


def test_a_gateway_node_that_is_there_twice_is_the_gateway_by_its_first_interface() -> None:
    found = planned("{name: lab, networks: {a: {gateway: r}}, nodes: {r: {networks: [a, a]}}}")

    assert addresses(found, "r") == ["eth0 10.0.0.1/24", "eth1 10.0.0.2/24"]


def test_a_gateway_node_that_writes_one_address_has_others_like_everybody() -> None:
    found = planned("""
        name: lab
        networks: {a: {gateway: r, subnet: 10.5.0.0/24}}
        nodes: {r: {networks: [a: {ip: 10.5.0.77}, a]}}
    """)

    assert addresses(found, "r") == ["eth0 10.5.0.77/24", "eth1 10.5.0.2/24"]


def test_an_external_gateway_is_nobodys_address_here() -> None:
    found = planned("""
        name: lab
        networks: {a: {subnet: 10.5.0.0/29, gateway: {external: 10.5.0.2}}}
        nodes: {x1..5: {networks: [a]}}
    """)

    assert addresses(found, HOST) == []
    assert [addresses(found, f"x{n}") for n in range(1, 6)] == [
        [f"eth0 10.5.0.{last}/29"] for last in (3, 4, 5, 6, 1)
    ]
    assert routes(found, "x1") == ["default via 10.5.0.2 dev eth0"]


def test_a_network_without_a_gateway_has_no_default_route_and_the_host_no_address() -> None:
    found = planned("{name: lab, networks: {a: {gateway: none}}, nodes: {x: {networks: [a]}}}")

    assert (addresses(found, HOST), routes(found, "x")) == ([], [])


def test_a_gateway_that_comes_later_moves_nobody() -> None:
    text = "{name: lab, networks: {a: {gateway: none}}, nodes: {x: {networks: [a]}, r: {networks: [a]}}}"
    first = planned(text)

    by_host = planned(text.replace("none", "host"), first.claims)
    by_node = planned(text.replace("none", "r"), by_host.claims)

    assert addresses(first, "x") == addresses(by_host, "x") == addresses(by_node, "x")
    assert (addresses(by_host, HOST), addresses(by_node, "r")) == (["br-a 10.0.0.1/24"], ["eth0 10.0.0.1/24"])


def test_another_gateway_takes_the_address_of_the_one_before() -> None:
    text = "{name: lab, networks: {a: {gateway: r}}, nodes: {r: {networks: [a]}, s: {networks: [a]}}}"
    first = planned(text)

    found = planned(text.replace("gateway: r", "gateway: s"), first.claims)

    assert (addresses(found, "s"), addresses(found, "r")) == (["eth0 10.0.0.1/24"], ["eth0 10.0.0.2/24"])


def test_a_range_is_where_addresses_come_from_and_written_ones_are_free_of_it() -> None:
    found = planned("""
        name: lab
        networks: {a: {subnet: 10.5.0.0/24, range: 10.5.0.64/26}}
        nodes: {x: {networks: [a]}, y: {networks: {a: {ip: 10.5.0.9}}}}
    """)

    assert (addresses(found, "x"), addresses(found, "y")) == (["eth0 10.5.0.64/24"], ["eth0 10.5.0.9/24"])


def test_a_leased_address_stays_when_a_range_is_written_elsewhere() -> None:
    text = "{name: lab, networks: {a: {subnet: 10.5.0.0/24}}, nodes: {x: {networks: [a]}}}"
    first = planned(text)

    found = planned(text.replace("/24}", "/24, range: 10.5.0.64/26}"), first.claims)

    assert addresses(found, "x") == ["eth0 10.5.0.2/24"]


def test_a_leased_address_stays_when_a_node_before_it_goes() -> None:
    first = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}, y: {networks: [a]}}}")

    found = planned("{name: lab, networks: {a: {}}, nodes: {y: {networks: [a]}}}", first.claims)

    assert addresses(found, "y") == ["eth0 10.0.0.3/24"]


def test_an_address_that_is_written_over_anothers_lease_is_refused_and_moves_nobody() -> None:
    first = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}}}")

    with pytest.raises(AddressTaken) as caught:
        planned(
            "{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}, y: {networks: {a: {ip: 10.0.0.2}}}}}",
            first.claims,
        )

    assert caught.value.message == "10.0.0.2, leased to x, is held by node y"
    assert caught.value.at is not None


def test_a_node_that_writes_the_address_that_it_was_leased_keeps_it() -> None:
    first = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}}}")

    found = planned(
        "{name: lab, networks: {a: {}}, nodes: {x: {networks: {a: {ip: 10.0.0.2}}}}}", first.claims
    )

    assert addresses(found, "x") == ["eth0 10.0.0.2/24"]


def test_an_address_outside_its_network_is_refused_where_it_stands() -> None:
    with pytest.raises(PlanError) as caught:
        planned("""
            name: lab
            networks: {a: {}}
            nodes:
              x: {networks: {a: {ip: 10.5.0.9}}}
              y: {networks: {a: {ip: 10.6.0.9}}}
        """)

    assert caught.value.message == "10.6.0.9 is not in the subnet of network a (10.5.0.0/24)"
    assert caught.value.at is not None
    assert caught.value.at.path == "nodes.y.networks.a.ip"


def test_an_interface_has_all_addresses_that_are_written() -> None:
    found = planned("""
        name: lab
        networks: {a: {subnet: [10.5.0.0/24, "fd00:5::/64"]}}
        nodes: {x: {networks: {a: {ip: [10.5.0.9, 10.5.0.10, "fd00:5::9"]}}}}
    """)

    assert addresses(found, "x") == ["eth0 10.5.0.9/24", "eth0 10.5.0.10/24", "eth0 fd00:5::9/64"]


def test_of_two_families_the_one_without_a_written_address_is_planned() -> None:
    found = planned("""
        name: lab
        networks: {a: {subnet: [10.5.0.0/24, "fd00:5::/64"]}}
        nodes: {x: {networks: {a: {ip: 10.5.0.9}}}}
    """)

    assert addresses(found, "x") == ["eth0 10.5.0.9/24", "eth0 fd00:5::2/64"]


def test_an_interface_with_ip_none_has_no_address() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: {a: {ip: none}}}}}")

    assert (addresses(found, "x"), routes(found, "x")) == ([], [])


def test_the_same_network_twice_gives_two_interfaces() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a, a]}}}")

    assert addresses(found, "x") == ["eth0 10.0.0.2/24", "eth1 10.0.0.3/24"]
    assert len({end.mac for end in ends(found).values()}) == 2


def test_both_addresses_of_a_31_and_of_a_127_are_used() -> None:
    found = planned("""
        name: lab
        nodes: {x: {}, y: {}}
        links: [{endpoints: [x, y], subnet: [10.5.0.0/31, "fd00:5::/127"]}]
    """)

    assert addresses(found, "x") == ["eth0 10.5.0.0/31", "eth0 fd00:5::/127"]
    assert addresses(found, "y") == ["eth0 10.5.0.1/31", "eth0 fd00:5::1/127"]


def test_a_links_written_end_leaves_the_other_address_to_the_other_end() -> None:
    found = planned(
        "{name: lab, nodes: {x: {}, y: {}}, links: [{endpoints: [x, {node: y, ip: 10.5.0.0/31}]}]}"
    )

    assert (addresses(found, "x"), addresses(found, "y")) == (["eth0 10.5.0.1/31"], ["eth0 10.5.0.0/31"])


@pytest.mark.parametrize("spec", ["subnet: none", "ipv6: only"])
def test_without_ipv4_link_local_is_on(spec: str) -> None:
    found = planned(f"{{name: lab, nodes: {{x: {{}}, y: {{}}}}, links: [{{endpoints: [x, y], {spec}}}]}}")

    local = [thing for thing in of_kind(found, Address) if thing.address.is_link_local]
    assert [str(thing.link) for thing in local] == ["eth0 of x", "eth0 of y"]


def test_with_ipv4_alone_link_local_is_off() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}}}")

    assert not [thing for thing in of_kind(found, Address) if thing.address.version == 6]


def test_without_an_address_no_link_local_is_asked_of_an_mtu_too_small_for_it() -> None:
    found = planned(
        "{name: lab, nodes: {x: {}, y: {}}, links: [{endpoints: [x, y], subnet: none, mtu: 1000}]}"
    )

    assert of_kind(found, Address) == []


def test_a_planned_loopback_is_one_address_of_a_block_of_its_own() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a], loopback: true}}}")

    assert addresses(found, "x") == ["eth0 10.0.0.2/24", "lo 10.0.1.1/32"]


def test_a_planned_loopback_has_the_families_of_its_nodes_subnets() -> None:
    found = planned("""
        name: lab
        networks: {four: {}, both: {ipv6: true}, six: {ipv6: only}, none: {subnet: none}}
        nodes:
          w: {networks: [four], loopback: true}
          x: {networks: [both], loopback: true}
          y: {networks: [six], loopback: true}
          z: {networks: [none], loopback: true}
    """)

    def families(node: str) -> list[str]:
        return [text.rpartition("/")[2] for text in addresses(found, node) if text.startswith("lo")]

    assert list(map(families, "wxyz")) == [["32"], ["32", "128"], ["128"], ["32"]]


def test_a_loopback_keeps_its_address_when_others_come_and_go() -> None:
    first = planned("{name: lab, nodes: {x: {loopback: true}, y: {loopback: true}}}")

    found = planned(
        "{name: lab, networks: {a: {}}, nodes: {w: {loopback: true}, y: {loopback: true}}}", first.claims
    )

    assert addresses(found, "y") == addresses(first, "y")


def test_loopbacks_that_outgrow_their_leased_block_are_an_error_that_says_what_to_write() -> None:
    block = Lease("subnet", "*loopback/4", "10.0.0.0/30")

    with pytest.raises(PoolExhausted, match=r"node x3 in 10\.0\.0\.0/30, which has 2") as caught:
        planned("{name: lab, nodes: {x1..3: {loopback: true}}}", [block])

    assert "`loopback: ADDRESS`" in caught.value.hint


def test_written_loopbacks_are_as_they_are_and_may_be_the_same_on_two_nodes() -> None:
    found = planned("""
        name: lab
        nodes: {x: {loopback: [10.9.0.1, "fd00:9::1"]}, y: {loopback: 10.9.0.1}}
    """)

    assert addresses(found, "x") == ["lo 10.9.0.1/32", "lo fd00:9::1/128"]
    assert addresses(found, "y") == ["lo 10.9.0.1/32"]


def test_a_written_loopback_that_the_host_would_route_is_not_somebody_elses() -> None:
    text = """
        name: lab
        networks: {a: {gateway: GATEWAY}}
        nodes: {r: {networks: [a], forward: true, loopback: 10.9.0.1}}
    """
    taken = held("10.9.0.0/16")

    with pytest.raises(SubnetTaken, match=r"10\.9\.0\.1 is in 10\.9\.0\.0/16, routed via tun0"):
        planned(text.replace("GATEWAY", "host"), reservations=taken)

    assert addresses(planned(text.replace("GATEWAY", "none"), reservations=taken), "r")[1] == "lo 10.9.0.1/32"


def test_interfaces_are_networks_first_then_links_and_skip_written_names() -> None:
    found = planned("""
        name: lab
        networks: {a: {}, b: {}}
        nodes: {x: {networks: [a, {b: {name: eth1}}]}, y: {}}
        links: [[x, y], ["x:uplink", y]]
    """)

    assert [name for name in ends(found) if name.startswith("x ")] == [
        "x eth0",
        "x eth1",
        "x eth2",
        "x uplink",
    ]


def test_macs_are_stable_local_unicast_and_different() -> None:
    text = "{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}, y: {networks: [a]}}}"
    macs = {name: end.mac for name, end in ends(planned(text)).items()}

    assert macs == {name: end.mac for name, end in ends(planned(text)).items()}
    assert len(set(macs.values())) == 2
    assert {int(mac[:2], 16) & 3 for mac in macs.values()} == {2}


def test_a_written_mac_is_the_interfaces() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: {a: {mac: '02:00:00:00:00:07'}}}}}")

    assert ends(found)["x eth0"].mac == "02:00:00:00:00:07"


def test_the_mtu_is_the_way_outs_and_enough_for_ipv6() -> None:
    text = "{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}}}"

    assert [ends(planned(text, mtu=mtu))["x eth0"].mtu for mtu in (1500, 1420, 900)] == [1500, 1420, 1280]


def test_a_written_mtu_is_the_networks_and_a_ports_own_is_the_ports() -> None:
    found = planned("""
        name: lab
        networks: {a: {mtu: 9000}}
        nodes: {x: {networks: [a]}, y: {networks: {a: {mtu: 1400}}}}
    """)

    assert [bridge.mtu for bridge in of_kind(found, Bridge)] == [9000]
    assert {name: end.mtu for name, end in ends(found).items()} == {"x eth0": 9000, "y eth0": 1400}


def bridges(text: str, leases: Any = (), **facts: Any) -> dict[str, str]:
    found = planned(text, leases, **facts)
    return {name: segment.bridge for name, segment in found.layout.segments.items()}


def test_a_bridge_is_named_for_its_network() -> None:
    assert bridges("{name: lab, networks: {front: {}}}") == {"front": "br-front"}


def test_a_bridge_whose_name_is_too_long_or_taken_is_named_by_a_hash() -> None:
    text = "{name: lab, networks: {production-net: {}, front: {}}}"

    found = bridges(text, links=frozenset({"br-front"}))

    assert all(name.startswith("br-") and len(name) == 15 for name in found.values())
    assert bridges(text, links=frozenset({"br-front"})) == found


def test_a_bridge_is_not_named_as_one_that_another_fabric_has_though_it_is_not_there_now() -> None:
    text, others = "{name: lab, networks: {front: {}}}", {"br-front": "network front of fabric shop"}

    assert bridges(text, bridges=others) == bridges(text, links=frozenset({"br-front"}))


def test_a_written_bridge_has_its_name() -> None:
    assert bridges("{name: lab, networks: {front: {bridge: br0}}}") == {"front": "br0"}


def test_a_bridge_makes_way_for_a_written_name_at_first_and_keeps_its_own_later() -> None:
    both = "{name: lab, networks: {a: {}, b: {bridge: br-a}}}"
    first = planned("{name: lab, networks: {a: {}}}")

    assert bridges(both)["a"] != "br-a"
    with pytest.raises(PlanError, match="the bridge br-a is network a's"):
        planned(both, first.claims)


def test_a_bridge_that_was_renamed_by_a_hash_keeps_that_name() -> None:
    text = "{name: lab, networks: {front: {}}}"
    first = planned(text, links=frozenset({"br-front"}))

    assert bridges(text, first.claims) == bridges(text, links=frozenset({"br-front"}))


EXTERNAL = """
    name: lab
    networks: {lan: {bridge: br0, external: true, subnet: 192.168.1.0/24, gateway: 192.168.1.1}}
    nodes: {x: {networks: [lan]}}
"""


def test_somebody_elses_bridge_gets_ports_and_nothing_else() -> None:
    found = planned(
        EXTERNAL, links=frozenset({"br0"}), reservations=held("192.168.1.0/24", "routed via br0 on this host")
    )

    assert of_kind(found, Bridge) == []
    assert addresses(found, HOST) == []
    assert [port.bridge.text for port in of_kind(found, Port)] == ["br0"]
    assert addresses(found, "x") == ["eth0 192.168.1.2/24"]
    assert routes(found, "x") == ["default via 192.168.1.1 dev eth0"]


def test_somebody_elses_bridge_has_no_gateway_unless_that_is_written() -> None:
    found = planned(
        "{name: lab, networks: {lan: {bridge: br0, external: true}}, nodes: {x: {networks: [lan]}}}",
        links=frozenset({"br0"}),
    )

    assert (addresses(found, HOST), routes(found, "x")) == ([], [])


def test_somebody_elses_bridge_has_to_be_there() -> None:
    with pytest.raises(PlanError, match="this host has no br0"):
        planned(EXTERNAL)


def test_ports_of_an_isolated_network_are_isolated_but_for_its_gateways() -> None:
    found = planned("""
        name: lab
        networks: {a: {isolated: true, gateway: r}}
        nodes: {x: {networks: [a]}, r: {}}
    """)

    node_of = {nic.host_link: nic.node for nics in found.layout.nics.values() for nic in nics}
    assert {node_of[port.link.text]: port.isolated for port in of_kind(found, Port)} == {
        "x": True,
        "r": False,
    }


def test_a_network_without_ipv4_still_plans_the_other_networks() -> None:
    found = planned("{name: lab, networks: {a: {ipv6: only}, b: {}}}")

    assert subnets(found)["b"] == "10.0.0.0/24"
