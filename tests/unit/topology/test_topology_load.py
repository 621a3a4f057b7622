"""What a right file means: the examples of the topology file's description, each default, each expansion."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from topology_samples import EVERY_KEY, TOPOLOGIES, load_text

from netfab.errors import TopologyError
from netfab.topology.checks import check_text
from netfab.topology.load import load
from netfab.topology.schema import (
    PLANNED,
    Attachment,
    Bridged,
    ContainerMode,
    ExternalGateway,
    HostGateway,
    Network,
    NodeGateway,
    NoGateway,
    Port,
    Ready,
    SubnetSpec,
)

FIVE = """\
name: demo
networks: {a: {gateway: r}, b: {gateway: r}}
nodes: {r: {}, h1: {networks: [a]}, h2: {networks: [b]}, h3: {networks: [a]}, srv: {}}
links:
  - {endpoints: [r, srv], delay: 20ms}
"""


def joined(text: str, node: str) -> list[str]:
    return [attachment.network for attachment in load_text(text).nodes[node].attachments]


def network(keys: str) -> Network:
    return load_text(f"networks: {{a: {{{keys}}}}}\nnodes: {{r: {{}}}}").networks["a"]


def port(keys: str, network: str = "") -> Port:
    text = f"networks: {{a: {{{network}}}}}\nnodes: {{h: {{networks: {{a: {{{keys}}}}}}}}}"
    return load_text(text).nodes["h"].attachments[0].port


def node(keys: str) -> Any:
    return load_text(f"networks: {{a: {{}}}}\nnodes: {{h: {{{keys}}}, db: {{}}}}").nodes["h"]


def test_the_five_node_example_is_a_whole_file() -> None:
    topology = load_text(FIVE)

    assert (topology.name, list(topology.nodes), list(topology.networks)) == (
        "demo",
        ["r", "h1", "h2", "h3", "srv"],
        ["a", "b"],
    )
    assert topology.links[0].name == "r srv"
    assert [end.port.impairment.delay for end in topology.links[0].ends] == [20_000, 20_000]
    assert [(each.key, each.at.line, each.at.column) for each in topology.reserved] == [("delay", 5, 34)]


def test_a_gateway_is_on_its_networks_without_saying_so_after_its_written_ones_in_file_order() -> None:
    text = (
        "networks: {a: {gateway: r}, b: {}, c: {gateway: r}, d: {gateway: r}}\nnodes: {r: {networks: [c, b]}}"
    )

    assert joined(text, "r") == ["c", "b", "a", "d"]


def test_defaults_are_what_a_user_would_have_chosen() -> None:
    topology = load_text("name: x\nnetworks: {front: {}}\nnodes: {web: {networks: [front]}}")
    front, web = topology.networks["front"], topology.nodes["web"]

    assert front == Network("front", front.at)
    assert (front.subnets, front.gateway, front.masquerade) == ((SubnetSpec(4, None),), HostGateway(), True)
    assert web.attachments == (Attachment("front", Port(), web.attachments[0].at),)
    assert (web.image, web.command, web.mode, web.auto_routes) == ("host", None, Bridged(), True)
    assert [(str(pool.prefix), pool.size) for pool in topology.pools] == [
        ("10.0.0.0/8", 24),
        ("172.16.0.0/12", 24),
        ("192.168.0.0/16", 24),
    ]
    assert (topology.store, topology.reserved) == (None, ())


def test_types_are_ours_and_not_yamls() -> None:
    """YAML 1.1 reads a base 60 number, another, false, 8 and 1.1 here."""
    text = """
networks: {a: {}}
nodes:
  h: {networks: {a: {mac: 12:34:56:11:22:33}}, restart: no, publish: [22:22], env: {A: 010, B: 1.10}}
