"""The words of `netfab attach`."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from netfab.errors import NetfabError
from netfab.topology.pipework import (
    NoNetmask,
    addressing,
    mac_and_vlan,
    mac_of_string,
    sorted_out,
)


def test_the_mac_of_a_string_is_pipeworks() -> None:
    assert mac_of_string("myhost.foo.com") == "02:72:6c:cd:9b:8d"


@pytest.mark.parametrize(
    ("word", "mac", "vlan"),
    [
        ("02:00:00:00:00:01", "02:00:00:00:00:01", 0),
        ("02:00:00:00:00:01@42", "02:00:00:00:00:01", 42),
        ("@4094", "", 4094),
        ("U:myhost.foo.com", "02:72:6c:cd:9b:8d", 0),
        ("U:myhost.foo.com@7", "02:72:6c:cd:9b:8d", 7),
        ("U:me@home", mac_of_string("me@home"), 0),
    ],
)
def test_a_mac_and_a_vlan_are_read_as_pipework_reads_them(word: str, mac: str, vlan: int) -> None:
    assert mac_and_vlan(word) == (mac, vlan)


@pytest.mark.parametrize(
    "word", ["01:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "@0", "@4095", "02:00:00@1x"]
)
def test_a_mac_that_no_interface_can_have_is_refused(word: str) -> None:
    with pytest.raises(NetfabError):
        mac_and_vlan(word)


def test_words_stand_in_any_order() -> None:
    words = ["U:host", "10.0.0.2/24@10.0.0.1", "fd00::2/64"]

    assert sorted_out(words) == (["10.0.0.2/24@10.0.0.1", "fd00::2/64"], ["U:host"])


def test_two_macs_are_one_too_many() -> None:
    with pytest.raises(NetfabError, match="one MAC"):
        sorted_out(["10.0.0.2/24", "02:00:00:00:00:01", "U:host"])


def test_an_ipv6_address_is_no_mac() -> None:
    assert sorted_out(["fd00:1:2:3:4:5:6:7/64"])[1] == []


def test_addresses_of_both_families_have_a_gateway_each() -> None:
    found = addressing(["10.0.0.2/24@10.0.0.1", "fd00::2/64@fe80::1"])

    assert found.interfaces == (ip_interface("10.0.0.2/24"), ip_interface("fd00::2/64"))
    assert found.gateways == (ip_address("10.0.0.1"), ip_address("fe80::1"))


def test_an_address_without_a_netmask_waits_for_the_bridges() -> None:
    assert addressing(["10.0.0.2@10.0.0.1"]).plain == (ip_address("10.0.0.2"),)


def test_no_netmask_is_refused_in_pipeworks_two_lines() -> None:
    error = NoNetmask(ip_address("192.168.1.1"))

    assert str(error).splitlines() == [
        "The IP address should include a netmask.",
        "Maybe you meant 192.168.1.1/24 ?",
    ]


def test_zero_is_no_address_at_all() -> None:
    assert addressing(["0/0"]) == addressing([])


@pytest.mark.parametrize(
    "word", ["10.0.0/24", "10.0.0.2/33", "web", "10.0.0.2/24@", "127.0.0.1/8", "224.0.0.1/4"]
)
def test_what_is_no_address_is_refused(word: str) -> None:
    with pytest.raises(NetfabError):
        addressing([word])


@pytest.mark.parametrize(
    ("family", "word"), [("6", "10.0.0.2/24"), ("inet", "fd00::2/64"), ("ipx", "10.0.0.2/24")]
)
def test_a_family_that_does_not_fit_is_refused(family: str, word: str) -> None:
    with pytest.raises(NetfabError):
        addressing([word], family)
