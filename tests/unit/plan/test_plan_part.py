"""A part of a plan: the chosen nodes' objects and what they need; everything else as it is."""

from __future__ import annotations

from functools import reduce
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import RUN, planned, read
from random_files import change, random_file, read_file

from netfab.engine.diff import describe, diff
from netfab.errors import PlanError
from netfab.objects.base import Fabric, Name, node_space, spaces_of
from netfab.objects.firewall import Chain, Firewall
from netfab.objects.guest import Guest
from netfab.objects.namespace import Namespace
from netfab.objects.port import Port
from netfab.objects.veth import End, Veth
from netfab.plan.facts import Facts, FoundGuest
from netfab.plan.part import commands_within, leases_within, part_of, summary_within, within
from netfab.plan.planner import Plan, plan, summary

FILE = """
    name: lab
    networks: {lan: {subnet: 10.1.0.0/24}, far: {subnet: 10.2.0.0/24}}
    nodes:
      web: {networks: {lan: {ip: 10.1.0.10}}, publish: ['8080:80'], command: [sleep, '1000']}
      db: {networks: {lan: {ip: 10.1.0.11}}, publish: ['5432:5432']}
      log: {networks: {far: {ip: 10.2.0.12}}}
    links: [[db, log]]
"""


def part(text: str, *names: str, applied: tuple[str, ...] = ()) -> Plan:
    return part_of(read(text), planned(text), names, applied)


def put(text: str, *names: str, there: Fabric | None = None, applied: tuple[str, ...] = ()) -> Fabric:
    return within(part(text, *names, applied=applied), there if there is not None else Fabric("lab"))


def told(desired: Fabric, actual: Fabric) -> list[str]:
    return [
        f"{change['action']} {change['kind']} {change['name']}" for change in describe(diff(desired, actual))
    ]


def without(text: str, line: str) -> str:
    return "\n".join(each for each in text.splitlines() if not each.strip().startswith(line))


def test_a_first_part_is_what_a_file_with_only_these_nodes_makes() -> None:
    alone = without(without(FILE, "db:"), "log:")
    alone = without(alone, "links:").replace(", far: {subnet: 10.2.0.0/24}", "")

    found, expected = put(FILE, "web"), planned(alone).fabric

    files = {name for name in found if name.space == "file"}  # they name everybody
    assert {k: v for k, v in found.items() if k not in files} == {
        k: v for k, v in expected.items() if k not in files
    }
    assert files == {name for name in expected if name.space == "file"}


def test_all_nodes_are_the_whole_plan() -> None:
    assert put(FILE, "web", "db", "log") == planned(FILE).fabric


def test_a_changed_node_is_exchanged_and_a_changed_other_is_not() -> None:
    changed = FILE.replace("10.1.0.10", "10.1.0.20").replace("10.1.0.11", "10.1.0.21")
    there = planned(FILE).fabric

    found = put(changed, "web", there=there)

    text = "\n".join(told(found, there))
    assert "create address 10.1.0.20/24 on eth0 of web" in text
    assert "of db" not in text


def test_the_firewall_keeps_what_it_says_of_others() -> None:
    changed = FILE.replace("10.1.0.10", "10.1.0.20").replace("10.1.0.11", "10.1.0.21").replace("8080", "8081")

    found = put(changed, "web", there=planned(FILE).fabric)

    sets = {held.name: held.elements for held in found[next(n for n in found if n.text == "inet")].sets}
    guard = {held.name: held.elements for held in found[next(n for n in found if n.text == "bridge")].sets}
    assert sets["published4-address"] == (("tcp", "5432", "10.1.0.11"), ("tcp", "8081", "10.1.0.20"))
    assert {element[-1] for element in guard["senders4"]} == {"10.1.0.20", "10.1.0.11", "10.2.0.12"}


def test_others_may_still_advertise_their_addresses_and_no_others() -> None:
    text = """
        name: lab
        networks: {lan: {subnet: 'fd00:1::/64'}}
        nodes:
          web: {networks: {lan: {ip: 'fd00:1::10'}}}
          db: {networks: {lan: {ip: 'fd00:1::11'}}}
          log: {networks: {lan: {ip: 'fd00:1::12'}}}
    """
    before = planned(text).fabric
    changed = without(text, "log:").replace("::10", "::20").replace("::11", "::21")

    found = put(changed, "web", there=before)

    wanted = text.replace("::10", "::20")
    assert advertisement_of(found) == advertisement_of(planned(wanted).fabric)


