"""Which subnet a network gets, and that it keeps it."""

from __future__ import annotations

import pytest
from planning import held, planned, read, subnet_leases, subnets

from netfab.errors import PoolExhausted, Several, SubnetTaken
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.planner import plan
from netfab.plan.prefixes import reasons


def test_networks_and_links_get_the_lowest_free_subnets() -> None:
    found = planned("{name: lab, networks: {a: {}, b: {}}, nodes: {x: {}, y: {}}, links: [[x, y]]}")

    assert subnets(found) == {"a": "10.0.0.0/24", "b": "10.0.1.0/24", "x y": "10.0.2.0/31"}


def test_the_same_file_leases_and_facts_give_an_equal_plan() -> None:
    text = """
        name: lab
        defaults: {ipv6: true}
        networks: {a: {gateway: r}, b: {}}
        nodes: {r: {networks: [b], loopback: true}, h: {networks: [a]}, web: {networks: [b], scale: 3}}
        links: [[r, h]]
    """
    first = planned(text)

    assert planned(text) == first
    assert planned(text, first.claims)[:2] == first[:2]


def test_a_planned_subnet_is_free_of_what_the_host_routes() -> None:
    found = planned("{name: lab, networks: {a: {}}}", reservations=held("10.0.0.0/23"))

    assert subnets(found) == {"a": "10.0.2.0/24"}


def test_a_planned_subnet_is_not_in_avoid() -> None:
    found = planned("{name: lab, avoid: [10.0.0.0/16], networks: {a: {}}}")

    assert subnets(found) == {"a": "10.1.0.0/24"}


def test_a_planned_subnet_makes_way_for_a_written_one_that_comes_later() -> None:
    found = planned("{name: lab, networks: {a: {}, b: {subnet: 10.0.0.0/24}}}")

    assert subnets(found) == {"a": "10.0.1.0/24", "b": "10.0.0.0/24"}


def test_a_planned_subnet_holds_no_written_loopback() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a], loopback: 10.0.0.9}}}")

    assert subnets(found) == {"a": "10.0.1.0/24"}


@pytest.mark.parametrize(("nodes", "length"), [(2, 24), (126, 24), (127, 23), (200, 23), (500, 22)])
def test_a_subnet_without_a_written_size_holds_twice_its_members_at_first_planning(
    nodes: int, length: int
) -> None:
    found = planned(f"{{name: lab, networks: {{a: {{}}}}, nodes: {{n1..{nodes}: {{networks: [a]}}}}}}")

    assert subnets(found) == {"a": f"10.0.0.0/{length}"}


def test_a_subnet_of_a_written_size_is_planned_in_that_size() -> None:
    assert subnets(planned("{name: lab, networks: {a: {subnet: /28}}}")) == {"a": "10.0.0.0/28"}


def test_pools_say_where_and_how_big() -> None:
    found = planned("{name: lab, pools: [{prefix: 10.64.0.0/10, size: 26}], networks: {a: {}, b: {}}}")

    assert subnets(found) == {"a": "10.64.0.0/26", "b": "10.64.0.64/26"}


def test_an_ipv6_subnet_is_of_the_machines_own_unique_local_prefix() -> None:
    text = "{name: lab, networks: {a: {ipv6: true}, b: {ipv6: only}}}"
    one, other = (
        planned(text, machine="one").layout.segments,
        planned(text, machine="other").layout.segments,
    )

    four, six = one["a"].prefixes
    assert (str(four), six.prefixlen, str(six)[:2]) == ("10.0.0.0/24", 64, "fd")
    (alone,) = one["b"].prefixes
    assert alone.supernet(new_prefix=48) == six.supernet(new_prefix=48)
    assert other["a"].prefixes[1].supernet(new_prefix=48) != six.supernet(new_prefix=48)


def test_a_network_with_subnet_none_has_no_prefix_and_no_lease() -> None:
    found = planned("{name: lab, networks: {a: {subnet: none}}, nodes: {x: {networks: [a]}}}")

    assert subnets(found) == {"a": ""}
    assert subnet_leases(found) == frozenset()


def test_links_are_31_and_127() -> None:
    found = planned(
        "{name: lab, nodes: {x: {}, y: {}}, links: [{endpoints: [x, y], ipv6: true}]}", machine="m"
    )

    assert [prefix.prefixlen for prefix in found.layout.segments["x y"].prefixes] == [31, 127]


def test_a_lease_stays_when_a_network_before_it_goes() -> None:
    first = planned("{name: lab, networks: {a: {}, b: {}}}")

    assert subnets(planned("{name: lab, networks: {b: {}}}", first.claims)) == {"b": "10.0.1.0/24"}


