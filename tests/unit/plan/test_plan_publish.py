"""Which ports of the host lead to which nodes, and what a port's node may send."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from planning import of_kind, planned, read

from netfab.errors import PlanError, Several
from netfab.objects.bridge import Bridge
from netfab.objects.firewall import Firewall
from netfab.objects.held import HeldPorts
from netfab.objects.port import Port
from netfab.objects.route import Route
from netfab.plan import leases
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease, Published, same_port
from netfab.plan.protection import published_ports

WEB = """
    name: lab
    networks: {{front: {{subnet: [10.5.0.0/24, "fd00:5::/64"]}}}}
    nodes: {{web: {{networks: [front], publish: ["{}"]}}}}
"""


def published(text: str, **facts: Any) -> list[str]:
    """One line for each map that a port is in."""
    found = planned(text, **facts)
    ports = published_ports(read(text), found.layout, of_kind(found, Route), Facts(**facts))
    return [
        f"{p.protocol} {p.host or '*'}:{p.host_port} -> {p.node} {p.node_port} by {p.bridge}"
        for p, _ in ports
    ]


def test_what_asks_for_a_published_port_from_behind_its_bridge_is_told_once_of_nested_prefixes() -> None:
    found = planned("""
        name: lab
        networks: {front: {subnet: 10.5.0.0/24}, back: {subnet: 10.7.0.0/24, gateway: r}}
        nodes:
          r: {networks: [front], loopback: 10.5.0.77}
          s: {networks: [back], loopback: 10.7.0.77}
          web: {networks: [front], publish: ["8080:80"]}
    """)
    sets = {held.name: held for table in of_kind(found, Firewall) for held in table.sets}

    # The kernel takes no prefix of a set that another one holds.
    assert sets["hairpin4"].elements == (
        ("br-front", "10.5.0.0/24"),
        ("br-front", "10.7.0.0/24"),
        ("br-front", "127.0.0.0/8"),
    )


@pytest.mark.parametrize(
    ("spec", "ports"),
    [
        ("8080:80", ["tcp *:8080 -> 10.5.0.2 80 by br-front", "tcp *:8080 -> fd00:5::2 80 by br-front"]),
        ("127.0.0.1:8080:80", ["tcp 127.0.0.1:8080 -> 10.5.0.2 80 by br-front"]),
        ("192.0.2.1:53:5353/udp", ["udp 192.0.2.1:53 -> 10.5.0.2 5353 by br-front"]),
        ("[2001:db8::1]:8080:80", ["tcp 2001:db8::1:8080 -> fd00:5::2 80 by br-front"]),
        ("0.0.0.0:8080:80", ["tcp *:8080 -> 10.5.0.2 80 by br-front"]),
        ("[::]:8080:80", ["tcp *:8080 -> fd00:5::2 80 by br-front"]),
    ],
)
def test_a_port_is_published_in_the_families_of_its_address_on_the_host(spec: str, ports: list[str]) -> None:
    assert published(WEB.format(spec)) == ports


@pytest.mark.parametrize(
    ("spec", "ports"),
    [
        ("8080:80", ("tcp/0.0.0.0/8080", "tcp/::/8080")),
        ("127.0.0.1:8080-8081:80-81", ("tcp/127.0.0.1/8080", "tcp/127.0.0.1/8081")),
        ("[2001:db8::1]:53:5353/udp", ("udp/2001:db8::1/53",)),
        ("[::]:8080:80", ("tcp/::/8080",)),
    ],
)
def test_a_published_port_is_held_in_the_families_in_which_it_leads_to_the_node(
    spec: str, ports: tuple[str, ...]
) -> None:
    (found,) = of_kind(planned(WEB.format(spec)), HeldPorts)

    assert found.ports == ports


def test_who_publishes_nothing_holds_nothing() -> None:
    assert of_kind(planned("name: lab\nnetworks: {a: {}}\nnodes: {web: {networks: [a]}}"), HeldPorts) == []


@pytest.mark.parametrize(("bridged_frames", "links"), [(False, []), (True, ["r", "web"])])
def test_where_ip_chains_see_bridged_frames_those_who_are_led_back_to_themselves_have_hairpin_ports(
    bridged_frames: bool, links: list[str]
) -> None:
    found = planned(
        """
        name: lab
        networks: {wan: {}, lan: {gateway: r}, other: {}}
        nodes:
          r: {networks: [wan, other]}
          web: {networks: [wan, other], publish: ["8080:80"]}
          behind: {networks: [lan], publish: ["8081:80"]}
          client: {networks: [wan]}
        """,
        bridged_frames=bridged_frames,
    )
    by_link = {nic.host_link: nic for nics in found.layout.nics.values() for nic in nics}
    back = [by_link[port.link.text] for port in of_kind(found, Port) if port.hairpin]

    assert sorted(nic.node for nic in back) == links
    assert {nic.segment for nic in back} <= {"wan"}


def test_a_port_published_on_loopback_lets_packets_from_there_onto_that_bridge_only() -> None:
    found = planned("""
        name: lab
        networks: {front: {}, back: {}}
        nodes: {web: {networks: [front], publish: ["127.0.0.1:8080:80"]}}
    """)

    assert {b.link.text: b.settings.route_localnet for b in of_kind(found, Bridge)} == {
        "br-front": True,
        "br-back": False,
    }


def test_a_port_is_published_by_a_router_of_a_network_whose_gateway_the_host_is() -> None:
    assert published("""
        name: lab
        networks: {wan: {}, lan: {gateway: r}}
        nodes: {r: {networks: [wan]}, web: {networks: [lan], publish: ["8080:80"]}}
    """) == ["tcp *:8080 -> 10.0.1.2 80 by br-wan"]


def test_a_port_is_published_where_its_nodes_default_route_goes() -> None:
    assert published("""
        name: lab
        networks: {a: {}, b: {}}
        nodes: {web: {networks: {a: {}, b: {gateway: true}}, publish: ["8080:80"]}}
    """) == ["tcp *:8080 -> 10.0.1.2 80 by br-b"]


@pytest.mark.parametrize(
    "networks",
    ["lan: {gateway: none}", "lan: {gateway: r}", "wan: {}, lan: {gateway: r, internal: true}"],
)
def test_a_port_of_a_node_with_no_path_to_the_host_is_refused(networks: str) -> None:
    with pytest.raises(PlanError, match="web publishes port 8080, and the host has no way to it") as caught:
        planned(f"""
            name: lab
            networks: {{{networks}, other: {{gateway: none}}}}
            nodes:
              r: {{networks: [{"wan" if "wan" in networks else "other"}], forward: true}}
              web: {{networks: [lan, other], publish: ["8080:80"]}}
        """)

    assert caught.value.at is not None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("tcp/*/8080", "8080:80"),
        ("tcp/*/8080", "127.0.0.1:8080:80"),
        ("tcp/127.0.0.1/8080", "8080:80"),
        ("tcp/0.0.0.0/8080", "127.0.0.1:8080:80"),
        ("tcp/192.0.2.1/8080", "192.0.2.1:8080:80"),
    ],
)
def test_a_port_that_another_fabric_publishes_is_refused(theirs: str, ours: str) -> None:
    with pytest.raises(PlanError, match="is published by fabric shop"):
        planned(WEB.format(ours), published={theirs: "shop"})


@pytest.mark.parametrize("theirs", ["udp/*/8080", "tcp/*/8081", "tcp/127.0.0.2/8080", "tcp/::/8080"])
def test_another_port_of_another_fabric_is_in_nobodys_way(theirs: str) -> None:
    assert published(WEB.format("127.0.0.1:8080:80"), published={theirs: "shop"})


def test_all_ports_that_can_not_be_published_are_named_at_once() -> None:
    with pytest.raises(Several) as caught:
        planned(WEB.format('8080:80", "8081:81'), published={"tcp/*/8080": "shop", "tcp/*/8081": "shop"})

    assert len(caught.value.errors) == 2


def test_a_published_port_is_leased() -> None:
    assert Lease("publish", "tcp/*/8080", "80") in planned(WEB.format("8080:80")).claims


def senders(text: str, name: str, node: str) -> list[str]:
    """What a set of the bridge table says of a node's first interface."""
    found = planned(text)
    (table,) = (thing for thing in of_kind(found, Firewall) if thing.family == "bridge")
    (rows,) = (held.elements for held in table.sets if held.name == name)
    link = found.layout.nics[node][0].host_link
    return [" ".join(map(str, row[1:])) for row in rows if row[0] == link]


