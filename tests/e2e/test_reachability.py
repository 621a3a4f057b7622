"""Each file of topologies/, looked at from inside: who reaches whom, by name and by address."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from traffic import DROPPED, PATIENCE, answer, ask, dropped, echo, serving, serving_everywhere, unreached

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=60).read().decode(), end='')"
NAME = (
    "import sys, socket; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60); "
    "print(s.recv(99).decode())"
)


def made(lab: Lab, name: str) -> dict[str, Any]:
    """Apply that file; its nodes."""
    nodes: dict[str, Any] = lab.netfab("apply", str(TOPOLOGIES / f"{name}.yaml"), "-o", "json").json["nodes"]
    return nodes


def addresses(nodes: dict[str, Any], name: str) -> list[str]:
    return [address for found in nodes[name]["addresses"].values() for address in found]


def test_the_client_of_the_quickstart_reaches_the_web_server_by_name(lab: Lab) -> None:
    made(lab, "quickstart")

    assert lab.netfab("exec", "client", "python3", "-c", FETCH, "http://web/").out == "hello from web\n"


def test_the_stranger_of_the_quickstart_reaches_nobody_and_nobody_reaches_it(lab: Lab) -> None:
    nodes = made(lab, "quickstart")
    (web,), (client,), (stranger,) = (addresses(nodes, name) for name in ("web", "client", "stranger"))

    with serving_everywhere(lab, ["quickstart.stranger", "quickstart.client"], 81):
        assert dropped(lab, "quickstart.stranger", web, 80)
        assert dropped(lab, "quickstart.stranger", client, 81)
        assert dropped(lab, "quickstart.web", stranger, 81)
        assert answer(lab, "", stranger, 81) is not None  # it listens: the host reaches its own networks


def test_every_host_of_the_leaf_spine_reaches_every_other_and_every_loopback(lab: Lab) -> None:
    nodes = made(lab, "leaf-spine")
    hosts = [name for name in nodes if name.startswith(("host", "store", "probe"))]
    everywhere = [address for name in nodes for address in addresses(nodes, name)]

    with serving_everywhere(lab, [f"leaf-spine.{name}" for name in nodes]):
        assert (
            unreached(lab, [(f"leaf-spine.{name}", address) for name in hosts for address in everywhere])
            == []
        )
        assert lab.netfab("exec", "host1", "python3", "-c", NAME, "leaf4", "80").code == 0


def test_traffic_between_two_leaves_uses_every_spine(lab: Lab) -> None:
    made(lab, "leaf-spine")

    route = lab.shell("ip -n leaf-spine.leaf1 route show " + addresses_of_rack(lab, "rack4"))

    assert route.count("nexthop") == 4


def addresses_of_rack(lab: Lab, network: str) -> str:
    subnet: str = lab.netfab("status", "-o", "json").json["networks"][network]["subnets"][0]
    return subnet


def test_a_packet_passes_all_fifty_routers_of_the_chain(lab: Lab) -> None:
    made(lab, "chain")

    with serving(lab, "chain.b"):
        seen = lab.netfab("exec", "a", "python3", "-c", NAME, "b", "80").out.strip()

    assert seen == lab.netfab("ip", "a").out.strip()


def test_every_host_of_the_ring_reaches_every_other(lab: Lab) -> None:
    nodes = made(lab, "ring")
    hosts = [name for name in nodes if name.startswith("h")]
    pairs = [
        (f"ring.{name}", address) for name in hosts for other in hosts for address in addresses(nodes, other)
    ]

    with serving_everywhere(lab, [f"ring.{name}" for name in hosts]):
        assert unreached(lab, pairs) == []


def test_a_broken_ring_is_whole_again_after_reconcile(lab: Lab) -> None:
    nodes = made(lab, "ring")
    (near,), (far,) = addresses(nodes, "h2"), addresses(nodes, "h5")
    there = lab.shell(f"ip -n ring.r1 -o route get {near}").split()
    lab.shell(f"ip -n ring.r1 link set {there[there.index('dev') + 1]} down")

    with serving_everywhere(lab, ["ring.h2", "ring.h5"]):
        broken = dropped(lab, "ring.h1", near)
        lab.netfab("reconcile")

        assert broken
        assert unreached(lab, [("ring.h1", near), ("ring.h1", far)]) == []


def test_all_200_nodes_of_the_star_reach_the_first(lab: Lab) -> None:
    nodes = made(lab, "star")
    (hub,) = addresses(nodes, "node1")

    with serving(lab, "star.node1"):
        assert unreached(lab, [(f"star.{name}", hub) for name in nodes]) == []


def test_both_families_work_end_to_end(lab: Lab) -> None:
    nodes = made(lab, "dual-stack")
    targets = [*addresses(nodes, "b"), *addresses(nodes, "r1"), *addresses(nodes, "r2")]
    six = [address for name in ("b", "c", "r2") for address in addresses(nodes, name) if ":" in address]

    with serving_everywhere(lab, [f"dual-stack.{name}" for name in nodes]):
        assert {":" in address for address in targets} == {True, False}
        assert unreached(lab, [("dual-stack.a", address) for address in targets]) == []
        assert unreached(lab, [("dual-stack.c", address) for address in six]) == []


def test_the_networks_and_the_link_of_the_five_nodes_are_joined_by_their_router(lab: Lab) -> None:
    nodes = made(lab, "five")
    everywhere = [address for name in nodes for address in addresses(nodes, name)]

    with serving_everywhere(lab, [f"five.{name}" for name in nodes]):
        assert unreached(lab, [(f"five.{name}", to) for name in nodes for to in everywhere]) == []
        lab.netfab("exec", "h1", "python3", "-c", NAME, "srv", "80")


def test_each_mode_has_the_network_that_it_names(lab: Lab) -> None:
    made(lab, "modes")

    def namespace(node: str) -> str:
        return lab.netfab("exec", node, "readlink", "/proc/self/ns/net").out

    host = lab.shell("readlink /proc/self/ns/net")
    assert namespace("hosted") == host
    assert namespace("sidecar") == namespace("alias") == namespace("bridged")
    assert len({namespace("bridged"), namespace("alone"), host}) == 3


def test_each_mode_sees_the_addresses_of_its_network(lab: Lab) -> None:
    nodes = made(lab, "modes")
    lab.shell("ip address add 198.51.100.1/32 dev lo")
    (bridged,) = addresses(nodes, "bridged")

    def seen(node: str) -> str:
        return lab.netfab("exec", node, "cat", "/proc/net/fib_trie").out

    assert "198.51.100.1" in seen("hosted")
    assert bridged in seen("bridged")
    assert seen("sidecar") == seen("alias") == seen("bridged")
    assert lab.netfab("exec", "alone", "ls", "/proc/sys/net/ipv4/conf").out.split() == [
        "all",
        "default",
        "lo",
    ]


def test_a_connection_works_in_each_mode(lab: Lab) -> None:
    nodes = made(lab, "modes")
    (bridged,) = addresses(nodes, "bridged")
    (gateway,) = lab.netfab("status", "-o", "json").json["networks"]["lan"]["gateways"]

    with serving(lab, port=81), serving(lab, "modes.bridged", 82), serving(lab, "modes.alone", 83):
        for node, address, port in (
            ("hosted", "127.0.0.1", "81"),
            ("hosted", bridged, "82"),
            ("bridged", gateway, "81"),
            ("sidecar", "127.0.0.1", "82"),
            ("alias", "127.0.0.1", "82"),
            ("alone", "127.0.0.1", "83"),
        ):
            lab.netfab("exec", node, "python3", "-c", NAME, address, port)
        lab.netfab("exec", "alone", "python3", "-c", NAME, bridged, "82", code=1)


def test_a_published_port_answers_from_outside_from_the_host_and_from_nodes(lab: Lab) -> None:
    lab.outside()
    made(lab, "published")
    (gateway,) = lab.netfab("status", "-o", "json").json["networks"]["front"]["gateways"]

    def status(address: str, port: int) -> str:
        return lab.call(lambda: head(address, port), "internet" if address == "192.0.2.1" else "")

    assert [status("192.0.2.1", port) for port in (8080, 8081, 8082, 8083)] == ["HTTP/1.0 200"] * 4
    assert [status("127.0.0.1", port) for port in (8080, 8081, 8090)] == ["HTTP/1.0 200"] * 3
    for node in ("web", "admin"):  # web comes back to itself by way of the host: hairpin
        for address in (gateway, "192.0.2.1"):
            lab.netfab("exec", node, "python3", "-c", FETCH, f"http://{address}:8080/")


def head(address: str, port: int, patience: float = PATIENCE) -> str:
    """The start of a web server's answer, empty where there is none."""
    try:
        with socket.create_connection((address, port), patience) as client:
            client.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return client.recv(12).decode()
    except OSError:
        return ""


