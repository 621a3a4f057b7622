"""Facts of a far host, an order to it, and its modules arrive as they were sent."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

from examples import every_example

from netfab.errors import Location
from netfab.objects.base import Fabric
from netfab.objects.decode import decoder, plain
from netfab.objects.kept import KeptRoute
from netfab.objects.original import Original
from netfab.plan.facts import Facts, FoundGuest, FoundNic
from netfab.plan.leases import Lease
from netfab.plan.subnets import Reservation
from netfab.remote.bundle import bundle
from netfab.remote.coordinator import prepare_message
from netfab.remote.messages import decode, encode
from netfab.remote.transaction import Order, order_of
from netfab.store.store import Record
from netfab.topology.schema import Publish
from netfab.where import applying_user

FACTS = Facts(
    reservations=(
        Reservation(ip_network("10.0.0.0/8"), "routed"),
        Reservation(ip_network("fd00::/8"), "routed, too"),
    ),
    links=frozenset({"eth0", "wire0"}),
    mtu=1400,
    nameservers=("192.0.2.53",),
    ipv6=False,
    published={"tcp/*/80": "other"},
    held={"br0": {ip_address("10.0.0.1"): "somebody"}},
    guests={"docker:web": FoundGuest("docker:web", "/run/netns/x", 7, "1234")},
    nics={
        "eth1": FoundNic(
            Original("", 3, "02:00:00:00:00:01", 1500, 0, True, routes=(KeptRoute((1, 2), ((1, "0a"),)),))
        )
    },
)


def test_facts_are_the_same_at_the_other_end() -> None:
    sent = json.loads(json.dumps(plain(FACTS)))

    assert decoder(Facts)(sent) == FACTS


def test_an_order_is_the_same_at_the_other_end() -> None:
    at = Location("shop.yaml", 1, 2, "nodes.web.publish")
    for example in every_example():
        order = Order(
            "a1b2", "h1", 3, 4, Record("shop", "c:/shop.yaml", applying_user(), "", "{}"), example.before,
            frozenset({Lease("subnet", "lan/4", "10.0.0.0/24")}),
            (Publish(ip_address("127.0.0.1"), 8080, 80, "tcp", at),), False, 5.0, 30.0, True,
        )  # fmt: skip

        arrived = order_of(decode(encode(prepare_message(order, 5.0))))

        assert arrived == order
        assert [type(thing) for thing in arrived.fabric.values()] == [
            type(thing) for thing in example.before.values()
        ]


def test_what_is_undecided_is_the_order_less_what_is_of_the_moment() -> None:
    order = Order(
        "a1b2",
        "h1",
        3,
        4,
        Record("shop", "f", applying_user(), "", "{}"),
        Fabric("shop"),
        frozenset(),
        (),
        False,
        5.0,
        30.0,
        True,
    )

    assert order_of(json.loads(order.undecided())) == order


def test_a_far_host_gets_no_module_that_needs_what_it_lacks() -> None:
    modules = json.loads(bundle().data)

    assert "netfab/remote/agent.py" in modules
    assert not [name for name in modules if name.startswith("netfab/cli/") or "__pycache__" in name]