"""
    node = load_text(text).nodes["h"]

    assert node.attachments[0].port.mac == "12:34:56:11:22:33"
    assert (node.restart, node.env) == ("no", (("A", "010"), ("B", "1.10")))
    assert (node.publish[0].host_port, node.publish[0].node_port) == (22, 22)


@pytest.mark.parametrize(
    ("keys", "subnets"),
    [
        ("subnet: 10.0.0.0/24", (IPv4Network("10.0.0.0/24"),)),
        ("subnet: /22", (SubnetSpec(4, 22),)),
        ("subnet: none", ()),
        ('subnet: [10.0.0.0/24, "fd00::/64"]', (IPv4Network("10.0.0.0/24"), IPv6Network("fd00::/64"))),
        ('subnet: "fd00::/64"', (IPv6Network("fd00::/64"),)),
        ("ipv6: true", (SubnetSpec(4, None), SubnetSpec(6, None))),
        ("ipv6: only", (SubnetSpec(6, None),)),
        ("ipv6: only, subnet: /64", (SubnetSpec(6, 64),)),
        ("ipv6: true, subnet: 10.0.0.0/24", (IPv4Network("10.0.0.0/24"), SubnetSpec(6, None))),
    ],
)
def test_subnet_and_ipv6(keys: str, subnets: tuple[object, ...]) -> None:
    assert network(keys).subnets == subnets


@pytest.mark.parametrize(
    ("keys", "gateway", "masquerade"),
    [
        ("gateway: host", HostGateway(), True),
        ("gateway: 10.0.0.9, subnet: 10.0.0.0/24", HostGateway((IPv4Address("10.0.0.9"),)), True),
        ("gateway: r", NodeGateway("r"), False),
        (
            "gateway: {external: 10.0.0.9}, subnet: 10.0.0.0/24",
            ExternalGateway((IPv4Address("10.0.0.9"),)),
            False,
        ),
        ("gateway: none", NoGateway(), False),
        ("subnet: none", NoGateway(), False),
        ("internal: true", HostGateway(), False),
        ("masquerade: false", HostGateway(), False),
    ],
)
def test_gateway_and_whether_the_host_masquerades(keys: str, gateway: object, masquerade: bool) -> None:
    assert (network(keys).gateway, network(keys).masquerade) == (gateway, masquerade)


def test_an_address_without_a_length_says_so() -> None:
    assert (port("ip: 10.0.0.2").addresses, port("ip: 10.0.0.2").plain) == (
        (IPv4Interface("10.0.0.2/32"),),
        True,
    )
    assert (port("ip: 10.0.0.2/24").addresses, port("ip: 10.0.0.2/24").plain) == (
        (IPv4Interface("10.0.0.2/24"),),
        False,
    )
    assert port("ip: none").no_address


def test_a_ports_keys_lie_on_top_of_its_networks() -> None:
    found = port("mtu: 1400, delay: 1ms", network="mtu: 9000, spoof: allow, delay: 5ms, loss: 1%")

    assert (found.mtu, found.spoof) == (1400, "allow")
    assert (found.impairment.delay, found.impairment.loss) == (1000, 10_000)
    assert port("", network="mtu: 9000").mtu == 9000


def test_a_networks_own_gateway_and_masquerade_are_no_port_keys() -> None:
    found = port("", network="gateway: host, masquerade: true")

    assert not found.gateway
    assert not found.masquerade


def test_networks_of_a_node_are_names_maps_or_both() -> None:
    nets = "networks: {a: {}, b: {}}\n"

    assert joined(nets + "nodes: {h: {networks: [b, a]}}", "h") == ["b", "a"]
    assert joined(nets + "nodes: {h: {networks: {b: , a: {mtu: 1400}}}}", "h") == ["b", "a"]
    assert joined(nets + "nodes: {h: {networks: [a, {b: {mtu: 1400}}, a]}}", "h") == ["a", "b", "a"]


def test_kinds_and_defaults_lie_below_a_nodes_own_keys() -> None:
    text = """
defaults: {image: /srv/root, restart: always, env: {A: default, D: default}}
kinds:
  server: {restart: unless-stopped, env: {A: kind, K: kind}, networks: {a: {mtu: 1400}}, cap_add: [NET_RAW]}
