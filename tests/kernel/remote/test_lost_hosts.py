"""A host that never comes back: what it may still have is kept for it, until it is forgotten by its name."""

from __future__ import annotations

from typing import Any

import pytest
from far import Far
from far_shop import Shop
from test_two_phase_apply import but_not

from netfab import fabric
from netfab.errors import LeaseConflict, NetfabError
from netfab.multihost import across
from netfab.plan.leases import Lease
from netfab.where import HERE, opened_store

FORGOTTEN = (
    "h2 is forgotten, unreached: what it has of shop stays there;"
    " should it come back, `netfab destroy shop` on it ends that"
)


def without_h2(text: str) -> str:
    """The file without that host, and without its node."""
    return "".join(line for line in text.splitlines(keepends=True) if "h2" not in line)


def moved(text: str) -> str:
    """The file without that host, and its node on the other."""
    return without_h2(text.replace("runs_on: h2", "runs_on: h1"))


def with_logs(text: str) -> str:
    more = "".join(f"  {name}: {{networks: [lan], runs_on: h1}}\n" for name in ("log", "late"))
    return without_h2(text) + more


def address(shop: Shop, node: str) -> str:
    found: str = shop.entry.summary["nodes"][node]["addresses"]["lan"][0]
    return found


def leased(shop: Shop) -> set[str]:
    return {lease.value for lease in shop.entry.leases}


def warnings(shop: Shop, **options: Any) -> tuple[str, ...]:
    """What an apply of the file without h2 says."""
    topology = shop.write(without_h2)
    file = str(shop.directory / "shop.yaml")
    return across.apply(topology, across.hosts_of(topology), file, way=shop.way, **options).warnings


@pytest.fixture
def lost(shop: Shop) -> Shop:
    """The shop, applied, and then without h2."""
    shop.apply()
    shop.way = but_not("h2", shop.way)
    return shop


def test_only_a_host_that_the_file_no_longer_has_is_forgotten_and_only_if_that_is_said(lost: Shop) -> None:
    with pytest.raises(NetfabError, match="h2: it is down") as raised:
        lost.apply(without_h2)
    with pytest.raises(NetfabError, match="h2 is one of the file's hosts"):
        lost.apply(forget=("h2",))
    with pytest.raises(NetfabError, match="fabric shop is on no host h3"):
        lost.apply(without_h2, forget=("h3",))

    assert "--forget h2" in raised.value.hint
    assert lost.entry.hosts.keys() == {"h1", "h2"}


def test_an_address_of_a_host_that_is_not_reached_is_nobody_elses_until_it_is_forgotten(lost: Shop) -> None:
    of_db = address(lost, "db")
    assert "h2, which the file no longer has, was left out" in warnings(lost, skip_unreachable=True)[0]

    for _ in range(2):
        lost.apply(with_logs, skip_unreachable=True)
        assert of_db not in (address(lost, "log"), address(lost, "late"))
        assert of_db in leased(lost)
        assert address(lost, "db") == of_db

    lost.apply(with_logs, forget=("h2",))
    assert of_db not in leased(lost)
    assert lost.entry.summary["nodes"].keys() == {"web", "log", "late"}


def test_a_vni_that_is_held_for_a_host_that_is_not_reached_and_taken_elsewhere_says_what_frees_it(
    lost: Shop, fars: dict[str, Far]
) -> None:
    def installed_anew() -> str:
        fabric.destroy("shop")
        with opened_store(HERE) as store:
            store.claim("other", [Lease("vni", "lan", "1")])
        return "done"

    fars["h1"].call(installed_anew)

    with pytest.raises(LeaseConflict, match="VNI 1 is fabric other's") as raised:
        lost.apply(lambda text: text.replace("lan", "front"), skip_unreachable=True)

    assert raised.value.hint.startswith("what h2 had stays held until an apply reaches it; `--forget`")


def test_a_host_that_is_forgotten_is_named_once_and_what_it_has_ends_there(
    lost: Shop, fars: dict[str, Far]
) -> None:
    assert warnings(lost, forget=("h2",)) == (FORGOTTEN,)
    assert lost.entry.hosts.keys() == {"h1"}
    assert warnings(lost) == ()
    assert fars["h2"].nodes() == {"shop.db"}

    fars["h2"].call(lambda: len(fabric.destroy("shop").changes))

    assert fars["h2"].left() == []


def test_a_forgotten_hosts_node_moves_with_its_address_and_back_when_the_file_has_the_host_again(
    lost: Shop, fars: dict[str, Far], entering: across.Connect
) -> None:
    of_db = address(lost, "db")
    lost.apply(moved, forget=("h2",))
    assert fars["h1"].nodes() == {"shop.web", "shop.db"}

    lost.apply(way=entering)

    assert (fars["h1"].nodes(), fars["h2"].nodes()) == ({"shop.web"}, {"shop.db"})
    assert address(lost, "db") == of_db
    assert across.drift(lost.entry, way=entering) == []


def test_destroy_forgets_a_host_that_is_not_reached_and_clears_one_that_is(
    lost: Shop, fars: dict[str, Far]
) -> None:
    entry, forget = lost.entry, ("h1", "h2", "h2")
    assert across.destroy(entry, forget=forget, way=lost.way)[1] == ("h2",)

    assert across.known("shop") is None
    assert fars["h1"].left() == []
    assert across.destroy(entry, forget=forget, way=lost.way) == (
        [],
        ("h2",),
    )  # h1 is reached, and has nothing
