"""One apply to several hosts: all of them or none, whatever fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from far import Far
from far_shop import Shop, lines, one_more

from netfab import fabric
from netfab.diagnose.trials import every_pair
from netfab.errors import NetfabError, NotReached
from netfab.multihost import across
from netfab.plan.leases import Lease
from netfab.remote.channel import Transport
from netfab.remote.party import Connect
from netfab.where import HERE, Where, opened_book, opened_store

EMPTY: list[str] = []


class Down:
    """A way to a host that is down."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.close(writing)
        self.writing = os.open(os.devnull, os.O_WRONLY)

    def opening(self) -> bytes:
        return b""

    def greet(self, line: bytes) -> bytes | None:
        raise AssertionError("it is down")

    def last_words(self) -> NetfabError:
        return NetfabError("it is down")

    def hang_up(self) -> None:
        os.close(self.reading)
        os.close(self.writing)

    def wait(self) -> None:
        pass


def but_not(down: str, way: Connect) -> Connect:
    def connect(host: str, destination: str, where: Where) -> Transport:
        return Down() if host == down else way(host, destination, where)

    return connect


def without_h2(text: str) -> str:
    return text.replace("runs_on: h2", "runs_on: h1").replace("  h2:", "  #")


def test_each_host_gets_its_own_nodes(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()

    assert fars["h1"].nodes() == {"shop.web"}
    assert fars["h2"].nodes() == {"shop.db"}


def test_a_node_that_asks_for_a_new_one_on_another_host_is_told_where_it_is(
    shop: Shop, fars: dict[str, Far]
) -> None:
    def with_late(text: str) -> str:
        return f"{text}  late: {{networks: [lan], runs_on: h2}}\n"

    def neighbour(*words: str) -> str:
        return fars["h1"].run("ip", "-n", "shop.web", "neigh", *words)

    shop.apply(with_late)
    (eth0,) = json.loads(fars["h2"].run("ip", "-n", "shop.late", "-j", "address", "show", "eth0"))
    address = eth0["addr_info"][0]["local"]
    shop.apply()
    neighbour("replace", address, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale")

    shop.apply(with_late)

    assert eth0["address"] in neighbour("show", address)


def test_a_second_apply_changes_nothing(shop: Shop) -> None:
    shop.apply()

    assert shop.apply() == []


def test_a_plan_says_what_apply_does_on_which_host_and_changes_nothing(
    shop: Shop, fars: dict[str, Far]
) -> None:
    topology = shop.write()

    planned = across.plan(topology, across.hosts_of(topology), way=shop.way)

    assert fars["h1"].left() == fars["h2"].left() == EMPTY
    assert sorted(shop.apply()) == sorted(lines(planned.changes))


def test_a_host_that_refuses_leaves_all_as_they_were(shop: Shop, fars: dict[str, Far]) -> None:
    fars["h2"].run("ip", "netns", "add", "shop.db")
    before = fars["h2"].left()

    with pytest.raises(NetfabError, match=r"h2: can't create namespace shop\.db") as failure:
        shop.apply()

    assert failure.value.undone
    assert fars["h1"].left() == EMPTY
    assert fars["h2"].left() == before
    assert across.known("shop") is None


def test_a_host_that_fails_half_way_leaves_all_as_they_were(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()

    with pytest.raises(NetfabError, match="h2: bad: exec") as failure:
        shop.apply(lambda text: one_more(f"{text}  bad: {{networks: [lan], runs_on: h2, exec: [[false]]}}\n"))

    assert failure.value.undone
    assert fars["h1"].nodes() == {"shop.web"}
    assert fars["h2"].nodes() == {"shop.db"}
    assert shop.apply() == []


def test_a_host_that_is_down_is_one_error_and_nothing_changes(shop: Shop, fars: dict[str, Far]) -> None:
    shop.way = but_not("h2", shop.way)

    with pytest.raises(NetfabError, match=r"^h2: it is down$"):
        shop.apply()

    assert fars["h1"].left() == EMPTY


def test_a_host_that_was_down_is_completed_by_a_later_apply(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    up, shop.way = shop.way, but_not("h2", shop.way)
    more = "  more: {networks: [lan], runs_on: h2}\n"
    shop.apply(lambda text: one_more(text) + more, skip_unreachable=True)
    assert fars["h1"].nodes() == {"shop.web", "shop.log"}
    assert fars["h2"].nodes() == {"shop.db"}
    assert {name: node["host"] for name, node in shop.entry.summary["nodes"].items()} == {
        "web": "h1", "log": "h1", "db": "h2"
    }  # fmt: skip

    shop.way = up
    changes = shop.apply(lambda text: one_more(text) + more)

    assert {line.partition(":")[0] for line in changes} == {"h2"}
    assert fars["h2"].nodes() == {"shop.db", "shop.more"}


def test_a_host_that_the_file_no_longer_has_is_cleared_and_the_plan_says_so(
    shop: Shop, fars: dict[str, Far]
) -> None:
    shop.apply()
    topology = shop.write(without_h2)
    planned = across.plan(topology, across.hosts_of(topology), way=shop.way)
    unreached = across.plan(topology, across.hosts_of(topology), way=but_not("h2", shop.way))

    changed = shop.apply(without_h2)

    assert sorted(lines(planned.changes)) == sorted(changed)
    assert "h2: delete namespace shop.db" in changed
    assert lines(unreached.changes) == [line for line in lines(planned.changes) if line.startswith("h1: ")]
    assert "h2, which the file no longer has, was left out" in unreached.warnings[0]
    assert fars["h1"].nodes() == {"shop.web", "shop.db"}
    assert fars["h2"].left() == EMPTY
    assert set(shop.entry.hosts) == {"h1"}


def test_destroy_leaves_nothing_on_any_host(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()

    across.destroy(shop.entry, way=shop.way)

    assert fars["h1"].left() == fars["h2"].left() == EMPTY
    assert across.known("shop") is None


def test_what_others_change_on_a_host_is_named_and_repaired(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    fars["h2"].run("ip", "-n", "shop.db", "link", "set", "eth0", "down")

    assert "h2: update veth eth0 of db" in lines(across.drift(shop.entry, way=shop.way))
    across.reconcile(shop.entry, way=shop.way)
    assert across.drift(shop.entry, way=shop.way) == []


def test_status_says_on_which_host_each_node_is(shop: Shop) -> None:
    shop.apply()

    found = across.status(shop.entry, way=shop.way)

    assert {name: node["host"] for name, node in found["nodes"].items()} == {"web": "h1", "db": "h2"}
    assert found["differs"] == 0


def test_status_says_what_it_can_while_a_host_is_down(shop: Shop) -> None:
    shop.apply()

    found = across.status(shop.entry, way=but_not("h2", shop.way))

    assert {name: node["state"] for name, node in found["nodes"].items()} == {"web": "up", "db": "unknown"}
    assert found["unreachable"] == ["h2"]


def test_what_begins_on_a_host_that_is_down_is_not_tried_and_all_else_is(shop: Shop) -> None:
    shop.apply()
    pairs = list(every_pair(shop.entry.summary))

    with pytest.raises(NotReached, match="not reached: h2, of fabric shop") as raised:
        across.tried(shop.entry, pairs, way=but_not("h2", shop.way))

    found = {verdict.sentence: (verdict.holds, verdict.reason) for verdict in raised.value.found}
    assert found == {"web reaches db": (True, ""), "db reaches web": (None, "not tried: h2 is not reached")}


def test_a_host_knows_its_part_by_itself(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()

    found = fars["h2"].call(lambda: fabric.status("shop"))
    fars["h2"].call(lambda: len(fabric.destroy("shop").changes))

    assert list(found["nodes"]) == ["db"]
    assert fars["h2"].left() == EMPTY


def test_another_controller_plans_from_what_the_hosts_hold(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    opened_book(HERE).forget("shop")

    assert shop.apply(take_over=True) == []


def test_a_file_of_another_controller_does_not_eat_the_fabric(shop: Shop, tmp_path: Path) -> None:
    shop.apply()
    shop.directory = tmp_path / "copy"
    shop.directory.mkdir()

    with pytest.raises(NetfabError, match="was applied from"):
        shop.apply()


def test_a_part_is_applied_where_its_nodes_are_and_all_others_stay(shop: Shop, fars: dict[str, Far]) -> None:
    shop.apply()
    before = shop.entry

    more = "  later: {networks: [lan], runs_on: h2}\n"

    changes = shop.apply(lambda text: one_more(text) + more, only=["log"])

    assert "h1: create namespace shop.log" in changes
    assert fars["h1"].nodes() == {"shop.web", "shop.log"}
    assert fars["h2"].nodes() == {"shop.db"}
    assert shop.entry.summary["nodes"].keys() == {"web", "db", "log"}
    assert shop.entry.leases > before.leases
    assert shop.apply(lambda text: one_more(text) + more, only=["log", "web"]) == []


def test_a_new_node_of_a_part_gets_no_address_of_one_that_is_applied_on_another_host(shop: Shop) -> None:
    shop.apply()
    taken = {a for node in shop.entry.summary["nodes"].values() for a in node["addresses"]["lan"]}

    shop.apply(lambda text: text.replace("  db: {", "  new: {"), only=["new"])

    nodes = shop.entry.summary["nodes"]
    assert nodes.keys() == {"web", "db", "new"}
    assert taken.isdisjoint(nodes["new"]["addresses"]["lan"])


def test_a_node_that_the_file_no_longer_has_goes_by_its_name_wherever_it_is(
    shop: Shop, fars: dict[str, Far]
) -> None:
    shop.apply(one_more)

    shop.apply(lambda text: text.replace("  db: {networks: [lan], runs_on: h2}\n", ""), only=["db"])

    assert fars["h1"].nodes() == {"shop.web", "shop.log"}
    assert fars["h2"].nodes() == set()
    assert shop.entry.summary["nodes"].keys() == {"web", "log"}


def test_two_hosts_that_would_both_be_this_machine_are_refused(shop: Shop) -> None:
    topology = shop.write(
        lambda text: text.replace(", ssh: root@192.0.2.1", "").replace(", ssh: root@192.0.2.2", "")
    )

    with pytest.raises(NetfabError, match="h1 and h2 have no `ssh`, and this machine is one host"):
        across.hosts_of(topology)


def test_a_chain_of_others_that_drops_what_a_host_forwards_stops_also_an_apply_without_changes(
    shop: Shop, fars: dict[str, Far]
) -> None:
    shop.apply()
    fars["h1"].run(
        "nft", "add table ip ufw; add chain ip ufw FORWARD { type filter hook forward priority 0; }"
    )
    assert shop.apply() == EMPTY
    fars["h1"].run("nft", "chain ip ufw FORWARD { policy drop; }")

    with pytest.raises(NetfabError, match="chain FORWARD of nft table ip ufw drops what this host forwards"):
        shop.apply()


def test_what_another_fabric_took_on_all_hosts_since_they_were_asked_is_planned_otherwise(
    shop: Shop, fars: dict[str, Far], monkeypatch: pytest.MonkeyPatch
) -> None:
    give = across.give

    def is_first() -> str:
        with opened_store(HERE) as store:
            store.claim("other", [Lease("vni", "lan", "1")])
        return "done"

    def after_another(*words: Any) -> None:
        monkeypatch.setattr(across, "give", give)
        for far in fars.values():
            far.call(is_first)
        give(*words)

    monkeypatch.setattr(across, "give", after_another)

    shop.apply()

    assert {lease.value for lease in shop.entry.leases if lease.kind == "vni"} == {"2"}
