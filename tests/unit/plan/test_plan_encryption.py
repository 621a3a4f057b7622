"""Networks that are encrypted between hosts: keys, policies, MTUs; and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import pytest
from test_placement import SPANNING, TWO, facts, of_kind, planned, read

from netfab.errors import NetfabError, PlanError
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.firewall import Firewall
from netfab.objects.vxlan import Vxlan
from netfab.objects.xfrm import IN, OUT
from netfab.objects.xfrm_policy import XfrmPolicy
from netfab.objects.xfrm_state import XfrmState
from netfab.plan.encryption import LEASE
from netfab.plan.facts import Esp, Facts, Frr
from netfab.plan.leases import Lease, read_lease
from netfab.plan.overhead import OVERHEAD, overlay_mtu, packet_around
from netfab.plan.part import part_of, within
from netfab.plan.planner import Plan

ENCRYPTED = TWO + SPANNING % "encrypt: true"
SECRET, OTHER_SECRET = b"1" * 32, b"2" * 32
H1, H2 = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def hosts(**esp: Esp | None) -> Mapping[str, Facts]:
    addresses = {"h1": str(H1), "h2": str(H2), "h3": "192.0.2.3"}
    return {host: facts(addresses[host], esp=found) for host, found in esp.items()}


def keys_of(plans: Mapping[str, Plan], host: str) -> dict[str, XfrmState]:
    return {thing.names[0].text: thing for thing in of_kind(plans[host], XfrmState)}


def leases_of(plans: Mapping[str, Plan]) -> frozenset[Lease]:
    return next(iter(plans.values())).layout.claims


def number(plans: Mapping[str, Plan], pair: str = "h1 h2") -> int:
    return next(
        int(lease.value.split()[0]) for lease in leases_of(plans) if (lease.kind, lease.key) == (LEASE, pair)
    )


def applied(plans: Mapping[str, Plan], sent: int = 0, received: int = 0) -> dict[str, Esp]:
    """What hosts say after that was applied, and h1 sent so many packets and h2 received so many."""
    said = {}
    for host in plans:
        counted = {}
        for name, state in keys_of(plans, host).items():
            if state.source == H1:
                counted[name] = (sent, 0) if host == "h1" else (0, received)
            else:
                counted[name] = (0, 0)
        said[host] = Esp(True, counted)
    return said


def encrypted(
    leases: Iterable[Lease] = (), secret: bytes = SECRET, text: str = ENCRYPTED, **esp: Esp | None
) -> Mapping[str, Plan]:
    given = hosts(**(esp or {"h1": Esp(True, {}), "h2": Esp(True, {})}))
    return planned(text, leases, given, secret)


def test_two_hosts_have_the_same_two_keys_one_for_each_way() -> None:
    plans = encrypted()

    one, other = keys_of(plans, "h1"), keys_of(plans, "h2")
    assert one.keys() == other.keys()
    assert len({state.key for state in one.values()}) == 2
    assert {name: state.key for name, state in one.items()} == {n: s.key for n, s in other.items()}
    assert {state.destination: state.for_peers for state in one.values()} == {H1: True, H2: False}


def test_a_policy_for_each_way_says_that_all_to_the_tunnels_port_is_encrypted() -> None:
    found = of_kind(encrypted()["h1"], XfrmPolicy)

    assert [thing[:4] for thing in found] == [(IN, H2, H1, 4789), (OUT, H1, H2, 4789)]


def test_the_firewall_asks_for_esp_in_front_of_what_peers_may() -> None:
    (table,) = [table for table in of_kind(encrypted()["h1"], Firewall) if table.family == "inet"]

    (chain,) = [chain for chain in table.chains if chain.name == "strangers"]
    assert '"ipsec"' in chain.rules[0].expressions
    assert "peers4" in chain.rules[2].expressions


def test_the_firewall_lets_nothing_out_to_the_network_without_esp() -> None:
    tables = [
        table
        for text in (ENCRYPTED, TWO + SPANNING % "encrypt: false")
        for table in of_kind(encrypted(text=text)["h1"], Firewall)
        if table.family == "inet"
    ]

    secret, plain = [{chain.name: chain for chain in table.chains} for table in tables]
    assert (secret["clear"].hook, "clear" in plain) == ("output", False)
    assert '{"rt":{"key":"ipsec"}}' in secret["clear"].rules[0].expressions


def test_three_hosts_have_different_keys_for_each_two_of_them() -> None:
    text = TWO.replace("}}", "}, h3: {address: 192.0.2.3}}")
    text += "networks: {lan: {encrypt: true}}\nnodes: {n1..3: {networks: [lan], runs_on: [h1, h2, h3]}}"
    esp = dict.fromkeys(("h1", "h2", "h3"), Esp(True, {}))

    plans = planned(text, (), hosts(**esp), SECRET)

    assert len({state.key for host in plans for state in keys_of(plans, host).values()}) == 6
    assert len(keys_of(plans, "h3")) == 4


def test_keys_stay_while_both_hosts_have_them_and_count_on() -> None:
    plans = encrypted()

    again = encrypted(leases_of(plans), **applied(plans, sent=1000, received=990))

    assert number(again) == number(plans)
    assert again["h1"].fabric == plans["h1"].fabric


@pytest.mark.parametrize(("sent", "received"), [(5, 6), (1 << 40, 0)], ids=["sender", "receiver"])
def test_keys_are_new_where_a_state_was_made_anew(sent: int, received: int) -> None:
    plans = encrypted()

    again = encrypted(leases_of(plans), **applied(plans, sent, received))

    assert keys_of(again, "h1").keys().isdisjoint(keys_of(plans, "h1"))


def test_keys_are_new_where_a_host_lost_them() -> None:
    plans = encrypted()

    again = encrypted(leases_of(plans), **applied(plans) | {"h2": Esp(True, {})})

    assert number(again) == number(plans) + 1


def test_keys_of_an_apply_that_was_killed_are_not_used_again() -> None:
    first = encrypted()
    killed = encrypted(leases_of(first), h1=Esp(True, {}), h2=Esp(True, {}))

    again = encrypted(leases_of(first), **applied(killed))

    assert number(again) == number(killed) + 1


def test_of_several_numbers_that_two_hosts_are_said_to_have_the_highest_counts() -> None:
    (lease,) = (lease for lease in leases_of(encrypted()) if lease.kind == LEASE)
    of_secret = lease.value.split()[1]
    said = frozenset(lease._replace(value=f"{number} {of_secret}") for number in (12, 2, 7))

    assert number(encrypted(said, h1=Esp(True, {}), h2=Esp(True, {}))) == 13


def test_a_number_that_has_no_next_one_is_refused_and_any_other_can_be_read() -> None:
    """Else hosts would have leases that nobody takes from them any more, long after the one that lied."""
    (lease,) = (lease for lease in leases_of(encrypted()) if lease.kind == LEASE)
    of_secret = lease.value.split()[1]

    with pytest.raises(PlanError, match="9" * 18):
        encrypted([lease._replace(value=f"{'9' * 18} {of_secret}")])
    last = leases_of(encrypted([lease._replace(value=f"{'9' * 17}8 {of_secret}")]))

    assert [read_lease(one).value for one in last if one.kind == LEASE] == [f"{'9' * 18} {of_secret}"]


def test_a_host_that_is_not_reached_has_no_say() -> None:
    plans = encrypted()

    again = encrypted(leases_of(plans), h1=applied(plans)["h1"], h2=None)

    assert number(again) == number(plans)


def test_another_secret_makes_other_keys() -> None:
    plans = encrypted()

    again = encrypted(leases_of(plans), OTHER_SECRET, **applied(plans))

    both = {state.key for found in (plans, again) for state in keys_of(found, "h1").values()}
    assert len(both) == 4
    assert number(again) == number(plans) + 1


def test_no_lease_and_nothing_public_holds_a_key() -> None:
    plans = encrypted()

    told = plans["h1"].fabric.public().to_json() + str(sorted(plans["h1"].claims))
    assert not any(state.key in told for state in keys_of(plans, "h1").values())
    assert SECRET.hex() not in told
    assert not any(key in str(state) for state in keys_of(plans, "h1").values() for key in (state.key,))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("underlay", range(1490, 1510))
def test_the_mtu_is_the_largest_whose_packets_fit(underlay: int, family: int) -> None:
    inner = overlay_mtu(underlay, family, encrypted=True)

    assert packet_around(inner, family, encrypted=True) <= underlay
    assert packet_around(inner + 1, family, encrypted=True) > underlay


def test_of_1500_bytes_1416_are_left() -> None:
    (tunnel,) = of_kind(encrypted()["h1"], Vxlan)

    assert tunnel.end.mtu == 1416
    assert packet_around(1450, 4, encrypted=False) == 1500 == 1450 + OVERHEAD[4]


def test_a_kernel_without_esp_is_named() -> None:
    with pytest.raises(NetfabError, match="lan is encrypted, and h2's kernel lacks ESP"):
        encrypted(h1=Esp(True, {}), h2=Esp(False, {}))


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (
            "a: {encrypt: true}, b: {}",
            "a is encrypted and b is not, and both go from h1 to h2 by UDP port 4789",
        ),
        ("a: {encrypt: true, vxlan: {control: multicast}}, b: {encrypt: true}", "a is flooded by multicast"),
        ("a: {encrypt: true, vxlan: none, uplink: {h1: e, h2: e}}, b: {}", "where nothing encrypts it"),
    ],
)
def test_what_can_not_be_encrypted_is_refused(networks: str, message: str) -> None:
    text = f"{TWO}networks: {{{networks}}}\nnodes: {{n1..2: {{networks: [a, b], runs_on: [h1, h2]}}}}"

    with pytest.raises(NetfabError, match=message):
        encrypted(text=text)


def test_a_port_of_its_own_sets_an_encrypted_network_apart() -> None:
    text = f"""{TWO}networks: {{a: {{encrypt: true, vxlan: {{port: 4790}}}}, b: {{}}}}