def advertisement_of(fabric: Fabric) -> Chain:
    table = fabric[Name("firewall", "bridge")]
    assert isinstance(table, Firewall)
    return next(chain for chain in table.chains if chain.name == "advertisement")


def test_a_guest_is_told_of_although_only_another_node_is_applied() -> None:
    nodes = "{web: {networks: [lan]}, old: {attach: 'pid:7', networks: [lan]}}"
    text = f"{{name: lab, networks: {{lan: {{}}}}, nodes: {nodes}}}"
    topology = read(text)
    whole = planned(text, guests={"pid:7": FoundGuest("pid:7", "/proc/7/ns/net", 7, "1")})

    found = part_of(topology, whole, ["web"])

    assert summary(topology, found)["nodes"]["old"]["namespace"] == "/proc/7/ns/net"
    assert not [thing for thing in found.fabric.values() if isinstance(thing, Guest)]


def test_a_network_of_others_keeps_its_rules() -> None:
    changed = FILE.replace("far: {subnet: 10.2.0.0/24}", "far: {subnet: 10.2.0.0/24, internal: true}")
    there = planned(FILE).fabric

    assert told(put(changed, "web", there=there), there) == []
    assert "update firewall inet netfab-lab" in told(put(changed, "log", there=there), there)


def test_a_network_that_leads_out_no_longer_is_masqueraded_no_longer() -> None:
    changed = FILE.replace("lan: {subnet: 10.1.0.0/24}", "lan: {subnet: 10.1.0.0/24, masquerade: false}")

    found = put(changed, "web", there=planned(FILE).fabric)

    sets = {held.name: held.elements for held in found[next(n for n in found if n.text == "inet")].sets}
    assert sets["masqueraded4"] == (("10.2.0.0/24",),)


def test_what_others_publish_stays_when_the_file_publishes_nothing_any_more() -> None:
    changed = FILE.replace(", publish: ['8080:80']", "").replace(", publish: ['5432:5432']", "")

    found = put(changed, "web", there=planned(FILE).fabric)

    table = found[next(n for n in found if n.text == "inet")]
    sets = {held.name: held.elements for held in table.sets}
    assert sets["published4-address"] == (("tcp", "5432", "10.1.0.11"),)
    assert "publish" in [chain.name for chain in table.chains]


def test_a_node_that_the_file_no_longer_has_goes_when_it_is_named() -> None:
    there = planned(FILE).fabric
    changed = without(without(FILE, "log:"), "links:")

    assert told(put(changed, "web", there=there), there) == [
        "update file /run/netfab/lab/etc/hosts.84a94dc7d96c"
    ]
    gone = told(put(changed, "log", there=there, applied=("web", "db", "log")), there)
    assert "delete namespace lab.log" in gone
    assert "delete namespace lab.db" not in gone


def test_what_hung_on_a_link_that_goes_goes_along() -> None:
    there = planned(FILE).fabric

    found = put(without(FILE, "links:"), "log", there=there)

    held = {name for thing in found.values() for name in thing.names}
    assert all(held.issuperset(thing.needs) for thing in found.values())
    assert "delete veth eth1 of db - eth1 of log" in told(found, there)


def test_the_hosts_half_of_a_cable_goes_whose_guest_is_gone() -> None:
    before = planned(FILE).fabric
    half = Veth(End(Name("host", "nfold"), "", 1500), End(Name("elsewhere", "nfold"), "", 0), 1)
    there = Fabric("lab", [*before.values(), half, Port(half.a.link, Name("host", "br-lan"))])

    assert told(put(FILE, "web", there=there), there) == [
        "delete veth nfold of elsewhere",
        "delete port nfold",
    ]


def test_the_other_end_of_a_link_has_a_namespace() -> None:
    found = put(FILE, "log")

    assert "namespace lab.db" in map(str, found.values())
    assert not any("eth0 of db" in str(thing) for thing in found.values())


