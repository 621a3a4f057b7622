"""The firewall that is planned, as the text that people read; what it does to packets is in tests/kernel."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from nft_text import table_text

from netfab.objects.firewall import Firewall
from netfab.plan.firewall import Area, PublishedPort, firewall, localnet_bridges
from netfab.plan.guard import GuardedPort, guard

Golden = Callable[[str, str], None]
MAC = "02:00:00:00:00:aa"  # of every bridge


def area(bridge: str = "br-a", *prefixes: str, **properties: Any) -> Area:
    return Area(bridge, MAC, tuple(map(ip_network, prefixes or ("10.0.1.0/24",))), **properties)


def published(host: str | None = None, node: str = "10.0.1.2", **fields: Any) -> PublishedPort:
    at = None if host is None else ip_address(host)
    return PublishedPort("tcp", at, 8080, ip_address(node), 80, "br-a")._replace(**fields)


def port(link: str = "nf1", *addresses: str, **fields: Any) -> GuardedPort:
    return GuardedPort(link, ("02:00:00:00:00:01",), tuple(map(ip_address, addresses)))._replace(**fields)


def elements(tables: Any, name: str) -> list[str]:
    """What a set of the only table holds."""
    (table,) = tables
    (found,) = (held for held in table.sets if held.name == name)
    return [" ".join(element) for element in found.elements]


def chains(tables: Any) -> set[str]:
    (table,) = tables
    return {chain.name for chain in table.chains}


def test_a_fabric_with_everything(golden: Golden) -> None:
    areas = [
        area("br-front", "10.0.1.0/24", "10.9.0.0/16", "fd00:0:0:1::/64"),
        area("br-lan", "10.0.2.0/24", masquerade=False),
        area("br-db", "10.0.3.0/24", internal=True),
        area("br-wifi", "10.0.4.0/24", isolated=True),
        Area("br-l2", MAC, gateway=False),
    ]
    ports = [
        published(bridge="br-front"),
        published("127.0.0.1", protocol="udp", bridge="br-front"),
        published(node="fd00:0:0:1::2", bridge="br-front"),
    ]

    (table,) = firewall("shop", areas, ports, {4: ["eth0"], 6: ["eth0"]})

    golden("everything.inet", table_text(table))


def test_a_network_without_a_gateway_needs_no_connection_tracking(golden: Golden) -> None:
    (table,) = firewall("shop", [Area("br-l2", MAC, gateway=False)])

    golden("closed.inet", table_text(table))


def test_guarded_ports(golden: Golden) -> None:
    ports = [
        port("nfguest", "10.0.1.2", "fd00::2"),
        port("nfrouter", "10.0.1.3", routed=(ip_network("10.9.0.0/16"), ip_network("10.8.0.1/32"))),
        port("nfswitch", guard="mac"),
        port("nffree", guard="none"),
    ]

    (table,) = guard("shop", ports)

    golden("guarded.bridge", table_text(table))


def test_a_fabric_without_bridges_has_no_firewall() -> None:
    assert list(firewall("shop", [])) == []


def test_a_fabric_whose_ports_may_all_spoof_has_no_guard() -> None:
    assert list(guard("shop", [port(guard="none")])) == []


def test_the_rules_are_the_same_whatever_the_networks_are() -> None:
    (one,) = firewall("shop", [area()], [published()])
    (other,) = firewall(
        "shop", [area("br-b", "10.7.0.0/16"), area("br-c", internal=True)], [published(host_port=1)]
    )

    assert one.chains == other.chains


@pytest.mark.parametrize(
    ("properties", "leaving", "entering", "same"),
    [
        ({}, "goto leave", "goto enter", "accept"),
        ({"masquerade": False}, "goto leave", "goto enter-routed", "accept"),
        ({"internal": True}, "drop", "drop", "accept"),
        ({"isolated": True}, "goto leave", "goto enter", "drop"),
        ({"gateway": False}, "drop", "drop", "accept"),
        ({"gateway": False, "isolated": True}, "drop", "drop", "accept"),
    ],
)
def test_what_a_network_lets_pass(properties: Any, leaving: str, entering: str, same: str) -> None:
    tables = list(firewall("shop", [area(**properties)]))

    assert elements(tables, "leaving") == [f"br-a {leaving}"]
    assert elements(tables, "entering") == [f"br-a {entering}"]
    assert elements(tables, "same") == [f"br-a br-a {same}"]


def test_only_local_ipv6_addresses_are_masqueraded() -> None:
    tables = list(firewall("shop", [area("br-a", "fd00::/64", "2001:db8::/64")]))

    assert elements(tables, "masqueraded6") == ["fd00::/64"]


def test_prefixes_that_touch_are_one_element() -> None:
    tables = list(
        firewall("shop", [area("br-a", "10.0.0.0/24"), area("br-b", "10.0.1.0/24", "10.0.1.128/25")])
    )

    assert elements(tables, "masqueraded4") == ["10.0.0.0/23"]


def test_a_network_that_nobody_leaves_is_not_masqueraded() -> None:
    tables = list(firewall("shop", [area(), area("br-b", "10.0.2.0/24", internal=True)]))

    assert elements(tables, "masqueraded4") == ["10.0.1.0/24"]


def test_nothing_is_published_where_nothing_is_to_be() -> None:
    assert chains(firewall("shop", [area()])).isdisjoint({"prerouting", "output", "publish", "raw"})


def test_one_address_is_an_address_and_no_prefix() -> None:
    tables = list(guard("shop", [port(routed=(ip_network("10.9.0.1/32"),))]))

    assert elements(tables, "routed4") == ["nf1 10.9.0.1"]


def test_a_port_s_addresses_belong_to_each_of_its_macs() -> None:
    tables = list(guard("shop", [port("nf1", "10.0.1.2", macs=("02:00:00:00:00:01", "02:00:00:00:00:02"))]))

    assert elements(tables, "senders4") == [
        "nf1 02:00:00:00:00:01 10.0.1.2",
        "nf1 02:00:00:00:00:02 10.0.1.2",
    ]


@pytest.mark.parametrize(
    ("host", "node", "needed"),
    [
        (None, "10.0.1.2", {"br-a"}),
        ("127.0.0.1", "10.0.1.2", {"br-a"}),
        ("192.0.2.1", "10.0.1.2", set()),
        (None, "fd00::2", set()),
    ],
)
def test_bridges_over_which_the_host_asks_from_loopback(
    host: str | None, node: str, needed: set[str]
) -> None:
    assert localnet_bridges([published(host, node)]) == needed


def test_sets_are_data_and_rules_are_not() -> None:
    """No name that a user chose may stand in a rule."""
    tables: list[Firewall] = [
        *firewall("shop", [area("br;evil")], [published(bridge="br;evil")], {4: ["up;evil"]}),
        *guard("shop", [port("nf;evil", "10.0.1.2")]),
    ]

    rules = [rule.expressions for table in tables for chain in table.chains for rule in chain.rules]

    assert not any("evil" in rule for rule in rules)