nodes: {{n1..2: {{networks: [a, b], runs_on: [h1, h2]}}}}"""

    plans = encrypted(text=text)

    assert {thing.port for thing in of_kind(plans["h1"], XfrmPolicy)} == {4790}


def test_a_network_on_one_host_is_not_encrypted() -> None:
    text = TWO + "networks: {lan: {encrypt: true}}\nnodes: {n: {networks: [lan], runs_on: h1}}"

    assert of_kind(encrypted(text=text)["h1"], XfrmPolicy) == []


def test_hosts_that_hear_of_each_other_by_bgp_have_keys_and_a_reflector_without_the_network_none() -> None:
    text = """
        name: lab
        hosts:
          h1: {address: 192.0.2.1}
          h2: {address: 192.0.2.2}
          h3: {address: 192.0.2.3, reflector: true}
        networks: {lan: {encrypt: true, vxlan: {control: evpn}}}
        nodes: {n1..2: {networks: [lan], runs_on: [h1, h2]}}
    """
    addresses = {"h1": str(H1), "h2": str(H2), "h3": "192.0.2.3"}
    frr = Frr("/usr/lib/frr", runs=False)
    given = {host: facts(address, esp=Esp(True, {}), frr=frr) for host, address in addresses.items()}

    plans = planned(text, (), given, SECRET)

    assert [len(keys_of(plans, host)) for host in plans] == [2, 2, 0]
    assert [thing[:4] for thing in of_kind(plans["h1"], XfrmPolicy)] == [
        (IN, H2, H1, 4789),
        (OUT, H1, H2, 4789),
    ]
    assert {thing.end.mtu for thing in of_kind(plans["h1"], Vxlan)} == {1416}
    assert [peer.address for host in plans for peer in of_kind(plans[host], BgpPeer)] == [
        "192.0.2.3",
        "192.0.2.3",
        "192.0.2.1",
        "192.0.2.2",
    ]


def test_a_part_has_all_keys_of_its_host_and_none_of_those_before() -> None:
    topology = read(ENCRYPTED)
    before, after = encrypted(), encrypted(secret=OTHER_SECRET, leases=leases_of(encrypted()))

    part = part_of(topology, after["h1"], ["n1"])

    kinds = (XfrmState, XfrmPolicy)
    put = within(part, before["h1"].fabric)
    assert [thing for thing in put.values() if isinstance(thing, kinds)] == [
        thing for thing in after["h1"].fabric.values() if isinstance(thing, kinds)
    ]


def test_a_part_of_what_is_not_encrypted_leaves_keys_as_they_are() -> None:
    text = f"""{TWO}networks: {{a: {{encrypt: true, vxlan: {{port: 4790}}}}, b: {{}}}}
nodes: {{n1: {{networks: [b], runs_on: h1}}, n2..3: {{networks: [a, b], runs_on: [h2, h1]}}}}"""

    part = part_of(read(text), encrypted(text=text)["h1"], ["n1"])

    assert of_kind(part, XfrmState) == []