def test_a_port_published_on_loopback_is_not_there_for_the_outside(lab: Lab) -> None:
    lab.outside()
    made(lab, "published")
    lab.shell("""
        ip netns exec internet sysctl -qw net.ipv4.conf.all.route_localnet=1
        ip -n internet address delete 127.0.0.1/8 dev lo
        ip -n internet route add 127.0.0.1/32 via 192.0.2.1 src 192.0.2.2
    """)

    assert lab.call(lambda: head("127.0.0.1", 8090, DROPPED), "internet") == ""
    assert lab.call(lambda: head("192.0.2.1", 8090, DROPPED), "internet") == ""
    assert lab.call(lambda: head("127.0.0.1", 8090)) == "HTTP/1.0 200"


def test_a_published_udp_port_answers_from_outside(lab: Lab) -> None:
    lab.outside()
    made(lab, "published")

    assert lab.call(lambda: echo("192.0.2.1", 7007), "internet") == b"ping"


def test_what_is_not_published_is_not_reached_from_outside(lab: Lab) -> None:
    lab.outside()
    nodes = made(lab, "published")
    (web,) = addresses(nodes, "web")

    assert lab.call(lambda: head(web, 80, DROPPED), "internet") == ""
    assert lab.call(lambda: ask("192.0.2.1", 80, DROPPED), "internet") is None