networks: {a: {}, b: {}}
nodes: {h: {kind: server, env: {A: own}, networks: {a: {ip: none}, b: {}}, cap_add: [NET_ADMIN]}}
"""
    node = load_text(text).nodes["h"]

    assert (node.image, node.restart, node.cap_add) == ("/srv/root", "unless-stopped", ("NET_ADMIN",))
    assert dict(node.env) == {"A": "own", "K": "kind", "D": "default"}
    assert [(each.network, each.port.mtu, each.port.no_address) for each in node.attachments] == [
        ("a", 1400, True),
        ("b", PLANNED, False),
    ]


def test_defaults_go_to_whatever_has_that_key() -> None:
    topology = load_text(
        "defaults: {mtu: 1400, ipv6: true, image: /x}\n"
        "networks: {n: {}}\nnodes: {a: {}, b: {}}\nlinks: [[a, b]]"
    )

    assert (topology.networks["n"].mtu, topology.nodes["a"].image) == (1400, "/x")
    assert topology.links[0].subnets == (SubnetSpec(4, 31), SubnetSpec(6, 127))
    assert topology.links[0].ends[0].port.mtu == 1400


def test_defaults_contradict_nothing() -> None:
    text = """
defaults: {dns: [10.0.0.53], ipv6: true, masquerade: true}
networks: {l2: {subnet: none}, routed: {gateway: r}}
nodes: {r: {}, h: {mode: none}}
"""
    topology = load_text(text)

    assert (topology.networks["l2"].subnets, topology.networks["routed"].masquerade) == ((), False)
    assert (topology.nodes["h"].dns, topology.nodes["r"].dns) == ((), ("10.0.0.53",))


def test_a_range_is_as_many_nodes_with_their_numbers_filled_in() -> None:
    text = """
networks: {lan1..3: {}}
nodes:
  leaf1..3: {networks: ["lan{n}"], hostname: "{node}.lab", env: {N: "{n} {ip:lan{n}}"}}
  host08..10: {}
"""
    topology = load_text(text)

    assert list(topology.nodes) == ["leaf1", "leaf2", "leaf3", "host08", "host09", "host10"]
    leaf = topology.nodes["leaf3"]
    assert (leaf.base, leaf.n, leaf.hostname, leaf.env) == ("leaf3", 3, "leaf3.lab", (("N", "3 {ip:lan3}"),))
    assert [each.network for each in leaf.attachments] == ["lan3"]
    assert leaf.at.own.path == "nodes.leaf1..3"


def test_an_end_of_a_check_that_is_a_range_or_a_scale_is_each_of_its_nodes() -> None:
    text = "networks: {a: {}}\nnodes: {kv1..3: {networks: [a]}, web: {scale: 2, networks: [a]}}\nchecks: "

    checks = load_text(f"{text}[web reaches kv1..2 on tcp/80, kv2..3 does not reach kv2..3]").checks

    assert [check_text(check) for check in checks] == [
        *(f"web-{web} reaches kv{kv} on tcp/80" for web in (1, 2) for kv in (1, 2)),
        "kv2 does not reach kv3",
        "kv3 does not reach kv2",
    ]


def test_the_nodes_of_a_scale_share_its_name() -> None:
    text = """
networks: {a: {}}
nodes:
  web: {scale: 3, networks: [a], publish: ["8080-8082:80", "9000-9005:90-91/udp"], depends_on: db}
  db: {networks: [a]}
  all: {depends_on: [web], dns: [web], env: {W: "{ip:web}"}}
