"""Warnings about interfaces whose names move."""

from netfab.plan.renames import renamed


def nodes(**interfaces: str) -> dict[str, object]:
    return {
        "web": {"interfaces": [{"name": name, "network": network} for name, network in interfaces.items()]}
    }


def test_an_interface_that_keeps_its_network_and_changes_its_name_is_told() -> None:
    told = list(renamed(nodes(eth0="back"), nodes(eth0="front", eth1="back")))

    assert told == ["eth0 of web, on back, becomes eth1: append new networks, or give it `name: eth0`"]


def test_an_appended_network_renames_nothing() -> None:
    assert list(renamed(nodes(eth0="back"), nodes(eth0="back", eth1="front"))) == []


def test_a_network_joined_twice_is_told_of_once_each() -> None:
    twice = nodes(eth0="back", eth1="back")

    assert list(renamed(twice, twice)) == []


def test_a_new_node_has_no_names_to_change() -> None:
    assert list(renamed({}, nodes(eth0="back"))) == []