def test_who_is_waited_for_and_whose_network_one_has_come_along() -> None:
    text = """
        name: lab
        networks: {lan: {}}
        nodes:
          side: {mode: 'container:web', command: [sleep, '1']}
          web: {networks: [lan], command: [sleep, '1'], depends_on: [db]}
          db: {networks: [lan], command: [sleep, '1']}
          other: {networks: [lan], command: [sleep, '1']}
    """

    assert part(text, "side").nodes == {"side", "web", "db"}


def test_the_last_program_takes_its_supervisor_along() -> None:
    there = planned(FILE).fabric

    gone = told(put(FILE.replace(", command: [sleep, '1000']", ""), "web", there=there), there)

    assert "delete supervisor of lab" in gone


def test_all_of_a_scale_are_meant_by_its_name() -> None:
    text = "name: lab\nnetworks: {lan: {}}\nnodes: {web: {scale: 2, networks: [lan]}, db: {networks: [lan]}}"

    assert part(text, "web").nodes == {"web-1", "web-2"}


def test_an_unknown_node_is_refused_with_what_was_probably_meant() -> None:
    with pytest.raises(PlanError, match="there is no node wbe in lab") as caught:
        part(FILE, "wbe")

    assert caught.value.hint == "did you mean `web`?"


def test_what_others_publish_is_neither_leased_nor_tried() -> None:
    found = part(FILE, "web")

    assert [spec.host_port for spec in found.published] == [8080]
    assert [lease.key for lease in found.claims if lease.kind == "publish"] == ["tcp/*/8080"]


def test_a_part_lets_go_of_no_lease() -> None:
    whole = planned(FILE)
    before = frozenset(whole.claims)

    assert leases_within(part(FILE.replace("8080", "8081"), "web"), before) >= before


def test_commands_of_other_nodes_stay_known_and_those_of_ends_of_links_are_run() -> None:
    text = FILE.replace("log: {", "log: {exec: [[new]], ").replace("db: {", "db: {exec: [[db]], ")

    assert commands_within(part(text, "web"), {"log": [["old"]]}) == {"log": [["old"]]}
    assert commands_within(part(text, "log"), {"log": [["old"]]}) == {"log": (("new",),), "db": (("db",),)}


def test_the_summary_tells_of_others_what_it_told_before() -> None:
    before = summary(read(FILE), planned(FILE))
    changed = FILE.replace("10.1.0.10", "10.1.0.20").replace("10.1.0.11", "10.1.0.21")
    after = summary(read(changed), planned(changed))

    found = summary_within(part(changed, "web"), after, before)

    assert found["nodes"]["web"] == after["nodes"]["web"]
    assert found["nodes"]["db"] == before["nodes"]["db"]
    assert found["links"] == before["links"]
    assert set(found["networks"]) == {"lan", "far"}


seeds = st.integers(0, 2**32).map(Random)


@given(seeds)
@settings(max_examples=60)
def test_part_after_part_makes_what_all_of_them_make_at_once(chance: Random) -> None:
    topology = read_file(random_file(chance))
    whole = plan(topology, (), Facts(), RUN)
    names = chance.sample(list(topology.nodes), len(topology.nodes))
    parts = [part_of(topology, whole, [name]) for name in names]

    one_by_one = reduce(lambda there, each: within(each, there), parts, Fabric("lab"))

    assert one_by_one == within(part_of(topology, whole, names), Fabric("lab"))
    assert within(parts[0], whole.fabric) == whole.fabric


@given(seeds)
@settings(max_examples=60)
def test_a_part_is_possible_and_leaves_others_alone(chance: Random) -> None:
    file = random_file(chance)
    before = plan(read_file(file), (), Facts(), RUN)
    topology = read_file(change(chance, file))
    whole = plan(topology, before.claims, Facts(), RUN)
    name = chance.choice(list(topology.nodes))

    found = within(part_of(topology, whole, [name]), before.fabric)

    held = {held for thing in found.values() for held in thing.names}
    assert all(held.issuperset(thing.needs) for thing in found.values())
    for identity, thing in found.items():
        nodes = {space for space in spaces_of(thing) if space.startswith("node ")}
        if nodes and node_space("lab", name) not in nodes and not isinstance(thing, Namespace):
            assert thing == before.fabric[identity]
