"""One host's part of a file, applied there by itself: as when all are applied together, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from far import Far
from far_shop import Shop, lines, one_more

from netfab.errors import NetfabError, Several
from netfab.multihost import across

WRITTEN = "lan: {subnet: 10.9.0.0/24, mtu: 1400, vxlan: {vni: 7}}"


def alone(shop: Shop, host: str, change: Callable[[str], str] = str, **options: Any) -> list[str]:
    """What `apply --host` there changes."""
    topology = shop.write(change)
    file = str(shop.directory / "shop.yaml")
    return lines(across.apply_alone(topology, host, file, way=shop.way, **options).changes)


def written(text: str) -> str:
    return text.replace("lan: {}", WRITTEN)


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_after_all_were_applied_one_host_finds_nothing_to_change(shop: Shop, host: str) -> None:
    shop.apply()

    assert alone(shop, host) == []


def test_hosts_that_are_applied_one_by_one_are_what_they_are_when_applied_together(
    shop: Shop, fars: dict[str, Far]
) -> None:
    alone(shop, "h1", written)
    alone(shop, "h2", written)

    assert fars["h1"].nodes() == {"shop.web"}
    assert shop.apply(written) == []
    fars["h1"].run("ip", "netns", "exec", "shop.web", "ping", "-c1", "-w60", "10.9.0.4")


def test_a_narrower_interface_of_another_host_counts_although_it_is_not_asked(
    shop: Shop, fars: dict[str, Far]
) -> None:
    fars["h2"].run("ip", "link", "set", "wire0", "mtu", "1400")
    shop.apply()

    assert alone(shop, "h1") == []
    assert "mtu 1350" in fars["h1"].run("ip", "-n", "shop.web", "link", "show", "eth0")


def test_what_the_others_would_have_a_say_in_is_refused_with_what_to_write(
    shop: Shop, fars: dict[str, Far]
) -> None:
    with pytest.raises(Several) as failure:
        alone(shop, "h1")

    told = [(str(one).partition("the ")[2], one.hint) for one in failure.value.errors]
    assert told == [
        (
            "subnet of lan depends on what the other hosts have",
            "write `subnet: 10.0.0.0/24`, or apply to all hosts once",
        ),
        (
            "VNI of lan depends on what the other hosts have",
            "write `vxlan: {vni: 1000}`, or apply to all hosts once",
        ),
        (
            "MTU of lan depends on the interfaces of the other hosts",
            "write `mtu: 1450`, or apply to all hosts once",
        ),
    ]
    assert fars["h1"].left() == []


def test_a_controller_goes_on_from_what_a_host_applied_by_itself(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    alone(shop, "h1", one_more)

    assert shop.apply(one_more) != []  # h2 is told of the new node
    assert fars["h1"].nodes() == {"shop.web", "shop.log"}
    assert alone(shop, "h2", one_more) == []


def test_a_host_that_the_file_does_not_have_is_no_host(shop: Shop) -> None:
    with pytest.raises(NetfabError, match="has no host h3"):
        alone(shop, "h3")
