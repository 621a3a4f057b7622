"""Which addresses of a subnet nodes get."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from netfab.errors import AddressTaken, PlanError, PoolExhausted
from netfab.plan.addresses import Addresses, usable


@pytest.mark.parametrize(
    ("prefix", "first", "last"),
    [
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.254"),
        ("10.0.0.0/30", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.0/31", "10.0.0.0", "10.0.0.1"),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.7"),
        ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
        ("fd00::/126", "fd00::1", "fd00::3"),
        ("fd00::/127", "fd00::", "fd00::1"),
        ("fd00::7/128", "fd00::7", "fd00::7"),
    ],
)
def test_usable_addresses_are_those_that_mean_one_node(prefix: str, first: str, last: str) -> None:
    assert usable(ip_network(prefix)) == (int(ip_address(first)), int(ip_address(last)))


def test_the_lowest_free_address_is_taken_and_held_ones_are_passed_over() -> None:
    addresses = Addresses(ip_network("10.0.0.0/29"))
    addresses.hold(ip_address("10.0.0.1"), "the gateway, the host")
    addresses.hold(ip_address("10.0.0.3"), "node db")

    taken = [str(addresses.take(f"node web-{n}")) for n in (1, 2)]

    assert taken == ["10.0.0.2", "10.0.0.4"]


def test_with_a_range_only_its_addresses_are_taken_while_any_may_be_held() -> None:
    addresses = Addresses(ip_network("10.0.0.0/24"), ip_network("10.0.0.64/31"))
    addresses.hold(ip_address("10.0.0.9"), "node db")

    assert [str(addresses.take("node web")) for _ in range(2)] == ["10.0.0.64", "10.0.0.65"]
    with pytest.raises(
        PoolExhausted, match=r"no free address for node log in range 10\.0\.0\.64/31 of 10\.0\.0\.0/24"
    ):
        addresses.take("node log")


def test_a_range_that_starts_with_the_network_address_does_not_give_that_away() -> None:
    addresses = Addresses(ip_network("10.0.0.0/24"), ip_network("10.0.0.0/25"))

    assert str(addresses.take("node web")) == "10.0.0.1"


@pytest.mark.parametrize(
    ("prefix", "room", "bigger"),
    [
        ("10.0.0.0/29", 6, 28),
        ("10.0.0.0/30", 2, 29),
        ("10.0.0.0/31", 2, 29),
        ("10.0.0.0/32", 1, 31),
        ("fd00::/126", 3, 125),
    ],
)
def test_a_full_subnet_names_the_size_that_would_hold_more(prefix: str, room: int, bigger: int) -> None:
    addresses = Addresses(ip_network(prefix))
    for n in range(room):
        addresses.take(f"node web-{n}")

    with pytest.raises(PoolExhausted, match=f"no free address for node last in {prefix}") as caught:
        addresses.take("node last")

    assert f"`subnet: /{bigger}`" in caught.value.hint


def test_an_address_held_twice_names_both_holders() -> None:
    addresses = Addresses(ip_network("10.0.0.0/24"))
    addresses.hold(ip_address("10.0.0.5"), "node web")

    with pytest.raises(AddressTaken, match=r"10\.0\.0\.5, for node db, is held by node web"):
        addresses.hold(ip_address("10.0.0.5"), "node db")


@pytest.mark.parametrize(
    ("prefix", "address", "reason"),
    [
        ("10.0.0.0/24", "10.0.1.5", "is not in 10.0.0.0/24"),
        ("10.0.0.0/24", "fd00::5", "is not in 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.0", "is the network address of 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.255", "is the broadcast address of 10.0.0.0/24"),
        ("fd00::/64", "fd00::", "is the subnet-router anycast address of fd00::/64"),
    ],
)
def test_an_address_that_no_node_of_the_subnet_may_have_is_refused(
    prefix: str, address: str, reason: str
) -> None:
    addresses = Addresses(ip_network(prefix))

    with pytest.raises(PlanError, match=reason):
        addresses.hold(ip_address(address), "node web")

    assert not addresses.is_free(ip_address(address))


def test_an_address_is_free_until_it_is_held_or_taken() -> None:
    addresses = Addresses(ip_network("10.0.0.0/24"))
    addresses.hold(ip_address("10.0.0.2"), "node db")
    addresses.take("node web")

    assert [addresses.is_free(ip_address(f"10.0.0.{n}")) for n in (1, 2, 3)] == [False, False, True]
