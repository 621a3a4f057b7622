"""Two controllers that share an etcd: one at a time changes a fabric, and no two fabrics get the same."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from etcd_cluster import Cluster, Place, cluster, shorten_locks, wait_until_it_answers
from far import Far
from far_shop import TEXT, lines, one_more
from processes import in_processes

from netfab import fabric
from netfab.cli import files
from netfab.errors import AppliedElsewhere, Locked, NetfabError, StoreError, StoreUnreachable
from netfab.multihost import across
from netfab.remote import serve
from netfab.remote.forked import Forked
from netfab.remote.party import Connect
from netfab.store import etcd, etcd_lock
from netfab.store.book import Entry
from netfab.store.etcd import Client, read_below
from netfab.topology.schema import Topology
from netfab.where import HERE, Where

STORE = "etcd://127.0.0.1:2379"
SHARED = f"store: {STORE}\n{TEXT}"
EMPTY: list[str] = []


class Controller:
    """A machine with a state of its own that applies files; hosts keep theirs where they always do."""

    def __init__(self, directory: Path, fars: dict[str, Far]) -> None:
        directory.mkdir()
        self.directory = directory
        self.where = Where(state=str(directory), lock_timeout=30.0)
        self.way: Connect = lambda host, _, where: Forked(
            HERE._replace(lock_timeout=where.lock_timeout), fars[host].enter
        )

    def topology(self, text: str) -> Topology:
        file = self.directory / "shop.yaml"
        file.write_text(text)
        return fabric.load(str(file))

    def apply(self, text: str = SHARED, **options: Any) -> list[str]:
        """What changed on the hosts."""
        topology = self.topology(text)
        words = {"way": self.way, "where": self.where, **options}
        return lines(across.apply(topology, across.hosts_of(topology), "/srv/shop.yaml", **words).changes)

    def plan(self, text: str = SHARED) -> list[str]:
        topology = self.topology(text)
        planned = across.plan(topology, across.hosts_of(topology), self.where, way=self.way)
        return lines(planned.changes)

    def destroy(self, name: str = "shop") -> list[str]:
        return lines(across.destroy(self.entry(name), self.where, way=self.way)[0])

    def entry(self, name: str = "shop") -> Entry:
        found = across.known(name, self.where)
        assert found is not None
        return found


@pytest.fixture
def member(sandbox: None) -> Iterator[Cluster]:
    with cluster(Place("127.0.0.1", lambda: None)) as made:
        wait_until_it_answers(Client(made.store), made)
        yield made


@pytest.fixture
def c1(tmp_path: Path, fars: dict[str, Far], member: Cluster) -> Controller:
    return Controller(tmp_path / "c1", fars)


@pytest.fixture
def c2(tmp_path: Path, fars: dict[str, Far], member: Cluster) -> Controller:
    return Controller(tmp_path / "c2", fars)


def kept(member: Cluster) -> list[str]:
    return [found.key for found in Client(member.store).transact((), [read_below("/")]).found]


def locks_run_out(member: Cluster) -> None:
    """As they do when etcd hears nothing of their holders for long."""
    client = Client(member.store)
    for lock in client.transact((), [read_below("/netfab/locks/")]).found:
        client.revoke(json.loads(lock.value)["lease"])


def addresses(entry: Entry) -> dict[str, list[str]]:
    nodes = entry.summary["nodes"].items()
    return {name: [each for one in node["interfaces"] for each in one["addresses"]] for name, node in nodes}


def test_one_controller_goes_on_from_what_another_applied(
    c1: Controller, c2: Controller, fars: dict[str, Far]
) -> None:
    c1.apply()
    before = addresses(c1.entry())

    assert c2.plan() == c2.apply() == EMPTY
    changes = c2.apply(one_more(SHARED))

    assert {line.partition(":")[0] for line in changes} <= {"h1", "h2"}
    assert fars["h1"].nodes() == {"shop.web", "shop.log"}
    after = addresses(c1.entry())
    assert {name: after[name] for name in before} == before
    assert "log" in after


def test_what_is_destroyed_by_one_controller_is_gone_for_all(
    c1: Controller, c2: Controller, fars: dict[str, Far], member: Cluster
) -> None:
    c1.apply()
    c2.apply()

    c2.destroy()

    assert fars["h1"].left() == fars["h2"].left() == EMPTY
    assert kept(member) == EMPTY
    assert c1.destroy() == EMPTY
    assert across.known("shop", c1.where) is None


def test_fabrics_of_two_controllers_on_different_hosts_get_different_subnets_and_vnis(
    c1: Controller, c2: Controller
) -> None:
    """On h1 alone nothing of the other fabric is known."""
    one = f"store: {STORE}\nname: one\nhosts: {{h1: {{address: 192.0.2.1, ssh: root@192.0.2.1}}}}\n"
    two = f"store: {STORE}\nname: two\nhosts: {{h2: {{address: 192.0.2.2, ssh: root@192.0.2.2}}}}\n"
    rest = "networks: {lan: {}}\nnodes: {web: {networks: [lan], runs_on: %s}}\n"

    c1.apply(one + rest % "h1")
    c2.apply(two + rest % "h2")

    subnets = [c.entry(name).summary["networks"]["lan"]["subnets"] for c, name in ((c1, "one"), (c2, "two"))]
    assert subnets[0] != subnets[1]


def test_two_that_apply_at_once_do_so_one_after_the_other(
    c1: Controller, c2: Controller, fars: dict[str, Far]
) -> None:
    def wait_and_apply(controller: Controller, text: str, gate: int) -> None:
        os.read(gate, 1)
        controller.apply(text)

    codes = in_processes([
        lambda gate: wait_and_apply(c1, SHARED, gate),
        lambda gate: wait_and_apply(c2, one_more(SHARED), gate),
    ])  # fmt: skip

    assert codes == [0, 0]
    assert c1.entry().generation == 2
    assert across.drift(c1.entry(), c1.where, way=c1.way) == []


def test_who_does_not_wait_is_told_who_applies_and_changes_nothing(
    c1: Controller, c2: Controller, fars: dict[str, Far], member: Cluster
) -> None:
    client = Client(member.store)
    with (
        etcd_lock.held(client, "/netfab/locks/shop", 0, lambda _: None),
        pytest.raises(Locked, match=f"locked by {os.getpid()} on "),
    ):
        c2.apply(where=c2.where._replace(lock_timeout=0.0))

    assert fars["h1"].left() == EMPTY


def test_the_same_name_from_another_file_is_refused(c1: Controller, c2: Controller) -> None:
    c1.apply()
    topology = c2.topology(SHARED)

    with pytest.raises(
        AppliedElsewhere, match=r"was applied from /srv/shop\.yaml, not from /srv/other\.yaml"
    ):
        across.apply(topology, across.hosts_of(topology), "/srv/other.yaml", c2.where, way=c2.way)


def test_a_store_that_cannot_be_reached_is_one_error_and_nothing_changes(
    c1: Controller, fars: dict[str, Far], member: Cluster
) -> None:
    member.kill(1)

    for job in (c1.apply, c1.plan):
        with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:2379: Connection refused"):
            job()

    assert fars["h1"].left() == fars["h2"].left() == EMPTY
    assert across.known("shop", c1.where) is None


def test_a_store_that_is_lost_before_the_decision_has_all_hosts_go_back(
    c1: Controller, fars: dict[str, Far], member: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    c1.apply()
    before = addresses(c1.entry())
    real = across.transact

    def losing(*words: Any) -> Any:
        member.kill(1)
        return real(*words)

    monkeypatch.setattr(across, "transact", losing)
    with pytest.raises(StoreUnreachable) as failure:
        c1.apply(one_more(SHARED))

    assert failure.value.undone
    assert fars["h1"].nodes() == {"shop.web"}
    monkeypatch.setattr(across, "transact", real)
    member.start(1)
    member.wait_for(1)
    locks_run_out(member)
    c1.apply(one_more(SHARED))
    assert addresses(c1.entry()).items() >= before.items()


def test_a_lost_store_hinders_no_destroy_which_says_what_is_still_held(
    c1: Controller, fars: dict[str, Far], member: Cluster
) -> None:
    c1.apply()
    (subnet,) = c1.entry().summary["networks"]["lan"]["subnets"]
    member.kill(1)

    with pytest.raises(StoreError, match="shop is gone from its hosts, but not from the store") as told:
        c1.destroy()

    assert fars["h1"].left() == fars["h2"].left() == EMPTY
    assert subnet in told.value.hint
    member.start(1)
    member.wait_for(1)
    c1.destroy()
    assert kept(member) == EMPTY
    assert across.known("shop", c1.where) is None


def test_a_store_that_lost_all_is_filled_again_from_what_hosts_hold(c1: Controller, member: Cluster) -> None:
    c1.apply()
    before, client = c1.entry(), Client(member.store)
    client.transact((), [etcd.delete(f"/netfab/{room}/shop") for room in ("fabrics", "held")])

    assert c1.apply() == EMPTY

    assert addresses(c1.entry()) == addresses(before)
    assert kept(member) == ["/netfab/fabrics/shop", "/netfab/held/shop"]


def test_a_controller_that_stood_still_until_its_lock_ran_out_changes_nothing_any_more(
    c1: Controller,
    c2: Controller,
    fars: dict[str, Far],
    member: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is stopped when all is applied and nothing is decided yet; for its hosts time flies then."""
    c1.apply()
    reading, writing = os.pipe()
    stands_still = tmp_path / "stands still"
    child = os.fork()
    if child == 0:
        try:
            real = across.transact

            def flying() -> float:
                return monotonic() * (100 if stands_still.exists() else 1)

            def stopping(*words: Any) -> Any:
                *first, decided, anew = words

                def stop() -> None:
                    os.kill(os.getpid(), signal.SIGSTOP)
                    decided()

                return real(*first, stop, anew)

            monkeypatch.setattr(across, "transact", stopping)
            monkeypatch.setattr(serve, "monotonic", flying)
            c1.apply(one_more(SHARED))
        except NetfabError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    stands_still.touch()
    locks_run_out(member)

    c2.apply(f"{SHARED}  cache: {{networks: [lan], runs_on: h2}}\n")
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)

    with open(reading) as told:
        assert "the lock /netfab/locks/shop expired" in told.read()
    assert fars["h1"].nodes() == {"shop.web"}
    assert fars["h2"].nodes() == {"shop.db", "shop.cache"}
    assert c1.entry().generation == 2
    assert across.drift(c2.entry(), c2.where, way=c2.way) == []


