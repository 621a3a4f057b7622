"""`-o json`: stable shapes, data only, on stdout."""

from __future__ import annotations

import pytest
from lab import Lab

FILE = """\
name: shop
networks:
  front: {subnet: 10.5.0.0/24}
nodes:
  web: {networks: [front]}
  db: {}
links: [[web, db]]
"""
CHANGE = {"action", "kind", "name", "why", "restarts"}
NETWORK = {"subnets": ["10.5.0.0/24"], "gateways": ["10.5.0.1"], "bridge": "br-front", "external": False}


def test_a_plan_names_networks_nodes_links_and_changes(lab: Lab) -> None:
    lab.write(FILE)

    plan = lab.netfab("plan", "-o", "json").json

    assert (plan["version"], plan["fabric"]) == (1, "shop")
    assert plan["networks"] == {"front": NETWORK}
    assert plan["nodes"]["web"]["addresses"]["front"] == ["10.5.0.2"]
    assert [set(link) for link in plan["links"]] == [{"endpoints", "addresses"}]
    assert all(set(change) == CHANGE for change in plan["changes"])
    assert plan["warnings"] == []


def test_a_plan_gives_its_reasons(lab: Lab) -> None:
    lab.write(FILE)

    assert lab.netfab("plan", "--why", "-o", "json").json["reasons"] != []


@pytest.mark.parametrize("command", ["plan", "diff", "apply"])
def test_the_same_changes_are_printed_by_plan_diff_and_apply(lab: Lab, command: str) -> None:
    lab.write(FILE)
    expected = lab.netfab("plan", "-o", "json").json["changes"]

    result = lab.run(*lab.words(command, "-o", "json"))

    assert result.json["changes"] == expected
    assert {change["action"] for change in expected} == {"create"}


def test_drift_prints_what_changed(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    lab.shell("ip link set br-front mtu 1400")

    drift = lab.netfab("drift", "-o", "json", code=2).json

    assert (drift["version"], drift["fabric"]) == (1, "shop")
    (change,) = drift["changes"]
    assert (change["action"], change["kind"], change["name"]) == ("update", "bridge", "br-front")


def test_reconcile_prints_what_it_repaired(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    lab.shell("ip link set br-front mtu 1400")

    one = lab.netfab("reconcile", "-o", "json").json
    every = lab.netfab("reconcile", "--all", "-o", "json").json

    assert (one["version"], one["fabric"], one["changes"][0]["name"]) == (1, "shop", "br-front")
    assert every == {"version": 1, "fabrics": [{"fabric": "shop", "changes": [], "gone": []}]}


def test_destroy_prints_what_went_and_who_is_left(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    stays = lab.start("ip", "netns", "exec", "shop.db", "sh", "-c", "echo $$; read end")
    assert stays.stdout is not None
    pid = int(stays.stdout.readline())

    one = lab.netfab("destroy", "-o", "json").json
    again = lab.netfab("destroy", "shop", "other", "-o", "json").json
    stays.communicate("")

    assert (one["version"], one["fabric"]) == (1, "shop")
    assert {change["action"] for change in one["changes"]} == {"delete"}
    assert one["left"] == [{"pid": pid, "namespace": "shop.db"}]
    nothing = {"changes": [], "left": []}
    assert again == {"version": 1, "fabrics": [{"fabric": "shop", **nothing}, {"fabric": "other", **nothing}]}
    assert lab.netfab("destroy", "--all", "--yes", "-o", "json").json == {"version": 1, "fabrics": []}


def test_detach_and_recover_print_what_they_did(lab: Lab) -> None:
    lab.shell("ip netns add blue")
    lab.netfab("attach", "br1", "netns:blue", "10.7.0.2/24")

    detached = lab.netfab("detach", "br1", "blue", "-o", "json").json

    assert [(one["name"], one["interface"]) for one in detached["detached"]] == [("blue", "eth1")]
    assert {change["action"] for change in detached["changes"]} == {"delete"}
    assert (detached["nic"], detached["gone"]) == (None, [])
    whole = "nothing to recover: the store is whole"
    assert lab.netfab("recover", "-o", "json").json == {"version": 1, "told": [whole]}


def test_whatever_prints_data_prints_it_as_json(lab: Lab) -> None:
    import yaml

    lab.write(FILE)
    lab.netfab("apply")

    assert lab.netfab("ip", "web", "front", "-o", "json").json == {"version": 1, "addresses": ["10.5.0.2"]}
    assert lab.netfab("validate", "-o", "json").json["nodes"] == 2
    assert lab.netfab("version", "-o", "json").json.keys() == {"version", "netfab", "python", "linux"}
    assert yaml.safe_load(lab.netfab("inspect", "web", "-o", "yaml").out) == lab.netfab("inspect", "web").json


def test_status_shows_nodes_with_state_and_interfaces(lab: Lab) -> None:
    path = lab.write(FILE)
    lab.netfab("apply")

    status = lab.netfab("status", "-o", "json").json

    assert (status["version"], status["fabric"], status["user"]) == (1, "shop", 0)
    assert status["file"] == str(lab.directory / path)
    assert status["networks"]["front"] == NETWORK
    web = status["nodes"]["web"]
    assert (web["state"], web["namespace"], web["pid"]) == ("up", "/run/netns/shop.web", None)
    first = web["interfaces"][0]
    assert (first["name"], first["network"], first["addresses"]) == ("eth0", "front", ["10.5.0.2"])


def test_status_counts_what_the_guard_dropped_and_says_who_is_ready(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")

    web = lab.netfab("status", "-o", "json").json["nodes"]["web"]

    assert web["ready"] is True
    assert web["interfaces"][0]["dropped"] == 0


def test_ls_lists_fabrics(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")

    found = lab.netfab("ls", "-o", "json").json

    assert found["version"] == 1
    assert [one["fabric"] for one in found["fabrics"]] == ["shop"]


def test_bridges_are_everybodys(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    lab.shell("ip link add foreign0 type bridge; ip address add 10.99.0.1/24 dev foreign0")

    found = {one["bridge"]: one for one in lab.netfab("bridges", "-o", "json").json["bridges"]}

    assert found["br-front"]["owner"] == "shop"
    assert found["br-front"]["addresses"] == ["10.5.0.1/24"]
    assert len(found["br-front"]["ports"]) == 1
    assert found["foreign0"] == {
        "bridge": "foreign0",
        "owner": "-",
        "addresses": ["10.99.0.1/24"],
        "ports": [],
    }


def test_errors_are_data_where_data_is_asked_for(lab: Lab) -> None:
    lab.write("name: shop\nnodes:\n  web: {networks: [lan], memry: 1g}\n")

    result = lab.netfab("plan", "-o", "json", code=1)

    errors = result.json["errors"]
    assert all(set(error) == {"file", "line", "column", "path", "message", "hint"} for error in errors)
    assert [(error["file"], error["line"], error["path"]) for error in errors] == [
        ("topology.yaml", 3, "nodes.web.networks[0]"),
        ("topology.yaml", 3, "nodes.web.memry"),
    ]


def test_yaml_holds_the_same_as_json(lab: Lab) -> None:
    import yaml

    lab.write(FILE)

    assert yaml.safe_load(lab.netfab("plan", "-o", "yaml").out) == lab.netfab("plan", "-o", "json").json