"""
    topology = load_text(text)

    assert [(each.name, each.base, each.n) for each in topology.nodes.values() if each.base == "web"] == [
        ("web-1", "web", 1),
        ("web-2", "web", 2),
        ("web-3", "web", 3),
    ]
    assert [(p.host_port, p.node_port, p.protocol) for p in topology.nodes["web-2"].publish] == [
        (8081, 80, "tcp"),
        (9002, 90, "udp"),
        (9003, 91, "udp"),
    ]
    assert topology.nodes["all"].depends_on == topology.nodes["all"].dns == ("web-1", "web-2", "web-3")


def test_number_and_name_stand_in_every_nodes_command_exec_env_and_files() -> None:
    found = node(
        'command: [run, "{node}", "{n}"], exec: ["echo {node}"], env: {N: "{node}"}, '
        'files: {/f: {content: "{node}"}}'
    )

    assert found.command == ("run", "h", "1")
    assert (found.exec, found.env) == ((("/bin/sh", "-c", "echo h"),), (("N", "h"),))
    assert found.files[0].content == "h"


@pytest.mark.parametrize("name", ["a", "b", "eth0", "eth1", "uplink"])
def test_a_placeholder_names_a_network_a_node_or_an_interface_and_stays(name: str) -> None:
    text = f"""
networks: {{a: {{}}}}
nodes: {{b: {{networks: [a], env: {{X: "{{ip:{name}}}"}}}}, c: {{}}, d: {{}}}}
links: [[b, c], ["b:uplink", d]]
"""
    assert load_text(text).nodes["b"].env == (("X", f"{{ip:{name}}}"),)


@pytest.mark.parametrize(
    ("shape", "links"),
    [
        ("[a1, b1]", ["a1 b1"]),
        ("[a1:eth5, b1]", ["a1:eth5 b1"]),
        ("{endpoints: [{node: a1, name: x}, b1]}", ["a1:x b1"]),
        ("{between: [a1..2, b1..2]}", ["a1 b1", "a1 b2", "a2 b1", "a2 b2"]),
        ("{between: [[a1, a2], b1]}", ["a1 b1", "a2 b1"]),
        ("{pairs: [a1..3, b1..3]}", ["a1 b1", "a2 b2", "a3 b3"]),
        ("{chain: [a1..3, b1]}", ["a1 a2", "a2 a3", "a3 b1"]),
        ("{ring: [a1..3]}", ["a1 a2", "a2 a3", "a3 a1"]),
    ],
)
def test_links(shape: str, links: list[str]) -> None:
    topology = load_text(f"nodes: {{a1..3: {{}}, b1..3: {{}}}}\nlinks: [{shape}]")

    assert [link.name for link in topology.links] == links


@pytest.mark.parametrize(
    ("keys", "end", "subnets"),
    [
        ("", "", (SubnetSpec(4, 31),)),
        ("ipv6: only,", "", (SubnetSpec(6, 127),)),
        ("subnet: none,", "", ()),
        ("subnet: 10.0.0.0/30,", "", (IPv4Network("10.0.0.0/30"),)),
        ("", "ip: 10.0.0.1/30", (IPv4Network("10.0.0.0/30"),)),
        ("", "ip: 10.0.0.1", (IPv4Network("10.0.0.0/31"),)),
        ("", 'ip: "fd00::3"', (IPv6Network("fd00::2/127"),)),
    ],
)
def test_a_links_subnet_is_written_or_its_addresses_or_a_planned_pair(
    keys: str, end: str, subnets: tuple[object, ...]
) -> None:
    text = f"nodes: {{a: {{}}, b: {{}}}}\nlinks: [{{{keys} endpoints: [a, {{node: b, {end}}}]}}]"

    assert load_text(text).links[0].subnets == subnets


def test_a_links_keys_are_both_ends_defaults() -> None:
    text = """
