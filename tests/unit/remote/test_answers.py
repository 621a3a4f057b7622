"""What a host answers that makes no sense: an error that names the host, of every question."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from examples import fabric

from netfab.errors import NetfabError, Several
from netfab.images.layout import Layout
from netfab.images.manifests import Descriptor
from netfab.objects.container import Container
from netfab.objects.decode import plain
from netfab.objects.file import File
from netfab.plan.facts import Facts
from netfab.plan.leases import Lease
from netfab.plan.planner import plan, summary
from netfab.remote import answers, asking, nodes
from netfab.remote.images import _give_blob, give
from netfab.remote.messages import PROTOCOL, BadMessage, Message
from netfab.remote.orders import leases_of
from netfab.remote.party import party
from netfab.remote.planning import planned
from netfab.store.book import Entry, Others
from netfab.topology.load import load
from netfab.where import Where

THERE = nodes.There(Entry("shop", "-", 0, {"h1": "root@h1"}, 1, "t", {}), "web", "h1")


class Saying:
    """A host that has said this, whatever it will be asked."""

    def __init__(self, said: Message) -> None:
        self.reading, theirs = os.pipe()
        self._asked, self.writing = os.pipe()
        os.write(theirs, b"{}\n" + json.dumps(said).encode() + b"\n")
        os.close(theirs)

    def opening(self) -> bytes:
        return b""

    def greet(self, line: bytes) -> bytes | None:
        return None

    def last_words(self) -> NetfabError:
        return NetfabError("it ended")

    def hang_up(self) -> None:
        for fd in (self.reading, self.writing, self._asked):
            os.close(fd)

    def wait(self) -> None:
        pass


def used(way: Any) -> None:
    with nodes.usage([THERE], Where(), way) as use:
        use()


QUESTIONS: dict[str, tuple[Callable[[Any], object], Message]] = {
    "wait": (lambda way: nodes.wait(THERE, Where(), way), {"value": []}),
    "wait, a text": (lambda way: nodes.wait(THERE, Where(), way), {"value": ["x"]}),
    "usage": (used, {"value": [["shop", "web", 7], 3]}),
    "inspect": (lambda way: nodes.inspect(THERE, Where(), way), {"value": 3}),
    "logs": (lambda way: nodes.logs([THERE], Where(), print, way=way), {"verb": "line", "node": "web"}),
    "capture": (
        lambda way: nodes.capture(THERE, "eth0", "", Where(), print, way),
        {"verb": "line", "frames": [["eth0", 0, True, "no digits"]], "lost": 0},
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_of_no_sense_is_the_error_of_its_host(question: str) -> None:
    ask, said = QUESTIONS[question]

    with pytest.raises(BadMessage, match=r"^h1.* gives an invalid answer: ") as caught:
        ask(lambda host, destination, where: Saying({"verb": "returned", **said}))

    assert caught.value.message.isprintable()


def test_logs_of_this_host_and_of_another_are_followed_at_once() -> None:
    asked: list[tuple[str, str]] = []

    def way(host: str, destination: str, where: Where) -> Any:
        asked.append((host, destination))
        return Saying({"verb": "ended"})

    nodes.logs([THERE], Where(), print, follow=True, way=way, here=["own/web"])

    assert asked == [("h1", "root@h1"), ("", "")]


HELLO = {
    "verb": "hello",
    "protocol": PROTOCOL,
    "run": "/run/netfab",
    "generation": 0,
    "transaction": "",
    "undecided": "",
    "summary": {},
    "commands": {},
    "leases": [],
    "facts": plain(Facts()),
    "unfound": {},
    "networks": {},
    "mtus": {},
}
TOPOLOGY = load(b"nodes: {web: {attach: 'netns:web'}}", "shop.yaml", "/", {})


def planned_with(said: Message) -> None:
    with party({"h1": "root@h1"}, Where(), lambda *_: Saying(said)) as together:
        planned(TOPOLOGY, together, ["h1"], None, Others())


WRONG = {
    "run": 7,
    "generation": "x",
    "transaction": None,
    "undecided": ["x"],
    "summary": {"nodes": {"web": 7}},
    "commands": 7,
    "leases": [["subnet"]],
    "facts": [[[None, "nobody's"]]],
    "unfound": {"netns:web": ["no hint"]},
    "networks": {"shop": 7},
    "mtus": {"vx1000": "1450"},
}


@pytest.mark.parametrize("key", WRONG)
def test_a_first_word_of_no_sense_is_the_error_of_its_host(key: str) -> None:
    without = {name: value for name, value in HELLO.items() if name != key}

    for said in (without, HELLO | {key: WRONG[key]}):
        with pytest.raises(BadMessage, match=r"^h1 gives an invalid answer: ") as caught:
            planned_with(said)
        assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "lease",
    [
        ["subnet", "lan/4", "10.0.0.1/24"],
        ["address", "lan/web#1/4", "\x1b[2J"],
        ["bridge", "lan", "../lan"],
        ["mac", "lan", "02:00"],
        ["vni", "lan", "-1"],
        ["vni", "", "1000"],
        ["esp", "h1 h2", "1"],
    ],
)
def test_a_lease_that_no_planner_made_is_the_error_of_its_host(lease: list[str]) -> None:
    with pytest.raises(BadMessage, match=r"^h1 gives an invalid answer: ") as caught:
        planned_with(HELLO | {"leases": [lease]})

    assert caught.value.message.isprintable()


def test_a_host_does_not_say_where_others_keep_their_files() -> None:
    two = load(
        b"hosts: {h1: {}, h2: {}}\nnetworks: {lan: {}}\n"
        b"nodes: {web: {networks: [lan], runs_on: h2, command: [sleep, inf]}}",
        "shop.yaml",
        "/",
        {},
    )
    said = {"h1": HELLO | {"run": "/etc/cron.d"}, "h2": HELLO}

    with party(dict.fromkeys(said, "root@"), Where(), lambda host, *_: Saying(said[host])) as together:
        made = planned(two, together, ["h1", "h2"], None, Others()).plans["h2"].fabric.values()

    paths = [thing.path for thing in made if isinstance(thing, File)]
    assert paths
    assert all(path.startswith("/run/netfab/shop/") for path in paths)


def test_a_host_that_says_it_knows_best_does_not_have_a_key_of_others_used_again() -> None:
    lying, knowing = Lease("esp", "h2 h3", "1 0123abcd"), Lease("esp", "h2 h3", "7 0123abcd")
    said = {
        "h1": answers.hello(HELLO | {"generation": 99, "leases": [list(lying)]}),
        "h2": answers.hello(HELLO | {"generation": 5, "leases": [list(knowing)]}),
    }

    assert leases_of(said, None) == {lying, knowing}


def test_a_guest_that_another_host_lacks_is_told_where_the_file_names_it() -> None:
    unfound = {"netns:web": ["there is no netns:web on h1", "make it"]}

    with pytest.raises(NetfabError, match="there is no netns:web on h1") as caught:
        planned_with(HELLO | {"unfound": unfound})

    assert (str(caught.value.at), caught.value.hint) == ("shop.yaml:1:23", "make it")


CHANGE = {"action": "create", "kind": "bridge", "name": "br0", "why": "", "restarts": False}
NODE = {"state": "up", "interfaces": [{"name": "eth0", "network": "lan", "addresses": [], "mac": ""}]}
NONSENSE: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
    "prepared": (
        answers.prepared,
        [
            {},
            {"changes": [], "steps": {"own": "1"}, "confirm": 0},
            {"changes": [], "steps": {}, "confirm": "x"},
        ],
    ),
    "changes": (answers.changes, [None, 3, [3], [CHANGE | {"action": "burn"}], [CHANGE | {"name": 3}]]),
    "status": (
        answers.status,
        [
            {},
            {"differs": "0"},
            {"differs": 0, "nodes": {"web": {"state": "up"}}},
            {"differs": 0, "nodes": {"web": NODE | {"interfaces": [{"name": "eth0"}]}}},
        ],
    ),
    "programs": (answers.programs, [3, [{}], ["x"]]),
    "a fabric": (answers.fabric, [3, {}, {"name": "shop", "objects": [["Bridge", [3]]]}]),
}


@pytest.mark.parametrize("question", NONSENSE)
def test_what_each_host_says_is_read_before_it_is_used(question: str) -> None:
    how, nonsense = NONSENSE[question]

    for said in nonsense:
        with pytest.raises(BadMessage, match=r"^h1 gives an invalid answer: "):
            answers.read_all({"h1": said}, how)


def test_what_a_host_shows_of_a_fabric_is_read_as_its_planner_made_it() -> None:
    topology = load(
        b"networks: {lan: {}}\nnodes: {a: {networks: [lan]}, b: {publish: ['80:80'], networks: [lan]}}\n"
        b"links: [{endpoints: ['a:eth1', 'b:eth1']}]",
        "shop.yaml",
        "/",
        {},
    )
    chosen = json.loads(json.dumps(summary(topology, plan(topology, frozenset(), Facts(), "/run/netfab"))))
    shown = {**chosen, "differs": 0}
    shown["nodes"] = {name: {**node, "state": "up"} for name, node in chosen["nodes"].items()}

    assert chosen["links"][0]["addresses"]
    assert answers.status(shown) == shown
    assert answers.hello(HELLO | {"summary": chosen}).summary == chosen


def test_all_hosts_that_make_no_sense_are_named_at_once() -> None:
    with pytest.raises(Several, match=r"h1 gives(.|\n)*h3 gives"):
        answers.read_all({"h1": 1, "h2": [], "h3": None}, answers.changes)


class Party:
    """Hosts that answer all questions alike."""

    def __init__(self, said: Any) -> None:
        self._said = said

    def call(self, function: str, arguments: Message, hosts: list[str]) -> Message:
        return dict.fromkeys(hosts, self._said)

    def ask_all(self, questions: Message) -> Message:
        return {host: {"ends": self._said} for host in questions}


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda there: there.look(), [7]),
        (lambda there: there.way("web", "192.0.2.1", "", 0), 3),
        (lambda there: there.dropped({"h1": ["web"]}, [], None), [["h1", "web", []]]),
    ],
    ids=["look", "way", "dropped"],
)
def test_a_look_at_another_host_that_makes_no_sense_is_its_error(
    ask: Callable[[asking.There], object], said: Any
) -> None:
    there = asking.There(Party(said), "h1", "shop")  # type: ignore[arg-type]

    with pytest.raises(BadMessage, match=r"^h1 gives an invalid answer: "):
        ask(there)


class Taking:
    """A host that says how much of a blob it has, whatever it is given."""

    def __init__(self, *have: object) -> None:
        self._have = list(have)

    def ask_all(self, questions: Message) -> Message:
        return {host: {"have": self._have.pop(0)} for host in questions}


@pytest.mark.parametrize(
    ("have", "told"),
    [
        ((0, 0), "has 0 of 4 bytes"),
        ((2, 1), "has 1 of 4 bytes"),
        ((-1,), "has -1 of 4 bytes"),
        ((5,), "has 5 of 4 bytes"),
        ((0, "4"), "an invalid answer"),
    ],
)
def test_a_host_that_takes_no_more_of_an_image_is_not_given_it_for_ever(
    have: tuple[object, ...], told: str, tmp_path: Path
) -> None:
    layout, blob = Layout(str(tmp_path)), Descriptor("sha256:" + "0" * 64, 4)
    os.makedirs(layout.blobs)
    Path(layout.blob(blob.digest)).write_bytes(b"blob")

    with pytest.raises(NetfabError, match=f"^h1 .*{told}"):
        _give_blob(Taking(*have), layout, blob, ["h1"])  # type: ignore[arg-type]


def test_a_host_is_given_no_image_but_those_that_it_is_to_run(tmp_path: Path) -> None:
    wanted, another = (f"sha256:{digit * 64}" for digit in "01")
    plan = SimpleNamespace(fabric=fabric(Container("shop", "web", ("serve",), wanted)))

    class Asking:
        def ask_all(self, questions: Message) -> Message:
            return {host: {"images": [another]} for host in questions}

    give(Asking(), {"h1": plan}, Where(state=str(tmp_path)))  # type: ignore[arg-type]
