"""`plan --save` and `apply --plan` for several hosts: what was shown is done, or nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from far import Far
from far_shop import Shop, lines, one_more

from netfab.errors import NetfabError
from netfab.files.saved_plans import SavedPlan, read_plan, write_plan
from netfab.multihost import across


def save(shop: Shop, change: Callable[[str], str] = str) -> tuple[SavedPlan, list[str]]:
    """Plan and save; what is read again, and what was shown."""
    topology, path = shop.write(change), str(shop.directory / "p.json")
    outcome = across.plan(topology, across.hosts_of(topology), saving=True, way=shop.way)
    write_plan(path, SavedPlan(str(shop.directory / "shop.yaml"), None, (), outcome.parts))
    return read_plan(path), lines(outcome.changes)


def test_what_was_saved_is_applied(shop: Shop) -> None:
    saved, shown = save(shop)

    assert sorted(shop.apply(saved=saved)) == sorted(shown)
    assert shown


def test_it_is_refused_when_a_host_moved(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    saved, _ = save(shop, one_more)
    fars["h2"].run("ip", "-n", "shop.db", "link", "set", "eth0", "mtu", "1300")

    with pytest.raises(NetfabError, match=r"the kernel on h2 changed since .*eth0 of db"):
        shop.apply(one_more, saved=saved)

    assert fars["h1"].nodes() == {"shop.web"}
    shop.apply(one_more)


def test_it_is_refused_when_the_file_moved(shop: Shop, fars: dict[str, Far]) -> None:
    saved, _ = save(shop)

    with pytest.raises(NetfabError, match="what is planned on h1 changed since this plan was saved"):
        shop.apply(one_more, saved=saved)

    assert fars["h1"].left() == fars["h2"].left() == []


def test_it_is_refused_for_other_hosts(shop: Shop, tmp_path: Path) -> None:
    saved, _ = save(shop)
    fewer = saved._replace(parts={"h1": saved.parts["h1"]})

    with pytest.raises(NetfabError, match="this plan was not saved for h2"):
        shop.apply(saved=fewer)
