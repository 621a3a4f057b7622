"""What `why` and `check` say of hosts that can be looked at, and of one that can't; nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from netfab.cli.check import _explained
from netfab.diagnose.answer import lines
from netfab.diagnose.drop_rules import Crossing, dropped_by
from netfab.diagnose.finding import HOST, Place, drifted
from netfab.diagnose.trials import Trial, Verdict
from netfab.diagnose.why import explained, hosts_of, why
from netfab.errors import Location
from netfab.kernel.trace import Dropped
from netfab.objects.view import Link, Program, Space, View, Way
from netfab.topology.checks import parsed_check
from netfab.where import Where

LINE = Location("the command line", 1, 1, "")
B = "10.0.0.2"
LOCAL = Way(0, "", "", True, "")


def node(host: str, address: str) -> dict[str, Any]:
    space = f"shop.{address}"
    return {"host": host, "namespace": space, "guest": "", "hosts": "", "addresses": {"lan": [address]}}


SUMMARY = {
    "nodes": {"a": node("h1", "10.0.0.1"), "b": node("h2", B)},
    "networks": {"lan": {"bridge": "br-lan", "gateways": []}},
}


def view(*spaces: str, drift: tuple[str, ...] = (), programs: Mapping[str, Program] = {}) -> View:
    eth0 = Link(1, "eth0", "", "", 0, True, True, 0, 0, False, True, 0)
    found = {name: Space((eth0,), (), (), (), (True, True), 0) for name in spaces}
    return View(found, {name: {} for name in spaces}, programs, drift, {}, (), {}, "")


class Host:
    """One that can be asked, and says what it was told to."""

    def __init__(self, seen: View, way: Way = LOCAL) -> None:
        self._seen, self._way = seen, way

    def look(self) -> View:
        return self._seen

    def way(self, *_: object) -> Way:
        return self._way

    def tried(self, trial: Trial) -> Verdict:
        return Verdict(trial.sentence, True, "", 0.0)

    def passes(self, *_: object) -> bool:
        return True

    def dropped(self, *_: object) -> list[tuple[str, str, Dropped]]:
        return []


class Unanswered(Host):
    """One from which nobody is reached."""

    def tried(self, trial: Trial) -> Verdict:
        return Verdict(trial.sentence, False, "silence", 0.0)


def test_a_program_that_is_paused_on_another_host_is_named() -> None:
    paused = view(HOST, "b", programs={"b": Program("paused", None)})
    hosts = {"h1": Host(view(HOST, "a")), "h2": Host(paused)}

    answer = why(parsed_check("a reaches b", LINE), "shop", SUMMARY, hosts)

    assert answer.cause is not None
    assert answer.cause.what == "the program of b is paused"


def with_c() -> dict[str, Any]:
    """The summary with a router, c, on h3."""
    return {**SUMMARY, "nodes": {**SUMMARY["nodes"], "c": node("h3", "10.0.0.3")}}


def test_a_host_that_is_down_and_on_the_way_is_named() -> None:
    by_c = Way(1, "10.0.0.3", "10.0.0.1", False, "")
    hosts = {"h1": Unanswered(view("a"), by_c), "h2": Host(view(HOST, "b"))}

    answer = why(parsed_check("a reaches b", LINE), "shop", with_c(), hosts)

    assert answer.cause is not None
    assert answer.cause.what == "eth0 of a sends it to c on h3, which is not reached"


def test_whether_routers_join_networks_is_answered_without_a_host_that_is_down() -> None:
    nodes = with_c()["nodes"]
    apart = {**nodes, "b": {**nodes["b"], "addresses": {"other": [B]}}}
    hosts = {"h1": Unanswered(view("a"), Way(0, "", "", False, "no route")), "h2": Host(view(HOST, "b"))}

    answer = why(parsed_check("a reaches b", LINE), "shop", {**SUMMARY, "nodes": apart}, hosts)

    assert answer.cause is not None
    assert answer.cause.what == "nothing in the file joins lan, where a is, and other, where b is"


def test_of_a_way_that_reaches_it_is_said_which_host_would_know_the_rest() -> None:
    by_c = Way(1, "10.0.0.3", "10.0.0.1", False, "")
    hosts = {"h1": Host(view("a"), by_c), "h2": Host(view(HOST, "b"))}

    answer = why(check := parsed_check("a reaches b", LINE), "shop", with_c(), hosts)

    assert list(lines(check, answer)) == [
        "a reaches b",
        "the rest of the way is not known: eth0 of a sends it to c on h3, which is not reached",
    ]


@pytest.mark.parametrize(
    ("sentence", "asked"),
    [
        ("a reaches b", {"h1", "h2"}),
        ("a reaches 1.1.1.1", {"h1"}),
        ("h3 reaches b", {"h2", "h3"}),
        ("h3 reaches 1.1.1.1", {"h3"}),
        ("host reaches b", {"h1", "h2", "h3"}),
        ("192.0.2.9 reaches 1.1.1.1", {"h1", "h2", "h3"}),
    ],
)
def test_only_the_hosts_of_both_ends_have_to_be_reached(sentence: str, asked: set[str]) -> None:
    assert set(hosts_of(parsed_check(sentence, LINE), with_c(), ["h1", "h2", "h3"])) == asked


def test_what_is_tried_from_every_host_is_explained_by_the_one_where_it_fails() -> None:
    hosts = {
        "h1": Host(view(HOST)),
        "h2": Host(view(HOST, "b"), Way(0, "", "", False, "unreachable")),
    }
    failed = Verdict("host reaches b", False, "silence", 1.0)

    (told,) = explained([parsed_check("host reaches b", LINE)], [failed], "shop", SUMMARY, hosts)

    assert told.reason == f"silence: a route of host h2 to {B} rejects it: `unreachable`"


def test_what_failed_is_told_where_the_fabric_can_not_be_looked_at(tmp_path: Path) -> None:
    checks = [parsed_check("a reaches b", LINE)]
    failed = [Verdict("a reaches b", False, "silence", 1.0)]

    assert _explained("shop", checks, failed, SUMMARY, Where(str(tmp_path), str(tmp_path))) == failed


HERE = Place("h1", HOST)
CROSSING = Crossing("a", "b", SUMMARY["networks"], "br-lan", "br-lan")


@pytest.mark.parametrize(
    ("end", "said", "drift"),
    [
        (
            Dropped(0, "inet", "netfab-shop", "clear", "rt ipsec missing counter drop"),
            "host h1 has no IPsec policy for a tunnel's packets, and sends none unencrypted",
            "ipsec out 192.0.2.1 > 192.0.2.2 udp/4789: create",
        ),
        (
            Dropped(0, "inet", "netfab-shop", "strangers", "meta ipsec missing counter drop"),
            "host h1 accepts no tunnel packets that are unencrypted, or not encrypted with the fabric's key",
            "esp 192.0.2.1 > 192.0.2.2 0x00000100: create",
        ),
        (
            Dropped(0, "inet", "netfab-shop", "strangers", "udp dport 4789 counter drop"),
            "host h1 accepts tunnel packets from its peers only",
            "firewall inet netfab-shop: set peers4",
        ),
        (
            Dropped(0, "inet", "netfab-shop", "forward", "oifgroup 0x1 counter drop"),
            "netfab's firewall on host h1 drops it in chain forward: `oifgroup 0x1 counter drop`",
            "firewall inet netfab-shop: map entering",
        ),
    ],
)
def test_a_rule_of_netfab_is_told_and_mended_where_that_was_changed(
    end: Dropped, said: str, drift: str
) -> None:
    cause = dropped_by(HERE, end, CROSSING, "")

    assert cause.what == said
    assert drifted({"h1": view(drift=(drift,))}, cause)
    assert not drifted({"h1": view(drift=("firewall inet netfab-other: map entering",))}, cause)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{internal: true}", "it is `internal` ("),
        ("{gateway: none}", "its `gateway` is another ("),
        ("{}", "it is `internal`, or another is its gateway, as it was applied"),
    ],
)
def test_why_a_network_is_closed_is_what_the_file_says_if_it_still_does(
    written: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(f"networks: {{lan: {written}}}\n")
    end = Dropped(0, "inet", "netfab-shop", "forward", "iifname vmap @leaving")

    cause = dropped_by(HERE, end, CROSSING, str(file))

    assert f"lets nothing leave network lan ({file}:1:12): {said}" in cause.what
