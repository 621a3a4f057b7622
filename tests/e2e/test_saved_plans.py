"""`plan --save` and `apply --plan`: what was shown is what is done, or nothing is."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest
from lab import Lab
from machine import differences

FILE = """\
name: shop
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  web: {networks: {lan: {ip: 10.1.0.10}}, env: {SECRET: hunter2}, command: [sleep, '1000']}
  client: {networks: {lan: {ip: 10.1.0.11}}}
"""


def test_what_was_saved_is_applied(lab: Lab) -> None:
    lab.write(FILE)
    planned = lab.netfab("plan", "--save", "p.json", "-o", "json").json["changes"]

    applied = lab.netfab("apply", "--plan", "p.json", "-o", "json").json["changes"]

    assert applied == planned
    assert lab.netfab("diff").out == "No changes. The kernel matches topology.yaml.\n"


def test_a_part_is_saved_as_a_part(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("plan", "--only", "client", "--save", "p.json")

    lab.netfab("apply", "--plan", "p.json")

    assert list(lab.netfab("status", "-o", "json").json["nodes"]) == ["client"]


TWO_HOSTS = """
hosts: {h1: {address: 192.0.2.1}, h2: {address: 192.0.2.2, ssh: root@192.0.2.2}}
name: shop
networks: {lan: {subnet: 10.1.0.0/24, hosts: [h1]}}
nodes: {web: {networks: [lan], runs_on: h1}, db: {runs_on: h2}}
"""


def test_one_hosts_part_is_saved_and_applied_by_it_alone_and_stays_when_it_is_confirmed(lab: Lab) -> None:
    lab.write(TWO_HOSTS)
    lab.netfab("plan", "--host", "h1", "--save", "p.json")
    lab.write(TWO_HOSTS.replace("10.1.0.0", "10.2.0.0"))
    moved = lab.netfab("apply", "--plan", "p.json", code=1).err
    lab.write(TWO_HOSTS)

    applied = lab.netfab("apply", "--plan", "p.json", "--confirm", "100s")

    assert moved.startswith("netfab: error: what is planned on h1 changed since this plan was saved: ")
    assert applied.err.endswith("`netfab confirm --host h1 shop`, within 100 s, keeps it.\n")
    assert "no change of h2 here" in lab.netfab("confirm", "--host", "h2", "shop", code=1).err
    assert lab.netfab("confirm", "--host", "h1", "shop").err == "Confirmed shop.\n"
    assert list(lab.netfab("status", "-o", "json").json["nodes"]) == ["web"]


def test_it_is_refused_when_the_kernel_moved(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    lab.write(FILE.replace("10.1.0.11", "10.1.0.12"))
    lab.netfab("plan", "--save", "p.json")
    lab.shell("ip -n shop.web link set eth0 mtu 1300")
    before = lab.state()

    error = lab.netfab("apply", "--plan", "p.json", code=1).err

    assert error.startswith("netfab: error: the kernel changed since this plan was saved: ")
    assert "eth0 of web is different" in error
    assert differences(before, lab.state()) == []


def test_it_is_refused_when_the_file_moved(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("plan", "--save", "p.json")
    lab.write(FILE.replace("10.1.0.11", "10.1.0.12"))
    before = lab.state()

    error = lab.netfab("apply", "--plan", "p.json", code=1).err

    assert error.startswith("netfab: error: what is planned changed since this plan was saved: ")
    assert "10.1.0.11/24 on eth0 of client is gone" in error
    assert differences(before, lab.state()) == []
    assert lab.netfab("ls", "-o", "json").json["fabrics"] == []


def test_a_plan_is_applied_once(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("plan", "--save", "p.json")
    lab.netfab("apply", "--plan", "p.json")

    assert "the kernel changed" in lab.netfab("apply", "--plan", "p.json", code=1).err


def test_the_file_is_its_owners_only_and_has_no_secrets(lab: Lab) -> None:
    lab.write(FILE)
    lab.write("something else", "p.json")

    lab.netfab("plan", "--save", "p.json")

    path = lab.directory / "p.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["version"] == 1
    assert "hunter2" not in path.read_text()


def test_what_is_no_plain_file_is_not_written_to(lab: Lab) -> None:
    lab.write(FILE)
    lab.shell("mkfifo p.json")

    assert "not a regular file" in lab.netfab("plan", "--save", "p.json", code=1).err
    assert "not a regular file" in lab.netfab("apply", "--plan", "p.json", code=1).err


def test_it_has_a_file_and_a_name_of_its_own(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("plan", "--save", "p.json")

    for words in (
        ["topology.yaml"],
        ["-f", "topology.yaml"],
        ["--name", "other"],
        ["--only", "web"],
        ["--host", "h1"],
    ):
        assert "of its own" in lab.netfab("apply", "--plan", "p.json", *words, code=2).err


def test_one_that_others_may_write_is_refused(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("plan", "--save", "p.json")
    (lab.directory / "p.json").chmod(0o666)

    assert "may be another user's work" in lab.netfab("apply", "--plan", "p.json", code=1).err


HOSTILE: dict[str, Any] = {
    "nothing": "",
    "no JSON": "{",
    "deep": "[" * 100_000,
    "binary": "\x00\ud800",
    "a list": "[]",
    "another version": {"version": 2},
    "no version": {"version": "1"},
    "no file": {"file": None},
    "an impossible file": {"file": "a\0b"},
    "a file that is not a text": {"file": "\ud800"},
    "nodes that are no texts": {"only": [1]},
    "no parts": {"parts": []},
    "no digests": {"parts": {"": {"desired": []}}},
    "a way that is not a text": {"ssh": 1},
    "a name that is none": {"name": {}},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_anything_else_is_refused_in_one_line(lab: Lab, case: str) -> None:
    lab.write(FILE)
    lab.netfab("plan", "--save", "p.json")
    path, content = lab.directory / "p.json", HOSTILE[case]
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_bytes(content.encode("utf-8", "surrogatepass"))

    error = lab.netfab("apply", "--plan", "p.json", code=1).err

    assert error.startswith("netfab: error: p.json is not a plan that this netfab saved: ")
    assert "Traceback" not in error
    assert "mistake in netfab" not in error


def test_what_was_set_for_the_plan_is_set_for_its_apply(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("plan", "--set", "nodes.client.loopback=10.7.7.7", "--save", "p.json")

    lab.netfab("apply", "--plan", "p.json")

    assert lab.netfab("diff", "--set", "nodes.client.loopback=10.7.7.7").out.startswith("No changes.")