def test_a_controller_that_is_killed_after_anything_that_it_wrote_leaves_nothing_that_the_next_does_not_mend(
    c1: Controller, c2: Controller, fars: dict[str, Far], member: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, number = True, 0
    while killed:
        number += 1
        killed = killed_at(number, c1.apply, monkeypatch)
        locks_run_out(member)

        c2.apply(one_more(SHARED))
        assert fars["h1"].nodes() == {"shop.web", "shop.log"}
        c2.destroy()
        assert fars["h1"].left() == fars["h2"].left() == EMPTY
        assert kept(member) == EMPTY
    assert number > 3


def killed_at(number: int, job: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do it in a process that is killed after so many writes; False when it ended before."""
    child = os.fork()
    if child == 0:
        try:
            real, count = Client._call, [0]

            def call(client: Client, *words: Any) -> Any:
                said = real(client, *words)
                count[0] += "request_put" in str(words)
                if count[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return said

            monkeypatch.setattr(Client, "_call", call)
            job()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_host_that_is_another_controllers_own_machine_is_not_taken_for_this_one(
    c1: Controller, c2: Controller
) -> None:
    text = SHARED.replace(", ssh: root@192.0.2.1", "")
    c1.apply(text)

    class Elsewhere:
        nodename = "c2.example"

    with pytest.MonkeyPatch.context() as patched:
        real = os.uname
        patched.setattr(os, "uname", lambda: Elsewhere)
        with pytest.raises(
            NetfabError, match=r"h1, a host of fabric shop, is .* itself, and this machine is c2"
        ):
            c2.apply(text)
        patched.setattr(os, "uname", real)


def test_a_controller_that_never_applied_a_file_finds_its_fabric_by_it(
    c1: Controller, c2: Controller
) -> None:
    c1.apply()
    c2.topology(SHARED)
    assert across.known("shop", c2.where) is None

    files._ask_about(f"{c2.directory}/shop.yaml", c2.where)

    assert across.known("shop", c2.where) == c1.entry()


def test_what_one_controller_had_by_itself_goes_on_in_a_shared_store(
    c1: Controller, c2: Controller, member: Cluster
) -> None:
    c1.apply(TEXT)
    before = addresses(c1.entry())

    changes = c1.apply(take_over=True)

    assert changes == EMPTY
    assert addresses(c1.entry()) == before
    assert c1.entry().store == STORE
    assert c2.apply() == EMPTY


def test_a_file_that_no_longer_names_the_store_of_its_fabric_is_refused(c1: Controller) -> None:
    c1.apply()

    with pytest.raises(NetfabError, match=f"shop is in {STORE}, and this file names no store") as told:
        c1.apply(TEXT)

    assert told.value.hint == "`netfab destroy shop` first"


def test_an_apply_that_takes_longer_than_a_lock_lives_keeps_it(
    c1: Controller, fars: dict[str, Far], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_locks(monkeypatch)

    c1.apply(f"{SHARED}  slow: {{networks: [lan], runs_on: h2, exec: [[sleep, '4']]}}\n")

    assert fars["h2"].nodes() == {"shop.db", "shop.slow"}
