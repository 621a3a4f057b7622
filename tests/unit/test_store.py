"""The store: private, one schema, whole or refused; leases that nobody else gets, whoever asks at once."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from random import Random

import pytest
from processes import in_processes

from netfab.errors import LeaseConflict, StoreError
from netfab.plan.leases import HeldSubnet, Lease
from netfab.store.public import PublicView, publish
from netfab.store.sqlite import _VERSIONS, VERSION, SqliteStore, set_aside
from netfab.store.store import Record

SHOP = Record("shop", "/srv/shop.yaml", 1000, '{"name":"shop","objects":[]}', '{"nodes":{},"networks":{}}')
LAN, WEB = Lease("subnet", "lan/4", "10.1.0.0/24"), Lease("address", "lan/web/eth0/4", "10.1.0.2")


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "netfab")


@pytest.fixture
def store(directory: str) -> Iterator[SqliteStore]:
    with SqliteStore(directory) as opened:
        yield opened


def _mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_only_its_owner_may_enter_the_directory_or_read_the_files(store: SqliteStore, directory: str) -> None:
    store.commit(SHOP, {LAN})

    files = {name: _mode(f"{directory}/{name}") for name in os.listdir(directory)}
    assert _mode(directory) == 0o700
    assert files == {
        "store.sqlite": 0o600,
        "store.sqlite-wal": 0o600,
        "store.sqlite-shm": 0o600,
        "store.sqlite-turn": 0o600,
    }


def test_a_disk_that_is_full_is_told_as_that(store: SqliteStore) -> None:
    store._db.execute("PRAGMA max_page_count=8")

    with pytest.raises(StoreError, match="database or disk is full"):
        store.commit(SHOP._replace(desired="x" * (1 << 20)), {LAN})

    assert store.record("shop") is None


def test_a_store_that_others_could_read_is_closed_to_them_when_it_is_next_opened(directory: str) -> None:
    SqliteStore(directory).close()
    os.chmod(f"{directory}/store.sqlite", 0o644)

    SqliteStore(directory).close()

    assert _mode(f"{directory}/store.sqlite") == 0o600


def test_a_directory_that_others_may_write_to_is_refused(directory: str) -> None:
    os.mkdir(directory)
    os.chmod(directory, 0o777)

    with pytest.raises(StoreError, match=r"is not safe: .* mode 777"):
        SqliteStore(directory)


def test_a_link_in_the_place_of_the_store_is_not_followed(directory: str, tmp_path: Path) -> None:
    os.mkdir(directory, 0o700)
    os.symlink(tmp_path / "elsewhere", f"{directory}/store.sqlite")

    with pytest.raises(StoreError, match="not a regular file"):
        SqliteStore(directory)

    assert not (tmp_path / "elsewhere").exists()


def test_what_was_committed_is_there_when_it_is_opened_again(directory: str) -> None:
    with SqliteStore(directory) as first:
        first.commit(SHOP, {LAN, WEB})

    with SqliteStore(directory) as again:
        assert (again.record("shop"), again.leases("shop"), again.records()) == (SHOP, {LAN, WEB}, [SHOP])


def test_a_commit_replaces_the_leases_that_the_fabric_had(store: SqliteStore) -> None:
    store.commit(SHOP, {LAN, WEB})

    store.commit(SHOP._replace(user=0), {LAN})

    assert store.leases("shop") == {LAN}
    assert store.record("shop") == SHOP._replace(user=0)


def test_a_fabric_that_is_forgotten_holds_nothing(store: SqliteStore) -> None:
    store.commit(SHOP, {LAN, WEB})

    store.forget("shop")

    assert (store.record("shop"), store.leases("shop"), store.held("other")) == (None, frozenset(), [])


def test_what_others_hold_is_their_subnets_only(store: SqliteStore) -> None:
    store.commit(SHOP, {LAN, WEB, Lease("shared", "mesh/4", "10.8.0.0/24")})

    assert store.held("other") == [HeldSubnet("shop", "lan", ip_network("10.1.0.0/24"))]
    assert store.held("shop") == []


@pytest.mark.parametrize("theirs", ["10.1.0.0/24", "10.1.0.0/16", "10.1.0.128/25", "10.0.0.0/8"])
def test_a_subnet_that_overlaps_anothers_is_refused_by_both_their_names(
    store: SqliteStore, theirs: str
) -> None:
    store.claim("shop", {LAN})

    with pytest.raises(
        LeaseConflict, match=rf"{theirs} for back/4 overlaps 10\.1\.0\.0/24, network lan of fabric shop"
    ):
        store.claim("other", {Lease("subnet", "back/4", theirs), Lease("address", "x", "10.9.9.9")})

    assert store.leases("other") == frozenset()


def test_another_fabrics_vni_can_not_be_claimed(store: SqliteStore) -> None:
    store.claim("shop", {Lease("vni", "lan", "42")})

    with pytest.raises(LeaseConflict, match="VNI 42 is fabric shop's"):
        store.claim("other", {Lease("vni", "back", "42")})

    assert store.vnis("other") == {42: "shop"}
    assert store.leases("other") == frozenset()


def test_all_that_can_not_be_claimed_is_told_at_once(store: SqliteStore) -> None:
    store.claim("shop", {LAN, Lease("vni", "lan", "42"), Lease("vni", "dmz", "43")})
    wide = Lease("subnet", "wide/4", "10.0.0.0/8")

    with pytest.raises(LeaseConflict) as refused:
        store.claim("other", {wide, Lease("vni", "back", "42"), Lease("vni", "front", "43")})

    assert str(refused.value) == (
        "VNI 42 is fabric shop's; VNI 43 is fabric shop's;"
        " 10.0.0.0/8 for wide/4 overlaps 10.1.0.0/24, network lan of fabric shop"
    )


def test_another_fabrics_bridge_can_not_be_claimed(store: SqliteStore) -> None:
    store.claim("shop", {Lease("bridge", "lan", "br-lan")})

    with pytest.raises(LeaseConflict, match="network lan of fabric shop has the bridge br-lan"):
        store.claim("other", {Lease("bridge", "lan", "br-lan")})


@pytest.mark.parametrize("beside", ["10.1.1.0/24", "10.0.255.0/24", "fd00::/64"])
def test_a_subnet_beside_anothers_is_held(store: SqliteStore, beside: str) -> None:
    store.claim("shop", {LAN})

    store.claim("other", {Lease("subnet", "back/4", beside)})

    assert store.leases("other") == {Lease("subnet", "back/4", beside)}


def test_a_store_of_an_older_netfab_is_read_and_keeps_commands_from_then_on(directory: str) -> None:
    os.mkdir(directory, 0o700)
    with sqlite3.connect(f"{directory}/store.sqlite") as older:
        older.executescript(_VERSIONS[0])
        older.execute("INSERT INTO fabrics VALUES (?, ?, ?, ?, ?)", SHOP[:5])
        older.execute("PRAGMA user_version=1")
    older.close()

    with SqliteStore(directory) as store:
        assert store.record("shop") == SHOP
        store.commit(SHOP._replace(commands='{"web":[["true"]]}'), ())
    with SqliteStore(directory) as again:
        assert again.record("shop") == SHOP._replace(commands='{"web":[["true"]]}')


def test_what_could_not_be_published_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "shop.json").mkdir()

    with pytest.raises(StoreError, match="Is a directory"):
        publish(str(tmp_path), SHOP, frozenset())

    assert os.listdir(tmp_path) == ["shop.json"]


def test_commands_are_not_published(tmp_path: Path) -> None:
    publish(str(tmp_path), SHOP._replace(commands='{"web":[["login","hunter2"]]}'), frozenset())

    assert "hunter2" not in (tmp_path / "shop.json").read_text()
    assert PublicView(str(tmp_path)).record("shop") == SHOP


def test_a_store_of_a_newer_netfab_is_refused_and_left_as_it_is(directory: str) -> None:
    SqliteStore(directory).close()
    with sqlite3.connect(f"{directory}/store.sqlite") as newer:
        newer.execute(f"PRAGMA user_version={VERSION + 1}")
    newer.close()
    before = Path(directory, "store.sqlite").read_bytes()

    with pytest.raises(StoreError, match="written by a newer netfab"):
        SqliteStore(directory)

    assert Path(directory, "store.sqlite").read_bytes() == before


def test_a_file_that_is_no_store_is_refused_with_the_way_out(directory: str) -> None:
    os.mkdir(directory, 0o700)
    Path(directory, "store.sqlite").write_bytes(b"this is no database at all" * 100)

    with pytest.raises(StoreError, match="not a database") as refused:
        SqliteStore(directory)

    assert "netfab recover" in refused.value.hint


def test_a_store_that_was_set_aside_is_kept_and_a_new_one_is_empty(directory: str) -> None:
    with SqliteStore(directory) as old:
        old.commit(SHOP, {LAN})

    kept = set_aside(directory)

    assert os.path.exists(kept)
    with SqliteStore(directory) as new:
        assert new.records() == []


def test_a_store_with_any_byte_changed_answers_or_says_that_it_is_broken(directory: str) -> None:
    with SqliteStore(directory) as opened:
        for number in range(20):
            opened.commit(
                SHOP._replace(name=f"shop{number}"), {LAN._replace(value=f"10.1.{number}.0/24"), WEB}
            )
    whole, random = Path(directory, "store.sqlite").read_bytes(), Random(1)
    told = 0

    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(random.randint(1, 20)):
            broken[random.randrange(len(whole))] = random.randrange(256)
        for suffix in ("-wal", "-shm"):
            Path(directory, f"store.sqlite{suffix}").unlink(missing_ok=True)
        Path(directory, "store.sqlite").write_bytes(broken)
        try:
            with SqliteStore(directory) as found:
                found.held("none")
                for record in found.records():
                    found.leases(record.name)
        except StoreError:
            told += 1

    assert told > 40


def _claim_twenty(directory: str, fabric: str, gate: int) -> None:
    """As a planner does: the twenty lowest /24s that seem free, all at once, until nobody was first."""
    os.read(gate, 1)
    while True:
        with SqliteStore(directory) as store:
            taken = {int(held.prefix.network_address) >> 8 for held in store.held(fabric)}
            free = [number for number in range(10 << 16, (10 << 16) + 1020) if number not in taken][:20]
            with suppress(LeaseConflict):
                store.claim(
                    fabric, {Lease("subnet", f"n{at}/4", str(ip_network((at << 8, 24)))) for at in free}
                )
                return


def test_fifty_processes_claim_a_thousand_leases_without_a_double_or_a_locked(directory: str) -> None:
    codes = in_processes(
        [
            lambda gate, number=number: _claim_twenty(directory, f"fabric{number}", gate)
            for number in range(50)
        ]
    )

    with SqliteStore(directory) as store:
        subnets = [held.prefix for held in store.held("none")]
    assert codes == [0] * 50
    assert len(subnets) == len(set(subnets)) == 1000


def test_who_writes_while_another_does_is_woken_by_its_end(directory: str) -> None:
    gate, begin = os.pipe()
    if not (child := os.fork()):
        os.read(gate, 1)
        SqliteStore(directory).claim("shop", {LAN})
        os._exit(0)
    store = SqliteStore(directory)

    with store._transaction():
        os.write(begin, b"+")
        while f"-> FLOCK  ADVISORY  WRITE {child} " not in Path("/proc/locks").read_text():
            assert os.waitpid(child, os.WNOHANG) == (0, 0)

    assert os.waitpid(child, 0)[1] == 0
    assert store.leases("shop") == {LAN}
    store.close()
    os.close(gate)
    os.close(begin)


def test_a_store_in_which_nobody_can_wait_is_written_to(store: SqliteStore) -> None:
    os.unlink(f"{store.path}-turn")
    os.symlink("nowhere", f"{store.path}-turn")

    store.claim("shop", {LAN})

    assert store.leases("shop") == {LAN}


def _open_each(directories: list[str], gate: int) -> None:
    os.read(gate, 1)
    for directory in directories:
        with SqliteStore(directory) as store:
            store.records()


def test_processes_that_make_the_same_store_at_once_all_get_it(tmp_path: Path) -> None:
    directories = [str(tmp_path / str(number)) for number in range(40)]

    codes = in_processes([lambda gate: _open_each(directories, gate)] * 8)

    assert codes == [0] * 8


def test_what_is_published_reads_back(tmp_path: Path) -> None:
    publish(str(tmp_path), SHOP, frozenset({LAN, WEB}))

    view = PublicView(str(tmp_path))
    assert view.record("shop") == SHOP
    assert view.leases("shop") == {LAN, WEB}


def test_what_is_published_already_is_not_written_again(tmp_path: Path) -> None:
    publish(str(tmp_path), SHOP, frozenset({LAN, WEB}))
    before = (tmp_path / "shop.json").stat()

    publish(str(tmp_path), SHOP, frozenset({LAN, WEB}))

    assert (tmp_path / "shop.json").stat() == before


@pytest.mark.parametrize("found", ["", "longer"])
def test_a_published_file_that_is_another_is_written_anew(tmp_path: Path, found: str) -> None:
    publish(str(tmp_path), SHOP, frozenset({LAN}))
    whole = (tmp_path / "shop.json").read_text()
    (tmp_path / "shop.json").write_text(whole + found if found else whole[:-1])

    publish(str(tmp_path), SHOP, frozenset({LAN}))

    assert (tmp_path / "shop.json").read_text() == whole


DAMAGES = [
    "garbage",
    "{}",
    "[]",
    "7",
    '{"record": [], "leases": []}',
    '{"record": ["shop", "f", 0, "{}", "{}", "{}"], "leases": []}',
    '{"record": ["shop", "f", 0, 5, "{\\"nodes\\": {}, \\"networks\\": {}}", "{}"], "leases": []}',
    '{"record": ["shop", "f", 0, "{}", "{\\"nodes\\": {}, \\"networks\\": {}}", "{}"], "leases": [["a"]]}',
    '{"record": ["other", "f", 0, "{}", "{\\"nodes\\": {}, \\"networks\\": {}}", "{}"], "leases": []}',
    "[" * 100_000,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage[:70])
def test_a_published_file_that_is_damaged_is_named_and_the_others_are_read(
    tmp_path: Path, damage: str
) -> None:
    publish(str(tmp_path), SHOP._replace(name="other"), frozenset({LAN}))
    (tmp_path / "shop.json").write_text(damage)

    view = PublicView(str(tmp_path))
    for read in (lambda: view.record("shop"), lambda: view.leases("shop"), view.records):
        with pytest.raises(StoreError, match=r"/shop\.json is damaged: "):
            read()
    assert [record.name for record in view.records_that_are_whole()] == ["other"]