def test_a_freed_subnet_is_used_again() -> None:
    first = planned("{name: lab, networks: {a: {}, b: {}}}")
    second = planned("{name: lab, networks: {b: {}}}", first.claims)

    third = planned("{name: lab, networks: {c: {}, b: {}}}", second.claims)

    assert subnets(third) == {"c": "10.0.0.0/24", "b": "10.0.1.0/24"}


def test_a_lease_stays_when_the_pools_change() -> None:
    first = planned("{name: lab, networks: {a: {}}}")

    found = planned("{name: lab, pools: [172.16.0.0/12], networks: {a: {}, b: {}}}", first.claims)

    assert subnets(found) == {"a": "10.0.0.0/24", "b": "172.16.0.0/24"}


def test_a_route_that_appears_over_a_lease_is_a_warning_and_moves_nothing() -> None:
    text = "{name: lab, networks: {a: {}, b: {subnet: 10.9.0.0/24}}}"
    first = planned(text)

    found = planned(text, first.claims, reservations=held("10.0.0.0/8"))

    assert subnets(found) == subnets(first)
    assert found.warnings == (
        "10.0.0.0/24 of a is now also 10.0.0.0/8, routed via tun0 on this host; nothing moves by itself",
        "10.9.0.0/24 of b is now also 10.0.0.0/8, routed via tun0 on this host; nothing moves by itself",
    )


def test_a_lease_whose_size_no_longer_fits_the_file_is_planned_anew() -> None:
    first = planned("{name: lab, networks: {a: {}, b: {}}}")

    found = planned("{name: lab, networks: {a: {subnet: /22}, b: {}}}", first.claims)

    assert subnets(found) == {"a": "10.0.4.0/22", "b": "10.0.1.0/24"}


def test_a_leased_subnet_that_overflows_is_an_error_that_names_the_size() -> None:
    first = planned("{name: lab, networks: {a: {}}, nodes: {n1..2: {networks: [a]}}}")

    with pytest.raises(PoolExhausted) as caught:
        planned("{name: lab, networks: {a: {}}, nodes: {n1..254: {networks: [a]}}}", first.claims)

    assert "node n254 in 10.0.0.0/24, which has 254" in caught.value.message
    assert "`subnet: /23`" in caught.value.hint


def test_a_written_subnet_that_the_host_routes_elsewhere_is_refused_with_place_and_holder() -> None:
    with pytest.raises(SubnetTaken) as caught:
        planned("name: lab\nnetworks:\n  a: {subnet: 10.8.0.0/24}\n", reservations=held("10.8.0.0/16"))

    assert str(caught.value) == (
        "lab.yaml:3:15: networks.a.subnet: 10.8.0.0/24 overlaps 10.8.0.0/16, routed via tun0 on this host"
    )


def test_a_written_subnet_is_not_in_avoid() -> None:
    with pytest.raises(SubnetTaken, match=r"10\.8\.1\.0/24 overlaps 10\.8\.0\.0/16, avoid"):
        planned("{name: lab, avoid: [10.8.0.0/16], networks: {a: {subnet: 10.8.1.0/24}}}")


def test_two_written_subnets_never_overlap() -> None:
    with pytest.raises(SubnetTaken, match=r"10\.8\.0\.0/24 overlaps 10\.8\.0\.0/16, network a of this file"):
        planned("""
            name: lab
            defaults: {gateway: none}
            networks: {a: {subnet: 10.8.0.0/16}, b: {subnet: 10.8.0.0/24}}
        """)


def test_a_subnet_that_is_written_over_a_lease_of_the_file_is_refused() -> None:
    first = planned("{name: lab, networks: {a: {}}}")

    with pytest.raises(SubnetTaken, match="network a of this file"):
        planned("{name: lab, networks: {a: {}, b: {subnet: 10.0.0.0/16}}}", first.claims)


def test_all_taken_subnets_are_named_at_once() -> None:
    with pytest.raises(Several) as caught:
        planned(
            "{name: lab, networks: {a: {subnet: 10.8.0.0/24}, b: {subnet: 10.8.1.0/24}}}",
            reservations=held("10.8.0.0/16"),
        )

    assert len(caught.value.errors) == 2


LAB = """
    name: {name}
    networks: {{a: {{subnet: 10.1.0.0/24, gateway: r}}, b: {{subnet: 10.2.0.0/24, gateway: none}}}}
    nodes: {{r: {{networks: [b]}}, s: {{}}, h: {{networks: [a]}}}}
    links: [{{endpoints: [r, s], subnet: 10.3.0.0/31}}]
"""


def test_two_copies_of_a_lab_that_the_host_has_no_part_in_run_side_by_side() -> None:
    first = planned(LAB.format(name="one"))
    others = [held(lease.value, "network of fabric one")[0] for lease in subnet_leases(first)]

    second = planned(LAB.format(name="two"), reservations=tuple(others))

    assert subnets(second) == subnets(first)
    assert {lease.kind for lease in subnet_leases(second)} == {"shared"}


