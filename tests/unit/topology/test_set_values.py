"""`--set PATH=VALUE` is as if the file said so."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netfab.errors import NetfabError
from netfab.topology.load import load
from netfab.topology.schema import Topology

FILE = b"""\
networks: {lan: {}, back: {}}
nodes:
  web: &web {networks: [lan], command: x, env: {A: b}}
  copy: *web
  leaf1..2: {}
links: [[leaf1, leaf2], {endpoints: [leaf1, web], delay: 1ms}]
"""


def with_set(*settings: str) -> Topology:
    return load(FILE, "t.yaml", "/lab", {"X": "5"}, None, settings=settings)


def error(*settings: str) -> str:
    with pytest.raises(NetfabError) as caught:
        with_set(*settings)
    return str(caught.value)


def test_a_value_is_the_files() -> None:
    nodes = with_set("nodes.copy.scale=3").nodes

    assert [name for name in nodes if name.startswith("copy")] == ["copy-1", "copy-2", "copy-3"]


@pytest.mark.parametrize(
    ("setting", "got"),
    [
        ("nodes.web.memory=64m", lambda found: found.nodes["web"].memory == 64 << 20),
        ("nodes.web.env.A=x=y", lambda found: dict(found.nodes["web"].env) == {"A": "x=y"}),
        ("nodes.web.env.NEW=${X}", lambda found: dict(found.nodes["web"].env) == {"A": "b", "NEW": "5"}),
        ("nodes.web.env.A=", lambda found: dict(found.nodes["web"].env) == {"A": ""}),
        (
            "nodes.web.networks=[lan, back]",
            lambda found: [each.network for each in found.nodes["web"].attachments] == ["lan", "back"],
        ),
        (
            'nodes.web.files."/etc/a.conf".content=x',
            lambda found: found.nodes["web"].files[0].path == "/etc/a.conf",
        ),
        ("nodes.leaf1..2.memory=64m", lambda found: found.nodes["leaf2"].memory == 64 << 20),
        ("links[0]=[leaf1, web]", lambda found: found.links[0].ends[1].node == "web"),
        ("defaults.memory=64m", lambda found: found.nodes["leaf1"].memory == 64 << 20),
        (
            "networks.lan.subnet=10.9.0.0/24",
            lambda found: str(found.networks["lan"].subnets[0]) == "10.9.0.0/24",
        ),
    ],
)
def test_a_path_is_what_errors_print(setting: str, got: object) -> None:
    assert callable(got)
    assert got(with_set(setting))


def test_what_an_alias_shares_stays_as_it_is() -> None:
    found = with_set("nodes.copy.env.A=c")

    assert dict(found.nodes["web"].env) == {"A": "b"}
    assert dict(found.nodes["copy"].env) == {"A": "c"}
    found = with_set("nodes.copy.networks[0]=back")
    assert [found.nodes[name].attachments[0].network for name in ("web", "copy")] == ["lan", "back"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "nodes.wbe.scale=3",
            "--set:2:1: nodes.wbe.scale: `wbe` is not in `nodes`, and --set adds no entries; did you mean",
        ),
        ("nodes.web.memory=lots", "--set:2:18: nodes.web.memory: "),
        ("nodes.web.memry=1g", "--set:2:1: nodes.web.memry: unknown key; did you mean `memory`?"),
        ("links[7].delay=1ms", "--set:2:1: links[7].delay: there is a list of 2 here; write which: `[0]`"),
        ("nodes.web.env.A.b=1", "--set:2:1: nodes.web.env.A.b: there is the text `b` here, and no `b` in it"),
        ("nodes[0]=1", "--set:2:1: nodes[0]: there is a map here, and no `[0]` in it"),
        ("name=x", "--set:2:1: name: it can't be set; --name gives the fabric another name"),
        ("nodes.web.memory", "--set:2:1: `nodes.web.memory` is not PATH=VALUE: `nodes.web.scale=3`"),
        ("nodes.web.env.A=[", "--set:2:"),
        ("nodes.web.env.A=${NO}", "--set:2:17: ${NO} is not set"),
    ],
)
def test_what_can_not_be_set_is_said_with_the_number_of_the_setting(setting: str, said: str) -> None:
    assert error("nodes.web.restart=always", setting).startswith(said)


@example("\x1f='", "")
@given(st.text(max_size=30), st.sampled_from(["", "nodes.web.", "links[", 'nodes."', "nodes.web.memory="]))
def test_no_setting_gives_a_traceback(text: str, before: str) -> None:
    said = ""
    try:
        with_set(before + text)
    except NetfabError as wrong:
        said = str(wrong)

    assert said == "" or said.replace("\n", "").isprintable()
