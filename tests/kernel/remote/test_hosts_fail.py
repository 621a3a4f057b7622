"""Hosts that go away in the middle, come back with less, or hear two controllers: one apply makes it good."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

import pytest
from far import Far, reboot
from far_shop import Shop, one_more
from test_two_phase_apply import but_not

from netfab import fabric
from netfab.errors import NetfabError
from netfab.multihost import across
from netfab.remote.channel import Channel
from netfab.where import HERE, opened_book


def cache(text: str) -> str:
    """The file with one more node on h2."""
    return f"{text}  cache: {{networks: [lan], runs_on: h2}}\n"


def reaches(fars: dict[str, Far], shop: Shop) -> bool:
    """Whether web, on h1, gets an answer of db on h2."""
    address = shop.entry.summary["nodes"]["db"]["interfaces"][0]["addresses"][0]
    said = fars["h1"].run("ip", "netns", "exec", "shop.web", "ping", "-c1", "-w60", address, check=False)
    return " 1 received" in said


@pytest.mark.parametrize("how", ["apply by the controller", "reconcile by itself"])
def test_a_host_that_rebooted_is_repaired_at_once(shop: Shop, fars: dict[str, Far], how: str) -> None:
    shop.apply()
    reboot(fars["h2"])
    assert fars["h2"].left() == []

    if how == "apply by the controller":
        changes = shop.apply()
        assert {line.partition(":")[0] for line in changes} == {"h2"}
    else:
        fars["h2"].call(lambda: len(fabric.reconcile("shop").changes))

    assert across.drift(shop.entry, way=shop.way) == []
    assert reaches(fars, shop)


def addresses(shop: Shop) -> list[str]:
    return [
        address
        for node in shop.entry.summary["nodes"].values()
        for interface in node["interfaces"]
        for address in interface["addresses"]
    ]


def test_both_sides_of_a_partition_go_on_and_no_address_is_given_twice_after_it(
    shop: Shop, fars: dict[str, Far]
) -> None:
    shop.apply()
    whole, ours = shop.way, shop.entry
    shop.way = but_not("h2", whole)
    shop.apply(one_more, skip_unreachable=True)
    entry = shop.entry
    shop.way = but_not("h1", whole)
    opened_book(HERE).keep(ours)  # another controller's, who knows nothing of that
    shop.apply(cache, skip_unreachable=True)
    assert {*addresses(shop)} & {*entry.summary["nodes"]["log"]["addresses"]["lan"]}  # both were first

    shop.way = whole
    opened_book(HERE).keep(entry)
    shop.apply(lambda text: cache(one_more(text)))

    assert len(set(addresses(shop))) == len(addresses(shop)) == 4
    assert fars["h1"].nodes() == {"shop.web", "shop.log"}
    assert fars["h2"].nodes() == {"shop.db", "shop.cache"}
    assert across.drift(shop.entry, way=shop.way) == []


def test_of_two_controllers_at_once_both_succeed_and_one_is_last(shop: Shop, fars: dict[str, Far]) -> None:
    file = str(shop.directory / "shop.yaml")
    topologies = [shop.write(change) for change in (one_more, cache)]
    children = [
        in_a_child(lambda wanted=wanted: across.apply(wanted, across.hosts_of(wanted), file, way=shop.way))
        for wanted in topologies
    ]

    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert (fars["h1"].nodes(), fars["h2"].nodes()) in [
        ({"shop.web", "shop.log"}, {"shop.db"}),
        ({"shop.web"}, {"shop.db", "shop.cache"}),
    ]
    assert across.drift(shop.entry, way=shop.way) == []


def in_a_child(job: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        except NetfabError as failure:
            print(failure)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


class Cut:
    """Counts what is sent to a host, and cuts its connection after so many pieces."""

    def __init__(self, host: str, after: int) -> None:
        self.host, self.after, self.count = host, after, 0

    def wrote(self, channel: Channel) -> None:
        if channel.host == self.host:
            self.count += 1
            if self.count == self.after:
                wire = socket.socket(fileno=os.dup(channel.transport.reading))
                wire.shutdown(socket.SHUT_RDWR)
                wire.close()

    def watch(self, patched: pytest.MonkeyPatch) -> None:
        write = Channel.write

        def wrote(channel: Channel) -> None:
            write(channel)
            self.wrote(channel)

        patched.setattr(Channel, "write", wrote)


def test_a_connection_that_is_cut_at_any_message_changes_nothing_or_is_made_good_by_the_next_apply(
    shop: Shop, fars: dict[str, Far], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, after, cut = [], 0, True
    shop.apply()
    while cut:
        after += 1
        cutter = Cut("h2", after)
        failed = False
        with monkeypatch.context() as patched:
            cutter.watch(patched)
            try:
                shop.apply(lambda text: cache(one_more(text)))
            except NetfabError:
                failed = True
        cut = cutter.count >= after
        changed = fars["h1"].nodes() == {"shop.web", "shop.log"}
        outcomes.append((changed, failed))
        shop.apply(lambda text: cache(one_more(text)))
        assert fars["h1"].nodes() == {"shop.web", "shop.log"}
        assert fars["h2"].nodes() == {"shop.db", "shop.cache"}
        shop.apply()
    assert across.drift(shop.entry, way=shop.way) == []
    assert outcomes[0] == (False, True)
    assert outcomes[-1] == (True, False)
    assert outcomes == sorted(outcomes, key=lambda outcome: outcome[0])  # no way back once it was decided


def test_addresses_stay_where_another_controller_was_last(shop: Shop) -> None:
    shop.apply()
    ours = shop.entry
    shop.apply(one_more)
    before = shop.entry.summary["nodes"]["log"]["addresses"]
    opened_book(HERE).keep(ours)  # as it is where nobody knows of that

    shop.apply(lambda text: one_more(text).replace("  web:", "  a: {networks: [lan], runs_on: h1}\n  web:"))

    assert shop.entry.summary["nodes"]["log"]["addresses"] == before