def test_a_lab_that_a_router_joins_with_the_host_is_not_shared() -> None:
    joined = LAB.replace("gateway: none", "gateway: host").format(name="two")

    with pytest.raises(Several) as caught:
        planned(joined, reservations=held("10.0.0.0/8"))

    assert [error.message.split()[0] for error in caught.value.errors] == [
        "10.1.0.0/24",
        "10.2.0.0/24",
        "10.3.0.0/31",
    ]


def test_a_node_that_is_no_router_joins_nothing_with_the_host() -> None:
    found = planned(
        """
        name: lab
        networks: {a: {}, b: {subnet: 10.1.0.0/24, gateway: none}}
        nodes: {x: {networks: [a, b]}}
        """,
        reservations=held("10.1.0.0/24", "network b of fabric other"),
    )

    assert subnets(found) == {"a": "10.0.0.0/24", "b": "10.1.0.0/24"}


def test_a_shared_subnet_that_the_host_joins_is_checked_like_a_new_one() -> None:
    alone = "{name: lab, networks: {a: {subnet: 10.1.0.0/24, gateway: none}}}"
    first = planned(alone, reservations=held("10.1.0.0/24", "network a of fabric other"))

    with pytest.raises(SubnetTaken, match="network a of fabric other"):
        planned(
            alone.replace("none", "host"),
            first.claims,
            reservations=held("10.1.0.0/24", "network a of fabric other"),
        )


def test_a_shared_subnet_that_is_no_longer_written_stays_only_where_it_is_free() -> None:
    first = planned("{name: lab, networks: {a: {subnet: 10.1.0.0/24, gateway: none}}}")
    unwritten = "{name: lab, networks: {a: {gateway: none}}}"

    free = planned(unwritten, first.claims)
    taken = planned(unwritten, first.claims, reservations=held("10.1.0.0/24", "network a of fabric other"))

    assert (subnets(free), subnets(taken)) == ({"a": "10.1.0.0/24"}, {"a": "10.0.0.0/24"})
    assert {lease.kind for lease in subnet_leases(free)} == {"subnet"}


def test_a_static_address_says_which_subnet_is_planned() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: {a: {ip: 192.168.7.9}}}}}")

    assert subnets(found) == {"a": "192.168.7.0/24"}


def test_the_subnet_around_a_static_address_holds_twice_its_members_too() -> None:
    found = planned("""
        name: lab
        networks: {a: {}}
        nodes: {x: {networks: {a: {ip: 192.168.7.9}}}, n1..300: {networks: [a]}}
    """)

    assert subnets(found) == {"a": "192.168.4.0/22"}


def test_a_static_address_whose_block_is_taken_is_refused_where_it_stands() -> None:
    with pytest.raises(SubnetTaken) as caught:
        planned(
            "name: lab\nnetworks: {a: {}}\nnodes:\n  x: {networks: {a: {ip: 192.168.7.9}}}\n",
            reservations=held("192.168.0.0/16"),
        )

    assert str(caught.value.at) == "lab.yaml:4:26"
    assert "leave `ip` out" in caught.value.hint


def test_a_static_address_that_comes_later_does_not_move_the_subnet() -> None:
    first = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}}}")

    inside = planned(
        "{name: lab, networks: {a: {}}, nodes: {x: {networks: {a: {ip: 10.0.0.77}}}}}", first.claims
    )

    assert subnets(inside) == {"a": "10.0.0.0/24"}


def test_exhausted_pools_are_named_with_who_holds_them() -> None:
    with pytest.raises(PoolExhausted) as caught:
        planned("{name: lab, pools: [10.0.0.0/24], networks: {a: {}, b: {}}}")

    assert "no free /24 in 10.0.0.0/24; held by network a of this file" in caught.value.message


def test_why_lists_what_was_rejected_and_who_holds_it() -> None:
    text = "{name: lab, avoid: [10.0.1.0/24], networks: {a: {}, b: {subnet: 10.9.0.0/24}, c: {}}}"
    topology, facts = read(text), Facts(reservations=held("10.0.0.0/24"))
    leased = Lease("subnet", "c/4", "10.0.5.0/24")

    found = plan(topology, [leased], facts, "/run/netfab")

    assert list(reasons(topology, found.layout.prefixes, facts, [leased.key])) == [
        "a: 10.0.2.0/24, the lowest free /24",
        "  not 10.0.0.0/24: routed via tun0 on this host",
        "  not 10.0.1.0/24: avoid",
        "b: 10.9.0.0/24, as written",
        "c: 10.0.5.0/24, leased to it before",
    ]