def test_a_node_sends_by_its_own_mac_and_addresses_and_those_it_is_allowed() -> None:
    text = """
        name: lab
        networks: {a: {subnet: 10.5.0.0/24}}
        nodes:
          x:
            networks: {a: {mac: '02:00:00:00:00:07', allow: [10.5.0.100, 10.7.0.0/24]}}
            loopback: 10.9.0.1
    """

    assert senders(text, "senders4", "x") == [
        f"02:00:00:00:00:07 {address}" for address in ("10.5.0.100", "10.5.0.2", "10.9.0.1")
    ]
    assert senders(text, "routed4", "x") == ["10.7.0.0/24"]


def test_the_link_local_addresses_of_its_macs_are_a_nodes_own() -> None:
    text = """
        name: lab
        networks: {a: {subnet: fd00:5::/64}}
        nodes: {x: {networks: {a: {mac: '02:00:00:00:00:07', allow: ['02:00:00:00:00:08']}}}}
    """

    local = ("fe80::ff:fe00:7", "fe80::ff:fe00:8")
    assert senders(text, "senders6", "x") == [
        f"02:00:00:00:00:0{mac} {address}" for mac in (7, 8) for address in ("fd00:5::2", *local)
    ]


ROUTER = """
    name: lab
    networks: {wan: {VERSION}, lan: {gateway: r, VERSION}, deep: {gateway: s, VERSION}}
    nodes: {r: {networks: [wan, lan]}, s: {networks: [lan]}, x: {networks: [lan]}}
"""