nodes: {a: {}, b: {}}
links: [{endpoints: [{node: a, delay: 1ms}, b], delay: 20ms, rate: 1gbit, name: up, cost: 10}]
"""
    link = load_text(text).links[0]

    assert [end.port.impairment.delay for end in link.ends] == [1000, 20_000]
    assert [end.port.name for end in link.ends] == ["up", "up"]
    assert (link.cost, link.ends[0].port.impairment.rate) == (10, 10**9)


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ("command: sleep 1", "command", ("/bin/sh", "-c", "sleep 1")),
        ("command: none", "command", ()),
        ('command: [a, ""]', "command", ("a", "")),
        ("entrypoint: []", "entrypoint", ()),
        ('entrypoint: [""]', "entrypoint", ()),
        ("mode: container:db", "mode", ContainerMode("db")),
        ("image: ./root", "image", "/lab/root"),
        ("image: ../root/.", "image", "/root"),
        ("loopback: true", "loopback", PLANNED),
        ('loopback: [10.0.0.1, "fd00::1"]', "loopback", (IPv4Address("10.0.0.1"), IPv6Address("fd00::1"))),
        ("routes: none", "auto_routes", False),
        ("routes: []", "auto_routes", True),
        ("ready: tcp/80", "ready", (Ready("tcp", port=80),)),
        ("ready: {tcp: 80, within: 500ms}", "ready", (Ready("tcp", port=80, within=0.5),)),
        ('ready: {http: ":80/h"}', "ready", (Ready("http", port=80, path="/h"),)),
        ("ready: {exec: true -x}", "ready", (Ready("exec", argv=("/bin/sh", "-c", "true -x")),)),
        ("ready: {log: ^up}", "ready", (Ready("log", regex="^up"),)),
        ("memory: 64m", "memory", 64 << 20),
        ("memory: 1.5GiB", "memory", 3 << 29),
        ("cpus: 0.5", "cpus", 0.5),
        ("cpus: .5", "cpus", 0.5),
        ("cap_add: [cap_net_admin, SYS_TIME]", "cap_add", ("NET_ADMIN", "SYS_TIME")),
        ("sysctls: {net/ipv4/ip_forward: 1}", "sysctls", (("net.ipv4.ip_forward", "1"),)),
        ("depends_on: db", "depends_on", ("db",)),
        ('dns: ["FD00::0:1", db]', "dns", ("fd00::1", "db")),
        ("restart: on-failure:3", "restart", "on-failure:3"),
        ("networks: ", "attachments", ()),
        ("x-note: {anything: [goes]}", "env", ()),
    ],
)
def test_a_nodes_key(keys: str, field: str, value: object) -> None:
    assert getattr(node(keys), field) == value


def test_paths_are_taken_from_the_files_directory() -> None:
    found = node('mounts: ["./a:/b/../c:ro", "/x:/y"], files: {/f: {source: ../s, mode: 0600, owner: "1:2"}}')

    assert [(each.source, each.target, each.read_only) for each in found.mounts] == [
        ("/lab/a", "/c", True),
        ("/x", "/y", False),
    ]
    assert [(each.source, each.content, each.mode, each.owner) for each in found.files] == [
        ("/s", None, 0o600, "1:2")
    ]


def test_routes_are_ip_routes_words() -> None:
    found = node(
        'routes: ["10.9.0.0/16 via db dev eth1 metric 50", "default via 10.0.0.1", unreachable 10.1.2.3]'
    )

    assert [(each.destination, each.via, each.dev, each.metric, each.kind) for each in found.routes] == [
        (IPv4Network("10.9.0.0/16"), "db", "eth1", 50, "unicast"),
        (None, IPv4Address("10.0.0.1"), None, None, "unicast"),
        (IPv4Network("10.1.2.3/32"), None, None, None, "unreachable"),
    ]


def test_every_key_whose_effect_comes_later_is_listed_with_its_place() -> None:
    reserved = load_text(EVERY_KEY).reserved

    assert {each.key for each in reserved} == {
        "delay", "loss", "devices",
    }  # fmt: skip
    assert next(str(each.at) for each in reserved if each.key == "delay") == "t.yaml:27:12"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("networks: {a: {}}\nnodes: {r: {networks: {a: {masquerade: true}}}}", "masquerade"),
        ("networks: {a: {jitter: 1ms}}", "jitter"),
        ("networks: {a: {duplicate: 1%}}", "duplicate"),
        ("networks: {a: {reorder: 1%}}", "reorder"),
        ("networks: {a: {corrupt: 1%}}", "corrupt"),
    ],
)
def test_more_keys_whose_effect_comes_later(text: str, key: str) -> None:
    assert key in {each.key for each in load_text(text).reserved}


@pytest.mark.parametrize(
    "text",
    [
        "store: sqlite",
        "networks: {a: {external: true, bridge: br0}}",
        "networks: {a: {vxlan: none, encrypt: false, delay: 0, loss: 0%, hosts: []}}",
        "nodes: {a: {image: /srv/root}}",
        "hosts: {}",
    ],
)
def test_what_asks_for_nothing_is_not_reserved(text: str) -> None:
    assert load_text(text).reserved == ()


@pytest.mark.parametrize(
    ("file", "directory", "name"),
    [
        ("lab/shop.yaml", "/srv/lab", "shop"),
        ("My_Lab.yml", "/srv", "my-lab"),
        ("shop.netfab.yaml", "/srv", "shop"),
        ("topology.yaml", "/srv/Web Shop", "web-shop"),
        ("topology.yml", "/srv/2nd-try", "nd-try"),
    ],
)
def test_a_fabrics_name_is_its_files_where_none_is_written(file: str, directory: str, name: str) -> None:
    assert load(b"nodes: {}", file, directory, {}).name == name


@pytest.mark.parametrize(
    ("file", "directory"), [("-", "/srv"), ("topology.yaml", "/"), ("default.yaml", "/srv")]
)
def test_where_nothing_gives_a_name_one_is_due(file: str, directory: str) -> None:
    with pytest.raises(TopologyError, match="write `name:` first"):
        load(b"nodes: {}", file, directory, {})


def test_the_callers_name_wins() -> None:
    assert load_text("name: shop", name="copy").name == "copy"
    with pytest.raises(TopologyError, match="`Copy` is not a valid name"):
        load_text("name: shop", name="Copy")


def test_keys_that_begin_with_x_are_ignored() -> None:
    topology = load_text(
        """
