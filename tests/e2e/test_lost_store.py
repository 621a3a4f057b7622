"""A store that is broken, lost, full or a newer one: `destroy` works, `recover` says what is left."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from lab import Lab
from machine import differences

PAIR = """\
name: pair
networks: {lan: {}}
nodes:
  web: {networks: [lan]}
  client: {networks: [lan]}
"""
STATE, PUBLISHED = "/var/lib/netfab", "/run/netfab/pair.json"
SMALL_DISK = f"mkdir -p {STATE} && mount -t tmpfs -o size=256k,mode=700 tmpfs {STATE}"
TROUBLES = {
    "corrupt": f"head -c 9000 /dev/zero > {STATE}/store.sqlite; rm -f {STATE}/*-wal {STATE}/*-shm",
    "read-only": f"mount -o remount,ro {STATE}",
    "full": f"dd if=/dev/zero of={STATE}/filler bs=1k 2> /dev/null || true",
    "unsafe": f"chmod 777 {STATE}",
    "newer": f"""python3 -c 'import sqlite3
sqlite3.connect("{STATE}/store.sqlite").execute("PRAGMA user_version = 99")'""",
}
NO_OBJECTS = '{"record": ["pair", "f", 0, "{}", "{"nodes": {}, "networks": {}}", "{}"], "leases": []}'
DAMAGES = ["garbage", "[]", NO_OBJECTS]


def _on_the_network(lab: Lab) -> Mapping[str, frozenset[object]]:
    return {what: things for what, things in lab.state().items() if what not in (STATE, "mounts")}


def _applied(lab: Lab) -> Mapping[str, frozenset[object]]:
    """The state before a fabric was applied, on a disk of its own."""
    lab.shell(SMALL_DISK)
    before = _on_the_network(lab)
    lab.write(PAIR)
    lab.netfab("apply")
    return before


@pytest.mark.parametrize(
    "words", [(), ("topology.yaml",), ("pair",), ("--force",), ("--all", "--yes")], ids=str
)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_destroy_removes_all_whatever_is_wrong_with_the_store(
    lab: Lab, trouble: str, words: tuple[str, ...]
) -> None:
    before = _applied(lab)
    lab.shell(TROUBLES[trouble])

    result = lab.netfab("destroy", *words, code=1)

    assert "fabric pair is gone from this host, but not from the store" in result.err
    assert differences(before, _on_the_network(lab)) == []


@pytest.mark.parametrize("damage", DAMAGES, ids=["garbage", "another shape", "no objects"])
def test_destroy_and_recover_work_where_also_the_published_file_is_damaged(lab: Lab, damage: str) -> None:
    before = _applied(lab)
    lab.shell(TROUBLES["corrupt"])
    (lab.directory / "damage").write_text(damage)
    lab.shell(f"cp damage {PUBLISHED}")

    lab.netfab("destroy", code=1)

    assert differences(before, _on_the_network(lab)) == []
    lab.shell(f"mkdir -p /run/netfab; cp damage {PUBLISHED}")
    assert "store.broken" in lab.netfab("recover").out


def test_recover_names_fabrics_of_which_only_the_kernel_knows_and_the_hint_works(lab: Lab) -> None:
    before = _applied(lab)
    lab.shell(f"rm -rf {STATE}/* /run/netfab")

    told = lab.netfab("recover").out

    assert told.startswith("fabric pair is on this host, and its record is lost: ")
    lab.netfab("apply")
    assert lab.netfab("recover").out == "nothing to recover: the store is whole\n"
    lab.netfab("destroy", "pair")
    assert differences(before, _on_the_network(lab)) == []


def test_what_runs_is_looked_at_and_stopped_on_a_full_disk(lab: Lab) -> None:
    lab.shell(SMALL_DISK)
    lab.write(f"{PAIR}  job: {{command: [sh, -c, 'echo made; exec sleep 1000'], ready: {{log: made}}}}\n")
    lab.netfab("apply")
    lab.shell(TROUBLES["full"])

    assert lab.netfab("drift").out == "No changes. The kernel matches pair.\n"
    assert [line.split()[:2] for line in lab.netfab("ls").out.splitlines()[1:]] == [["pair", "3"]]
    assert lab.netfab("logs", "job").out == "made\n"
    assert lab.netfab("exec", "web", "echo", "hello").out == "hello\n"
    assert "job     running" in lab.netfab("status").out
    lab.netfab("stop", "-t", "0", "job")
    assert lab.netfab("ps", "-a").out.split("\n")[1].split()[3] == "stopped"
    assert "the disk is full" in lab.netfab("apply", code=1).err


def test_a_store_on_a_read_only_disk_is_read(lab: Lab) -> None:
    _applied(lab)
    lab.shell(TROUBLES["read-only"])

    assert lab.netfab("drift").out == "No changes. The kernel matches pair.\n"
    assert "web     up" in lab.netfab("status").out


def test_what_looks_into_a_store_makes_none_and_says_how_a_lost_one_is_rebuilt(lab: Lab) -> None:
    assert "`netfab apply FILE` makes one" in lab.netfab("status", "pair", code=1).err
    assert lab.netfab("ls").out == "FABRIC  NODES  NETWORKS  FILE\n"
    assert lab.shell(f"ls {STATE} || true") == ""
    lab.write(PAIR)
    lab.netfab("apply")
    lab.shell(f"rm -r {STATE}")

    for words in (("status",), ("drift", "pair")):
        said = lab.netfab(*words, code=1).err
        assert "hint: the store lost pair: `netfab recover` rebuilds it\n" in said
    for words in (("ls",), ("ps",), ("drift", "--all"), ("reconcile", "--all")):
        said = lab.netfab(*words, code=1).err
        assert said == "netfab: error: the store lost pair\nhint: `netfab recover` rebuilds it\n"

    assert lab.shell(f"ls {STATE} || true") == ""
    lab.netfab("recover")
    assert "web" in lab.netfab("status").out
    lab.shell(f"rm -r {STATE}")
    assert lab.netfab("destroy", "--all", "--yes").out == "Destroyed pair.\n"


@pytest.mark.parametrize("trouble", ["corrupt", "full"])
def test_a_program_can_be_looked_at_and_stopped_whatever_is_wrong_with_the_store(
    lab: Lab, trouble: str
) -> None:
    lab.shell(SMALL_DISK)
    lab.write("name: pair\nnodes: {web: {command: [sleep, inf]}}\n")
    lab.netfab("apply")
    lab.shell(TROUBLES[trouble])

    assert lab.netfab("exec", "web", "echo", "here").out == "here\n"
    lab.netfab("stop", "web")

    (web,) = lab.netfab("ps", "-a", "-o", "json").json["nodes"]
    assert web["state"] == "stopped"