def test_a_router_sends_inwards_from_anywhere_and_outwards_what_lies_behind_it() -> None:
    four, six = ROUTER.replace("VERSION", "ipv6: false"), ROUTER.replace("VERSION", "ipv6: only")
    swapped = four.replace("[wan, lan]", "[lan, wan]")

    assert senders(four, "routed4", "r") == ["10.0.1.0/24", "10.0.2.0/24"]
    assert senders(swapped, "routed4", "r") == ["0.0.0.0/0"]
    assert senders(six.replace("[wan, lan]", "[lan, wan]"), "routed6", "r") == ["::/0"]
    assert senders(four, "routed4", "x") == []


def test_a_router_also_sends_from_where_written_routes_lead() -> None:
    text = ROUTER.replace("VERSION", "ipv6: false").replace(
        "s: {networks: [lan]}", "s: {networks: [lan], routes: [172.20.0.0/16 via x]}"
    )

    assert "172.20.0.0/16" in senders(text, "routed4", "r")


def test_an_isolated_networks_router_sends_nothing_back_from_it() -> None:
    text = """
        name: lab
        networks: {lan: {gateway: r, isolated: true, subnet: 10.5.0.0/24}, wan: {}}
        nodes: {r: {networks: [lan, wan]}}
    """

    behind = [ip_network(row) for row in senders(text, "routed4", "r")]
    assert not any(prefix.overlaps(ip_network("10.5.0.0/24")) for prefix in behind)
    assert any(prefix.overlaps(ip_network("8.8.8.8")) for prefix in behind)


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("tcp/*/80", "tcp/127.0.0.1/80"),
        ("tcp/127.0.0.1/80", "tcp/127.0.0.1/80"),
        ("tcp/::1/80", ""),
        ("udp/*/80", ""),
        ("tcp/*/81", "tcp/*/81"),
    ],
)
def test_a_port_is_compared_only_with_those_of_its_number(
    asked: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Published(["tcp/127.0.0.1/80", *(f"tcp/*/{port}" for port in range(81, 1000))])
    compared: list[str] = []
    monkeypatch.setattr(
        leases, "same_port", lambda one, key: bool(compared.append(one)) or same_port(one, key)
    )

    assert held.beside(asked) == other
    assert len(compared) <= 1
