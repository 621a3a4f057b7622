"""What differs, in which order it changes: golden text, cycles, random fabrics played on a model kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from random import Random
from typing import Any, NamedTuple

import pytest
from examples import (
    BR0,
    BR1,
    FILE,
    GROUP,
    TUNNEL,
    WEB,
    WEB_ETH0,
    WEB_ETH1,
    WEB_HOST,
    address,
    bridge,
    cable,
    fabric,
    namespace,
    port,
    route,
    veth,
    vxlan,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from random_fabrics import random_fabric

from netfab.engine.diff import Change, counts_of, describe, diff, for_peers, order
from netfab.objects.address import Address
from netfab.objects.base import Fabric, Name
from netfab.objects.container import Container
from netfab.objects.file import File
from netfab.objects.port import Port
from netfab.objects.route import Hop
from netfab.objects.supervisor import Supervisor
from netfab.objects.veth import End, Veth
from netfab.objects.vxlan_fdb import EVERYBODY, VxlanFdb
from netfab.objects.xfrm import OUT
from netfab.objects.xfrm_policy import XfrmPolicy

SIGNS = {"create": "+", "update": "~", "delete": "-"}


def text_of(changes: Iterable[Change]) -> list[str]:
    return [f"{SIGNS[change.action]} {change.object}: {change.why}".removesuffix(": ") for change in changes]


def phases_of(desired: Fabric, actual: Fabric) -> list[list[str]]:
    return [text_of(phase) for phase in order(diff(desired, actual))]


def test_equal_fabrics_have_no_difference() -> None:
    assert diff(fabric(bridge(), namespace(), veth()), fabric(namespace(), veth(), bridge())) == []


def test_a_port_leaves_its_old_bridge_before_that_bridge_is_deleted() -> None:
    actual = fabric(namespace(), veth(), bridge(BR0), port(bridge=BR0))
    desired = fabric(namespace(), veth(), bridge(BR1), port(bridge=BR1))

    assert phases_of(desired, actual) == [
        ["+ bridge br1"],
        ["~ port nfweb: bridge br0 -> br1"],
        ["- bridge br0"],
    ]


def test_a_port_is_told_with_the_interface_behind_it() -> None:
    made = describe(diff(fabric(namespace(), veth(), bridge(), port()), fabric()))
    moved = diff(fabric(port(bridge=BR0)), fabric(port(bridge=BR1)))

    assert [each["name"] for each in made] == ["shop.web", "eth0 of web", "br0", "nfweb (eth0 of web)"]
    assert [each["name"] for each in describe(moved, {WEB_HOST: "its port"})] == ["nfweb (its port)"]


def test_a_changed_field_is_told_by_its_word_and_both_values() -> None:
    actual, desired = (
        fabric(namespace(), veth()),
        fabric(namespace(), veth(b=veth().b._replace(mtu=1400, up=False))),
    )

    assert text_of(diff(desired, actual)) == ["~ veth eth0 of web: mtu 1500 -> 1400, up -> down"]


def test_what_hung_on_a_replaced_link_is_made_anew() -> None:
    cut = Veth(veth().a, End(Name(WEB, "lan0"), "02:00:00:00:01:02", 1500), veth().group)
    actual = fabric(namespace(), bridge(), veth(), port())
    desired = fabric(namespace(), bridge(), cut, port())

    assert phases_of(desired, actual) == [
        ["- veth eth0 of web: eth0 of web -> lan0 of web"],
        [
            "+ veth lan0 of web: eth0 of web -> lan0 of web",
            "- port nfweb: veth lan0 of web is made anew",
        ],
        ["+ port nfweb: veth lan0 of web is made anew"],
    ]


def test_what_is_made_anew_counts_once() -> None:
    cut = Veth(veth().a, End(Name(WEB, "lan0"), "02:00:00:00:01:02", 1500), veth().group)
    actual = fabric(namespace(), namespace("db"), bridge(), veth(), port())
    desired = fabric(namespace(), bridge(mtu=1400), bridge(BR1), cut, port())
    changes = [change for phase in order(diff(desired, actual)) for change in phase]

    assert counts_of(changes) == {"create": 1, "update": 1, "delete": 1, "replace": 2}


def test_a_namespace_takes_what_is_in_it_along_without_a_message_of_its_own() -> None:
    everything = fabric(namespace(), namespace("db"), cable(), address(link=WEB_ETH1))

    silent = {str(change.object): change.ops() == [] for change in diff(fabric(), everything)}

    assert silent == {
        "namespace shop.web": False,
        "namespace shop.db": False,
        "veth eth1 of db - eth1 of web": True,
        "address 10.0.0.2/24 on eth1 of web": True,
    }


def test_a_renumbered_link_has_its_new_address_first_and_its_old_one_last() -> None:
    new = address("10.7.0.2/24")
    hop = route().hops[0]._replace(via=new.address - 1)
    actual = fabric(namespace(), veth(), address(), route())
    desired = fabric(namespace(), veth(), new, route(hops=(hop,), through=(new.names[0],)))

    phases = [[line.partition(":")[0] for line in phase] for phase in phases_of(desired, actual)]

    assert phases == [
        [
            "+ address 10.7.0.2/24 on eth0 of web",
            "- route default via 10.0.0.1 dev eth0 in web",
        ],
        [
            "+ route default via 10.7.0.1 dev eth0 in web",
            "- address 10.0.0.2/24 on eth0 of web",
        ],
    ]


def test_a_route_that_takes_other_ways_tells_them_as_ip_route_does() -> None:
    (change,) = diff(
        fabric(
            namespace(),
            veth(),
            address(),
            route(hops=(*route().hops, Hop(ip_address("10.0.0.3"), WEB_ETH0, 2))),
        ),
        fabric(namespace(), veth(), address(), route()),
    )

    assert change.why == "via 10.0.0.1 dev eth0 -> via 10.0.0.1 dev eth0 and via 10.0.0.3 dev eth0 weight 2"


def test_of_a_long_content_only_the_field_is_told() -> None:
    (change,) = diff(fabric(File(FILE, "10.0.0.1 web\n")), fabric(File(FILE, "10.0.0.2 web\n")))

    assert change.why == "content"


def test_a_link_that_is_set_up_again_is_up_before_routes_are_made_through_it() -> None:
    down = veth(a=veth().a._replace(up=False), b=veth().b._replace(up=False))
    actual = fabric(namespace(), down, address())
    desired = fabric(namespace(), veth(), address(), route())

    assert phases_of(desired, actual) == [
        ["~ veth eth0 of web: nfweb down -> up, down -> up"],
        ["+ route default via 10.0.0.1 dev eth0 in web"],
    ]


@pytest.mark.parametrize(("wanted", "found", "same"), [
    ("running", "running", True), ("running", "ended", False),
    ("ended", "running", True), ("ended", "ended", True), ("stopped", "running", False),
])  # fmt: skip
def test_a_program_that_should_run_differs_when_it_does_not_and_not_the_reverse(
    wanted: str, found: str, same: bool
) -> None:
    desired = fabric(Container("shop", "web", ("true",), state=wanted))

    assert (diff(desired, fabric(Container("shop", "web", ("true",), state=found))) == []) is same
    assert diff(desired, fabric(Container("shop", "web", ("false",), state=found))) != []


class Thing(NamedTuple):
    """An object of no kind that the engine knows."""

    name: str
    value: int = 0
    wants: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()

    fixed = ()
    within = ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name("thing", self.name),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return tuple(Name("thing", name) for name in self.wants)

    @property
    def after(self) -> tuple[Name, ...]:
        return tuple(Name("thing", name) for name in self.follows)

    def __str__(self) -> str:
        return f"thing {self.name}"


def test_what_comes_after_something_waits_also_for_its_update() -> None:
    actual = fabric(Thing("rules"))
    desired = fabric(Thing("rules", 1), Thing("port", follows=("rules",)))

    assert phases_of(desired, actual) == [["~ thing rules: value 0 -> 1"], ["+ thing port"]]


def test_what_came_after_a_whole_space_ends_before_anything_in_it_does() -> None:
    tunnel, flood = vxlan(), VxlanFdb(TUNNEL, EVERYBODY, ip_address("192.0.2.12"))
    policy = XfrmPolicy(OUT, ip_address("192.0.2.11"), ip_address("192.0.2.12"), 4789, GROUP)

    assert phases_of(fabric(), fabric(policy, tunnel)) == [[f"- {tunnel}"], [f"- {policy}"]]
    assert phases_of(fabric(tunnel), fabric(policy, tunnel, flood)) == [[f"- {flood}"], [f"- {policy}"]]
    assert phases_of(fabric(policy, tunnel, flood), fabric()) == [
        [f"+ {policy}"],
        [f"+ {tunnel}"],
        [f"+ {flood}"],
    ]


def test_what_comes_after_a_whole_space_waits_for_all_in_it_and_a_space_of_nobody_for_nothing() -> None:
    desired = fabric(
        Supervisor("shop"), Container("shop", "a", ()), Container("shop", "b", ()), File(FILE, "")
    )

    assert phases_of(desired, fabric()) == [
        [f"+ file {FILE}"],
        ["+ container a", "+ container b"],
        ["+ supervisor of shop"],
    ]
    assert phases_of(fabric(Supervisor("shop")), fabric()) == [["+ supervisor of shop"]]


def test_things_that_need_each_other_are_named_instead_of_made() -> None:
    desired = fabric(Thing("hen", wants=("egg",)), Thing("egg", wants=("hen",)), Thing("nest"))

    with pytest.raises(AssertionError, match="these changes wait for each other: thing hen, thing egg"):
        list(order(diff(desired, fabric())))


def test_two_cables_exchange_their_ends_by_being_cut_first() -> None:
    one, other = (
        veth(),
        veth(a=End(Name("host", "nfother"), "02:00:00:00:03:01", 1500), b=veth().b._replace(link=WEB_ETH1)),
    )
    actual = fabric(namespace(), one, other)
    desired = fabric(
        namespace(),
        one._replace(b=one.b._replace(link=WEB_ETH1)),
        other._replace(b=other.b._replace(link=WEB_ETH0)),
    )

    actions = [{change.action for change in phase} for phase in order(diff(desired, actual))]

    assert actions == [{"delete"}, {"create"}]


def test_two_ports_exchange_their_bridges_in_place() -> None:
    other = Name("host", "nfother")
    actual = fabric(Port(WEB_HOST, BR0), Port(other, BR1))
    desired = fabric(Port(WEB_HOST, BR1), Port(other, BR0))

    assert [{change.action for change in phase} for phase in order(diff(desired, actual))] == [{"update"}]


class Model:
    """A kernel that refuses what a real one would: a second holder of a name, and something on nothing."""

    def __init__(self, fabric: Fabric) -> None:
        self.there = list(fabric.values())

    @property
    def held(self) -> set[Name]:
        return {name for thing in self.there for name in thing.names}

    def play(self, phase: Sequence[Change], dying: Sequence[Any]) -> None:
        for change in phase:
            if change.silent:
                continue
            if change.before is not None:
                self.there.remove(change.before)
            if change.after is not None:
                assert self.held.issuperset(change.after.needs), f"{change.after} lacks what it needs"
                assert not self._holders(change.after), f"{change.after} has a name that is held"
                self.there.append(change.after)
            self._end_what_was_within()
        left = [thing for thing in self.there if not self.held.issuperset(thing.needs) and thing not in dying]
        assert left == [], "something was taken from under these"

    def _holders(self, wanted: Any) -> list[Any]:
        """Others that hold a name of it. Addresses of one prefix share its route, as in a kernel."""
        return [
            thing
            for thing in self.there
            if set(thing.names).intersection(wanted.names)
            and not (type(thing) is type(wanted) is Address and thing != wanted)
        ]

    def _end_what_was_within(self) -> None:
        while ended := [
            thing for thing in self.there if thing.within and not self.held.intersection(thing.within)
        ]:
            self.there = [thing for thing in self.there if thing not in ended]


seeds = st.integers(0, 1 << 32)


@settings(max_examples=100)
@given(before=seeds, after=seeds, shuffling=st.randoms(use_true_random=False))
def test_every_phase_is_possible_in_any_order_and_the_last_leaves_what_is_desired(
    before: int, after: int, shuffling: Random
) -> None:
    actual, desired = random_fabric(Random(before)), random_fabric(Random(after))
    changes = diff(desired, actual)
    model = Model(actual)

    for phase in order(changes):
        shuffled = shuffling.sample(phase, len(phase))
        model.play(shuffled, [change.before for change in changes if change.silent])

    assert Fabric("shop", model.there) == desired


@settings(max_examples=100)
@given(before=seeds, after=seeds)
def test_making_waits_for_what_it_needs_and_ending_for_what_needed_it(before: int, after: int) -> None:
    actual, desired = random_fabric(Random(before)), random_fabric(Random(after))
    changes = diff(desired, actual)
    phases = list(order(changes))

    phase_of = {id(change): number for number, phase in enumerate(phases) for change in phase}
    made = {name: phase_of[id(change)] for change in changes if change.after for name in change.after.names}
    ended = {
        name: phase_of[id(change)]
        for change in changes
        if change.after is None and not change.silent
        for name in change.before.names
    }
    assert sorted(phase_of) == sorted(map(id, changes))
    for change in changes:
        when = phase_of[id(change)]
        needed, gives_up = (
            (change.after.needs if change.after else ()),
            (change.before.needs if change.before else ()),
        )
        assert all(made.get(name, -1) < when for name in needed)
        assert change.silent or all(when < ended.get(name, len(phases)) for name in gives_up)
        assert change.before or all(ended.get(name, -1) < when for name in change.after.names)


def test_what_peers_rely_on_comes_first_with_all_that_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Port, "for_peers", True, raising=False)
    desired = fabric(namespace(), bridge(), veth(), address(), port())

    first, rest = for_peers(diff(desired, fabric()))

    assert {type(change.after) for change in first} == {
        type(thing) for thing in (namespace(), bridge(), veth(), port())
    }
    assert {type(change.after) for change in rest} == {Address}


def test_what_ends_is_relied_on_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Port, "for_peers", True, raising=False)

    first, rest = for_peers(diff(fabric(), fabric(namespace(), bridge(), veth(), port())))

    assert first == []
    assert len(rest) == 4
