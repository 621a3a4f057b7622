"""`--only`: some nodes' objects and what they need; everything else stays as it is."""

from __future__ import annotations

from lab import Lab
from machine import differences
from traffic import answer, serving

FILE = """\
name: shop
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  web: {networks: {lan: {ip: 10.1.0.10}}, command: [sleep, '1000']}
  db: {networks: {lan: {ip: 10.1.0.11}}, command: [sleep, '2000']}
  client: {networks: {lan: {ip: 10.1.0.12}}}
"""
CHANGED = FILE.replace("10.1.0.10", "10.1.0.20").replace("'2000'", "'3000'").replace("10.1.0.12", "10.1.0.22")
NO_CHANGES = "No changes. The kernel matches shop.\n"


def test_a_first_apply_makes_only_what_the_node_needs(lab: Lab) -> None:
    lab.write(FILE)

    lab.netfab("apply", "--only", "client")

    assert list(lab.netfab("status", "-o", "json").json["nodes"]) == ["client"]
    assert lab.shell("ls /run/netns").split() == ["shop.client"]
    with serving(lab):
        assert answer(lab, "shop.client", "10.1.0.1") == "10.1.0.12"
    assert lab.netfab("drift").out == NO_CHANGES


def test_others_keep_their_objects_and_programs(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    db = lab.pid_of("db")
    lab.write(CHANGED)

    lab.netfab("apply", "--only", "web")

    assert lab.netfab("ip", "web").out == "10.1.0.20\n"
    assert lab.netfab("ip", "client").out == "10.1.0.12\n"
    assert lab.pid_of("db") == db
    with serving(lab, "shop.client"):
        assert answer(lab, "shop.web", "10.1.0.12") == "10.1.0.20"
    assert lab.netfab("drift").out == NO_CHANGES
    assert "eth0 of client" in lab.netfab("plan").out


def test_parts_together_are_the_whole(lab: Lab) -> None:
    lab.write(FILE)
    for node in ("client", "web", "db"):
        lab.netfab("apply", "--only", node)

    assert lab.netfab("diff").out == "No changes. The kernel matches topology.yaml.\n"
    before = lab.state()
    lab.netfab("apply")
    made = differences(before, lab.state())
    assert [one for one in made if "seal.json" not in one] == []  # which only a whole apply has


def test_what_others_changed_elsewhere_stays_and_is_still_drift(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    lab.shell("ip -n shop.client link set eth0 mtu 1300")

    lab.netfab("apply", "--only", "web,db")

    assert "1300" in lab.shell("ip -n shop.client link show eth0")
    assert "client" in lab.netfab("drift", code=2).out
    lab.netfab("reconcile")
    assert "1300" not in lab.shell("ip -n shop.client link show eth0")


def test_a_node_that_is_gone_from_the_file_goes_when_it_is_named(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    lab.write("".join(line for line in FILE.splitlines(True) if "client" not in line))

    lab.netfab("apply", "--only", "web")
    kept = lab.netfab("status", "-o", "json").json["nodes"]
    lab.netfab("apply", "--only", "client")

    assert "client" in kept
    assert "client" not in lab.netfab("status", "-o", "json").json["nodes"]
    assert lab.netfab("drift").out == NO_CHANGES


def test_a_new_node_gets_no_address_of_one_that_is_applied_and_gone_from_the_file(lab: Lab) -> None:
    file = "name: shop\nnetworks: {lan: {}}\nnodes: {web: {networks: [lan]}}\n"
    lab.write(file)
    lab.netfab("apply")
    lab.write(file.replace("web", "new"))

    lab.netfab("apply", "--only", "new")

    assert lab.netfab("ip", "web").out == "10.0.0.2\n"
    assert lab.netfab("ip", "new").out == "10.0.0.3\n"
    assert lab.netfab("drift").out == NO_CHANGES


def test_a_plan_of_some_nodes_shows_only_theirs(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    lab.write(CHANGED)

    told = lab.netfab("plan", "--only", "web").out

    assert "10.1.0.20" in told
    assert "of client" not in told
    assert "container db" not in told


def test_an_unknown_node_is_refused_with_what_was_meant_and_nothing_changes(lab: Lab) -> None:
    lab.write(FILE)
    before = lab.state()

    result = lab.netfab("apply", "--only", "web,clinet", code=1)

    assert result.err == "netfab: error: there is no node clinet in shop\nhint: did you mean `client`?\n"
    assert differences(before, lab.state()) == []
    assert "it names no node" in lab.netfab("apply", "--only", "", code=2).err


def test_destroy_after_a_part_leaves_nothing(lab: Lab) -> None:
    before = lab.state()
    lab.write(FILE)
    lab.netfab("apply", "--only", "web")

    lab.netfab("destroy")

    assert differences(before, lab.state()) == []


def test_a_program_of_others_that_has_ended_stays_as_it_is(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    pid = lab.pid_of("db")
    lab.kill(f"{pid}")
    lab.write(CHANGED)

    lab.netfab("apply", "--only", "client")

    assert lab.netfab("ip", "client").out == "10.1.0.22\n"
    assert lab.netfab("status", "-o", "json").json["nodes"]["db"]["state"] == "exited"
    assert "container db: state ended -> running" in lab.netfab("drift", code=2).out
