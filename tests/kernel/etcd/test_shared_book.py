"""What controllers share in etcd: entries, and leases that nobody else gets, whoever asks at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from ipaddress import ip_network
from random import Random
from typing import Any

import pytest
from etcd_cluster import Cluster, Place, cluster, wait_until_it_answers
from far import Far
from processes import in_processes

from netfab.errors import LeaseConflict, StoreError
from netfab.plan.leases import HeldSubnet, Lease
from netfab.store.book import Entry, Others
from netfab.store.etcd import Client, put, read_below
from netfab.store.etcd_wire import Wire
from netfab.store.shared import SharedBook
from netfab.topology.schema import Etcd

Open = Callable[..., AbstractContextManager[SharedBook]]
LAN, VNI = Lease("subnet", "lan/4", "10.1.0.0/24"), Lease("vni", "lan", "5001")
WEB = Lease("address", "lan/web/eth0/4", "10.1.0.2")


def entry(name: str, *leases: Lease, generation: int = 1) -> Entry:
    return Entry(name, f"/srv/{name}.yaml", 0, {"h1": ""}, generation, "a1", {"nodes": {}}, frozenset(leases))


def decide(opened: Open, made: Entry, controller: str = "c1") -> None:
    """As an apply does that nothing hinders."""
    with opened(made.name, controller) as book:
        book.begin(made, book.entry(made.name))
        book.keep(made)
        book.settle(made)


def held(opened: Open) -> Others:
    with opened("nobody") as book:
        return book.others("nobody")


def test_what_one_controller_decided_another_reads(opened: Open) -> None:
    shop = entry("shop", LAN, VNI, WEB)

    decide(opened, shop, "c1")

    with opened("shop", "c2") as book:
        assert book.entry("shop") == shop
        assert book.others("mall").vnis == {5001: "shop"}
        assert book.others("mall").subnets == (HeldSubnet("shop", "lan", ip_network("10.1.0.0/24")),)
        assert book.others("shop") == Others()


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            Lease("subnet", "back/4", "10.1.0.0/16"),
            "10.1.0.0/16 for back/4 overlaps 10.1.0.0/24, network lan of",
        ),
        (Lease("subnet", "back/4", "10.1.0.128/25"), "10.1.0.128/25 for back/4 overlaps 10.1.0.0/24"),
        (Lease("vni", "back", "5001"), "VNI 5001 is fabric shop's"),
    ],
    ids=str,
)
def test_what_another_fabric_holds_is_refused_and_nothing_new_is_held(
    opened: Open, wanted: Lease, told: str
) -> None:
    decide(opened, entry("shop", LAN, VNI))
    before = held(opened)
    mall = entry("mall", wanted, Lease("subnet", "free/4", "10.2.0.0/24"))

    with pytest.raises(LeaseConflict, match=told), opened("mall") as book:
        book.begin(mall, None)

    assert held(opened) == before
    with opened("mall") as book:
        assert book.entry("mall") is None


def test_what_an_apply_lets_go_of_is_held_until_hosts_have_let_go_of_it(opened: Open) -> None:
    decide(opened, entry("shop", LAN))
    moved = entry("shop", LAN._replace(value="10.7.0.0/24"), generation=2)

    with opened("shop") as book:
        book.begin(moved, book.entry("shop"))
        book.keep(moved)
        both = {str(subnet.prefix) for subnet in book.others("").subnets}
        book.settle(moved)

    assert both == {"10.1.0.0/24", "10.7.0.0/24"}
    assert {str(subnet.prefix) for subnet in held(opened).subnets} == {"10.7.0.0/24"}


def test_an_apply_that_is_taken_back_holds_what_was_held_before(opened: Open) -> None:
    first = entry("shop", LAN)
    decide(opened, first)
    before = held(opened)

    with opened("shop") as book:
        more = entry("shop", LAN, VNI, generation=2)._replace(hosts={"h1": "", "h2": "root@h2"})
        book.begin(more, book.entry("shop"))
        book.take_back(more, first)

        assert book.entry("shop") == first
    assert held(opened) == before


def test_a_first_apply_that_is_taken_back_leaves_nothing(opened: Open, client: Client, store: Etcd) -> None:
    with opened("shop") as book:
        book.begin(entry("shop", LAN), book.entry("shop"))
        book.take_back(entry("shop", LAN), None)

    assert client.transact((), [read_below(store.prefix)]).found == ()


def test_a_first_apply_that_was_killed_is_found_by_others_with_its_hosts(opened: Open) -> None:
    with opened("shop", "c1") as book:
        book.begin(entry("shop", LAN), book.entry("shop"))

    with opened("shop", "c2") as book:
        found = book.entry("shop")
    assert found is not None
    assert (found.hosts, found.generation, found.transaction) == ({"h1": ""}, 0, "")


def test_a_fabric_that_is_gone_leaves_nothing(opened: Open, client: Client, store: Etcd) -> None:
    decide(opened, entry("shop", LAN))

    with opened("shop") as book:
        book.forget("shop")

    assert client.transact((), [read_below(store.prefix)]).found == ()


@pytest.mark.parametrize(
    "text", ["", "garbage", "[]", '{"version": 1}', '{"version": 1, "packed": 7, "leases": 7}', "["]
)
@pytest.mark.parametrize("room", ["fabrics", "held"])
def test_what_is_damaged_is_named_with_the_cure(
    opened: Open, client: Client, store: Etcd, room: str, text: str
) -> None:
    decide(opened, entry("shop", LAN))
    client.transact((), [put(f"{store.prefix}/{room}/shop", text or "\x00")])

    with opened("shop") as book, pytest.raises(StoreError, match=f"/{room}/shop in .* is damaged") as caught:
        book.entry("shop") if room == "fabrics" else book.others("mall")

    assert f"etcdctl del {store.prefix}/{room}/shop" in caught.value.hint


def test_what_a_newer_netfab_wrote_is_refused(opened: Open, client: Client, store: Etcd) -> None:
    client.transact((), [put(f"{store.prefix}/held/shop", '{"version": 2, "leases": []}')])

    with pytest.raises(StoreError, match=r"held/shop in .* was written by a newer netfab"):
        decide(opened, entry("mall", LAN))


@pytest.mark.parametrize("size", [1_300_000, 2_000_000])
def test_an_entry_that_etcd_takes_for_too_large_is_refused_with_the_option_that_allows_it(
    opened: Open, size: int
) -> None:
    with pytest.raises(StoreError, match=r"too large|larger than max") as caught:
        decide(opened, entry("shop")._replace(topology=Random(1).randbytes(size).hex()))

    assert "--max-request-bytes" in caught.value.hint


def test_a_store_that_is_full_is_told_with_the_way_to_make_room(net: Far, sandbox: None) -> None:
    with (
        cluster(Place("127.0.0.9", net.enter), more=("--quota-backend-bytes", "65536")) as full,
        net.inside(),
    ):
        client = Client(full.store)
        wait_until_it_answers(client, full)

        def fill() -> None:
            for number in range(20):
                client.transact((), [put(f"/x{number}", "x" * 50_000)])

        with pytest.raises(StoreError, match="database space exceeded") as caught:
            fill()

        assert "defrag" in caught.value.hint


def _claim_twenty(opened: Open, fabric: str, gate: int, lowest: bool = True) -> None:
    """As a planner does: the twenty lowest /24s that seem free, all at once, until nobody was first.

    Else any twenty, so that it is only the writing in which processes are in each other's way.
    """
    random = Random(fabric)
    os.read(gate, 1)
    with opened(fabric, fabric, timeout=60) as book:
        before = book.entry(fabric)
        while True:
            taken = {int(one.prefix.network_address) >> 8 for one in book.others(fabric).subnets}
            free = [number for number in range(10 << 16, (10 << 16) + 2000) if number not in taken]
            chosen = free[:20] if lowest else random.sample(free, 20)
            wants = (Lease("subnet", f"n{at}/4", str(ip_network((at << 8, 24)))) for at in chosen)
            made = entry(fabric, *wants)
            with suppress(LeaseConflict):
                book.begin(made, before)
                book.keep(made)
                return


def test_fifty_processes_claim_a_thousand_leases_without_a_double(opened: Open) -> None:
    codes = in_processes([
        lambda gate, number=number: _claim_twenty(opened, f"fabric{number}", gate, number % 5 == 0)
        for number in range(50)
    ])  # fmt: skip

    subnets = [one.prefix for one in held(opened).subnets]
    assert codes == [0] * 50
    assert len(subnets) == len(set(subnets)) == 1000


def _kill_each(members: Cluster) -> None:
    for number in (1, 2, 3):
        members.kill(number)
        members.start(number)
        members.wait_for(number)


def test_members_that_are_killed_in_turn_while_processes_claim_lose_and_double_nothing(
    opened: Open, members: Cluster
) -> None:
    codes = in_processes(
        [lambda gate, number=number: _claim_twenty(opened, f"fabric{number}", gate) for number in range(20)],
        meanwhile=lambda: _kill_each(members),
    )

    subnets = [one.prefix for one in held(opened).subnets]
    assert codes == [0] * 20
    assert len(subnets) == len(set(subnets)) == 400


def test_an_answer_that_is_lost_at_any_word_is_asked_for_again_and_nothing_is_done_twice(
    opened: Open, client: Client, store: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Wire.ask
    first, moved = entry("shop", LAN), entry("shop", LAN._replace(value="10.7.0.0/24"), VNI, generation=2)
    words, number = [0], 0

    def ask(wire: Wire, *said: Any) -> Any:
        answer = real(wire, *said)
        words[0] += 1
        if words[0] == number:
            raise TimeoutError("the answer is lost")
        return answer

    monkeypatch.setattr(Wire, "ask", ask)
    while words[0] >= number:
        words[0], number = 0, number + 1
        decide(opened, first)
        with opened("shop") as book:
            book.begin(moved, before := book.entry("shop"))
            book.take_back(moved, before)
            assert book.entry("shop") == first
        decide(opened, moved)
        with opened("shop") as book:
            assert book.entry("shop") == moved
            assert [str(one.prefix) for one in book.others("").subnets] == ["10.7.0.0/24"]
            book.forget("shop")
        assert client.transact((), [read_below(store.prefix)]).found == ()
    assert number > 20


def test_a_write_that_arrives_once_more_when_all_is_decided_changes_nothing(
    opened: Open, client: Client, store: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that nobody waited for any longer passes it on when it can."""
    real, said = Client._call, []

    def call(asked: Client, verb: str, words: Any, *more: Any) -> Any:
        said.append((verb, words))
        return real(asked, verb, words, *more)

    decide(opened, entry("shop", LAN))
    moved = entry("shop", LAN, generation=2)._replace(hosts={"h1": "", "h2": "root@h2"})
    with opened("shop") as book:
        monkeypatch.setattr(Client, "_call", call)
        book.begin(moved, book.entry("shop"))
        book.keep(moved)
        monkeypatch.setattr(Client, "_call", real)
        before = client.transact((), [read_below(store.prefix)]).found

        for verb, words in said:
            client._call(verb, words)

        assert client.transact((), [read_below(store.prefix)]).found == before