x-shared: &shared {memory: 64m}
networks: {x-n: 1, a: {x-k: 1}}
nodes: {x-n: 1, h: {<<: *shared, networks: {x-k: 1, a: {x-k: 1}}, env: {x-kept: 1}}}
kinds: {x-k: 1}
hosts: {x-h: 1}
"""
    )

    assert (list(topology.networks), list(topology.nodes)) == (["a"], ["h"])
    assert (topology.nodes["h"].memory, topology.nodes["h"].env) == (64 << 20, (("x-kept", "1"),))


def test_an_empty_map_of_a_node_leaves_its_kinds() -> None:
    text = "kinds: {k: {env: {A: b}}}\nnodes: {h: {kind: k, env: }}"

    assert load_text(text).nodes["h"].env == (("A", "b"),)


def test_a_scale_of_one_takes_a_fixed_port_or_the_first_of_a_range() -> None:
    text = "networks: {a: {}}\nnodes: {h: {scale: 1, networks: [a], publish: [80:80, 90-99:90]}}"

    assert [each.host_port for each in load_text(text).nodes["h-1"].publish] == [80, 90]


def test_two_ports_of_different_host_addresses_are_not_in_each_others_way() -> None:
    text = "networks: {a: {}}\nnodes: {h: {networks: [a], publish: [%s]}}"

    assert (
        len(load_text(text % "127.0.0.1:80:80, 192.0.2.1:80:80, '[::]:80:80', 80:80/udp").nodes["h"].publish)
        == 4
    )
    with pytest.raises(TopologyError, match="80/tcp is published by h already"):
        load_text(text % "0.0.0.0:80:80, 127.0.0.1:80:80")


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_files_that_come_with_netfab_load_and_need_nothing_that_comes_later(file: Any) -> None:
    topology = load(file.read_bytes(), str(file), str(file.parent), {})

    assert (topology.name, topology.reserved) == (file.stem, ())
