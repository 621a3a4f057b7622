"""`netfab check`: sentences tried from inside the nodes, on one host and on several."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from lab import COMMAND, Lab

SHOP = """\
name: shop
networks: {{front: {{gateway: r}}, back: {{gateway: r}}, island: {{internal: true}}}}
nodes:
  r: {{}}
  web:
    networks: [front]
    command: [python3, -c, "{program}"]
    ready: {{tcp: 80}}
  db: {{networks: [back]}}
  app: {{networks: [back], scale: 2}}
  lone: {{networks: [island]}}
checks: [{checks}]
"""
# A server of HTTP, and one of UDP that never answers.
SERVER = (
    "import http.server, socket; d = socket.socket(type=socket.SOCK_DGRAM); d.bind(('', 5353)); "
    "http.server.test(port=80)"
)
HOLDING = (
    "db reaches web on tcp/80 via r within 5s",
    "db reaches web on udp/5353",
    "app reaches web via r",
    "lone does not reach web",
    "db does not reach web on tcp/81",
    "db does not reach web on udp/81",
    "lone reaches host",
    "host reaches lone",
    "lone does not reach internet",
)
FAILING = {
    "db reaches app via r": "is reached directly",
    "db reaches web on tcp/81": "refused the connection to its tcp/81: nothing listens on tcp/81 in web",
    "db reaches web on udp/81": "nothing listens on udp/81 in web",
    "db does not reach web": "answered",
    "web reaches lone": "did not answer within 1 s: nothing in the file joins",
    "db reaches internet": "did not answer within 1 s",
}


@pytest.fixture
def shop(lab: Lab) -> Lab:
    checks = ", ".join((*HOLDING, *FAILING))
    lab.write(SHOP.format(program=SERVER, checks=checks))
    lab.netfab("apply")
    return lab


def test_what_holds_is_told_from_what_does_not_and_why(shop: Lab) -> None:
    found = shop.netfab("check", "-o", "json", code=1).json["checks"]

    reasons = {each["sentence"]: each["reason"] for each in found}
    scaled = {sentence.replace("app", f"app-{n}", 1) for sentence in (*HOLDING, *FAILING) for n in (1, 2)}
    assert reasons.keys() == scaled
    for sentence, reason in reasons.items():
        expected = FAILING.get(sentence.replace("app-1", "app").replace("app-2", "app"), "")
        assert expected in reason, sentence
        assert bool(reason) == bool(expected), sentence


def test_each_result_is_a_case_of_the_junit_file(shop: Lab) -> None:
    shop.netfab("check", "--junit", "results.xml", code=1)

    suite = ElementTree.parse(shop.directory / "results.xml").getroot()
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert suite.get("failures") == str(len(failed))
    assert failed == [
        sentence.replace("app", f"app-{n}", 1)
        for sentence in FAILING
        for n in ((1, 2) if "app" in sentence else (1,))
    ]


def test_checks_of_a_node_that_is_gone_fail_and_the_others_are_tried(shop: Lab) -> None:
    shop.shell("ip netns del shop.lone")

    found = shop.netfab("check", "-o", "json", code=1).json["checks"]

    reasons = {each["sentence"]: each["reason"] for each in found}
    assert "the namespace of lone is gone" in reasons["lone does not reach web"]
    assert reasons["db reaches web on udp/5353"] == ""


def test_checks_of_a_node_that_was_not_applied_are_named_and_the_others_are_tried(lab: Lab) -> None:
    checks = "web does not reach lone", "lone reaches host"
    lab.write(SHOP.format(program=SERVER, checks=", ".join(checks)))
    lab.netfab("apply", "--only", "lone")

    ended = lab.netfab("check", "-o", "json", code=1)

    found = {each["sentence"]: (each["holds"], each["reason"]) for each in ended.json["checks"]}
    assert found == {
        checks[0]: (None, "no node web was applied"),
        checks[1]: (True, ""),
    }
    assert ended.err.startswith(
        "2 checks, 0 failed, 1 not tried\nnetfab: error: `web does not reach lone`: no node"
    )


def test_pairs_are_who_reaches_whom(shop: Lab) -> None:
    found = shop.netfab("check", "--pairs", "-o", "json").json["pairs"]

    assert found["db"] == {"r": True, "web": True, "app-1": True, "app-2": True, "lone": False}
    assert not any(found["lone"].values())


def test_pairs_of_guests_need_no_file(lab: Lab) -> None:
    for name, address in (("red", "10.9.0.1/24"), ("blue", "10.9.0.2/24")):
        lab.shell(f"ip netns add {name}")
        lab.netfab("attach", "br9", name, address)

    found = lab.netfab("check", "--pairs", "adhoc", "-o", "json").json["pairs"]

    assert found == {"netns:red": {"netns:blue": True}, "netns:blue": {"netns:red": True}}


def test_what_holds_within_a_time_is_waited_for(lab: Lab) -> None:
    late = "import http.server, os\nwhile not os.path.exists('/go'): pass\nhttp.server.test(port=80)"
    text = SHOP.format(program=late.replace("\n", "\\n"), checks="db reaches web on tcp/80 within 30s")
    text = text.replace("    ready: {tcp: 80}\n", "")
    lab.write(text.replace(" within 30s", ""))
    lab.netfab("apply")
    lab.netfab("check", code=1)

    lab.write(text)
    waiting = lab.start(*lab.words("check"))
    lab.netfab("exec", "web", "touch", "/go")

    assert waiting.wait(timeout=60) == 0


def test_of_several_addresses_the_one_that_refused_is_told(lab: Lab) -> None:
    """A guest has no hosts file of ours: it tries them all, and has no way to the first."""
    lab.shell("ip netns add old")
    lab.write(
        "name: t\nnetworks: {front: {}, back: {internal: true}}\n"
        "nodes: {web: {networks: [front, back]}, old: {attach: 'netns:old', networks: [back]}}\n"
        "checks: [old reaches web on tcp/80]\n"
    )
    lab.netfab("apply")

    (found,) = lab.netfab("check", "-o", "json", code=1).json["checks"]

    assert "refused the connection to its tcp/80: nothing listens on tcp/80 in web" in found["reason"]


def test_a_fabric_that_is_not_there_can_not_be_checked(lab: Lab) -> None:
    lab.write(SHOP.format(program="", checks="db reaches web"))

    assert "there is no fabric shop" in lab.netfab("check", code=1).err


def test_where_no_file_is_the_only_fabric_is_checked(lab: Lab) -> None:
    (lab.directory / "below").mkdir()
    file = lab.write(
        SHOP.format(program="", checks="db reaches app").replace("    ready: {tcp: 80}\n", ""), "below/a.yaml"
    )
    lab.netfab("apply", file)

    assert "db reaches app-1  ok" in lab.netfab("check").out


def test_a_file_without_checks_says_what_to_write(lab: Lab) -> None:
    lab.write("networks: {lan: {}}\nnodes: {a: {networks: [lan]}}\nname: small\n")
    lab.netfab("apply")

    assert "hint: write `checks:" in lab.netfab("check", code=1).err


def test_checks_are_tried_where_the_nodes_are(lab: Lab) -> None:
    two_hosts = (Path(__file__).parents[2] / "topologies" / "two-hosts.yaml").read_text()
    lab.write(
        two_hosts.partition("checks")[0]
        + "checks: [client reaches web on tcp/80, web does not reach client on tcp/80]\n"
    )

    script = f"{COMMAND} check -o json && {COMMAND} check --pairs"
    result = lab.netfab("lab", "topology.yaml", "--", "sh", "-ec", script)

    assert '"holds": true' in result.out
    assert "client  .       yes" in result.out