def test_a_busy_port_is_refused_before_anything_is_made(lab: Lab) -> None:
    before = lab.state()

    with serving(lab, port=8082):
        result = lab.netfab("apply", str(TOPOLOGIES / "published.yaml"), code=1)

    assert "port 8082/tcp of this host is in use by another program" in result.err
    assert "hint:" in result.err
    assert lab.state() == before


def test_a_published_port_stays_ours_until_it_is_published_no_more(lab: Lab) -> None:
    text = "networks: {lan: {}}\nnodes: {web: {networks: [lan], publish: ['PORT:80']}}\n"
    lab.write(text.replace("PORT", "8080"))
    lab.netfab("apply")
    with pytest.raises(OSError, match="in use"):
        lab.call(lambda: socket.create_server(("127.0.0.1", 8080)).close())

    lab.write(text.replace("PORT", "127.0.0.1:8080"))
    lab.netfab("apply")
    lab.write(text.replace("PORT", "8081"))
    lab.netfab("apply")

    lab.call(lambda: socket.create_server(("127.0.0.1", 8080)).close())


BEHIND_A_ROUTER = """\
networks: {wan: {subnet: 10.1.0.0/24}, lan: {gateway: r}}
nodes:
  r: {networks: [wan]}
  web: {networks: [lan], publish: ['8080:80']}
  client: {networks: [lan]}
"""
# Whether the host's IP chains see frames that are only bridged, as where Docker or Kubernetes run.
bridged_frames = pytest.mark.parametrize("calls", ["0", "1"])


def bridged_frames_pass_ip_chains(lab: Lab, value: str) -> None:
    """A kernel without br_netfilter has no such switch."""
    keys = "/proc/sys/net/bridge/bridge-nf-call-ip*"
    lab.shell(f"for key in {keys}; do [ ! -e $key ] || echo {value} > $key; done")


@bridged_frames
def test_a_node_reaches_itself_by_its_published_port(lab: Lab, calls: str) -> None:
    bridged_frames_pass_ip_chains(lab, calls)
    lab.write("networks: {lan: {subnet: 10.1.0.0/24}}\nnodes: {web: {networks: [lan], publish: ['8080:80']}}")
    lab.netfab("apply", "--name", "shop")

    with serving(lab, "shop.web"):
        assert answer(lab, "shop.web", "10.1.0.1", 8080) == "10.1.0.1"


@bridged_frames
@pytest.mark.parametrize("node", ["web", "client", "r"])
def test_a_published_port_behind_a_router_answers_who_is_there(lab: Lab, node: str, calls: str) -> None:
    bridged_frames_pass_ip_chains(lab, calls)
    lab.write(BEHIND_A_ROUTER)
    lab.netfab("apply", "--name", "shop")

    with serving(lab, "shop.web"):
        assert answer(lab, f"shop.{node}", "10.1.0.1", 8080) == "10.1.0.1"


@bridged_frames
def test_who_is_behind_a_router_leaves_under_the_hosts_address(lab: Lab, calls: str) -> None:
    bridged_frames_pass_ip_chains(lab, calls)
    lab.outside()
    lab.write(BEHIND_A_ROUTER)
    lab.netfab("apply", "--name", "shop")

    with serving(lab, "internet"):
        assert answer(lab, "shop.client", "192.0.2.2") == "192.0.2.1"
