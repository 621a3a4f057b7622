"""containerlab files become topologies that load and plan; other kinds' nodes keep their places."""

from __future__ import annotations

from converted import left, loaded, planned
from damage import damaged
from hypothesis import given
from hypothesis import strategies as st

from netfab.convert.containerlab import containerlab
from netfab.convert.draft import Converted
from netfab.errors import NetfabError
from netfab.topology.schema import ContainerMode

LAB = """\
name: Leaf_Spine
prefix: ""
mgmt: {network: custom, ipv4-subnet: 172.100.100.0/24, mtu: 1450}
topology:
  defaults: {kind: linux, env: {A: a}}
  kinds:
    linux: {image: "alpine:latest", env: {B: b}, exec: ["ip link set eth1 up"]}
    nokia_srlinux: {image: ghcr.io/nokia/srlinux}
  nodes:
    srl1: {kind: nokia_srlinux, startup-config: srl1.cfg}
    client_1:
      kind: linux
      mgmt-ipv4: 172.100.100.11
      exec:
        - ip address add 192.168.0.1/24 dev eth1
        - ip route add 10.0.0.0/8 via 192.168.0.2
        - ping -c1 192.168.0.2
      binds: ["./cfg:/cfg:ro"]
      ports: ["8080:80"]
      env: {C: c}
      cpu: 1
      memory: 64mb
      labels: {x: y}
    client2: {kind: linux, exec: [ip addr add 192.168.0.2/24 dev eth1], cmd: sleep infinity}
    br-clab: {kind: bridge}
    sidecar: {kind: linux, network-mode: "container:client2"}
  links:
    - endpoints: ["client_1:eth1", "client2:eth1"]
      mtu: 1400
    - endpoints: ["srl1:e1-1", "br-clab:eth7"]
    - endpoints: ["srl1:e1-2", "host:srl1e12"]
    - type: veth
      endpoints: [{node: srl1, interface: e1-3, mac: "02:00:00:00:00:01"}, {node: client2, interface: eth2}]
    - {type: dummy, endpoint: {node: srl1, interface: e1-4}}
    - endpoints: ["srl1:e1-5", "macvlan:enp0s3"]
"""
CLOS = "name: clos\ntopology:\n  kinds: {linux: {image: frr}}\n  nodes:\n" + "".join(
    f"    spine{n}: {{kind: linux}}\n" for n in range(8)
)
CLOS += "".join(f"    leaf{n}: {{kind: linux}}\n" for n in range(32)) + "  links:\n"
CLOS += "".join(
    f"    - endpoints: [spine{s}:eth{n + 1}, leaf{n}:eth{s + 1}]\n" for s in range(8) for n in range(32)
)


def converted(text: str) -> Converted:
    return containerlab(text.encode(), "x.clab.yml", "lab", {})


def test_nodes_and_links_are_as_in_the_lab() -> None:
    found = planned(converted(LAB))

    assert list(found.nodes) == ["srl1", "client-1", "client2", "sidecar"]
    client = found.nodes["client-1"]
    assert dict(client.env) == {"A": "a", "B": "b", "C": "c"}
    assert client.mounts[0].read_only
    assert [str(each) for each in client.attachments[0].port.addresses] == ["172.100.100.11/32"]
    assert client.attachments[0].port.name == "eth0"
    assert found.nodes["client2"].command == ("sleep", "infinity")
    assert found.nodes["sidecar"].mode == ContainerMode("client2")
    assert found.networks["br-clab"].external is True
    assert [attachment.network for attachment in found.nodes["srl1"].attachments] == ["mgmt", "br-clab"]


def test_addresses_and_routes_of_exec_are_keys_and_the_rest_is_run() -> None:
    found = planned(converted(LAB))

    cable = found.links[0]
    assert [str(end.port.addresses[0]) for end in cable.ends] == ["192.168.0.1/24", "192.168.0.2/24"]
    assert cable.ends[0].port.mtu == 1400
    assert [str(route.destination) for route in found.nodes["client-1"].routes] == ["10.0.0.0/8"]
    assert found.nodes["client-1"].exec == (("ping", "-c1", "192.168.0.2"),)
    assert found.nodes["client2"].exec == ()


def test_links_without_addresses_get_none_and_the_hosts_interfaces_are_ends() -> None:
    found = planned(converted(LAB))

    assert [link.ends[1].node for link in found.links] == [
        "client2",
        "host:srl1e12",
        "client2",
        "macvlan:enp0s3",
    ]
    assert [len(link.subnets) for link in found.links] == [1, 0, 0, 0]
    assert found.links[2].ends[0].port.mac == "02:00:00:00:00:01"


def test_what_is_not_carried_over_is_named_with_its_line() -> None:
    assert left(converted(LAB)) == {
        "name": "1: the fabric is called leaf-spine here",
        "prefix": "2: not carried over",
        "mgmt.network": "3: not carried over",
        "topology.nodes.srl1.image": "8: not carried over",
        "topology.nodes.srl1.kind": "10: not carried over: "
        "only linux, bridge and host are; a node without program is here",
        "topology.nodes.srl1.startup-config": "10: not carried over",
        "topology.nodes.client_1": "11: the node is called client-1 here",
        "topology.nodes.client_1.labels": "23: not carried over",
        "topology.links[4]": "34: not carried over: a link is between nodes, or a node and the host",
    }


def test_ends_in_different_subnets_keep_their_commands() -> None:
    text = """
topology:
  nodes:
    a: {kind: linux, exec: [ip addr add 10.0.0.1/32 dev eth1, ip addr add 10.9.9.9/32 dev lo]}
    b: {kind: linux, exec: [ip addr add 10.0.1.1/32 dev eth1, sysctl -w net.ipv4.ip_forward=1]}
    h: {kind: host}
  links: [{endpoints: [a:eth1, b:eth1]}, {endpoints: [b:eth2, h:veth7]}]
"""

    found = planned(converted(text))

    assert len(found.nodes["a"].exec) == 2
    assert found.links[0].subnets == ()
    assert found.nodes["b"].forward
    assert found.links[1].ends[1].node == "host:veth7"


def test_an_end_that_is_given_no_address_gets_none() -> None:
    text = """
topology:
  nodes: {a: {exec: [ip addr add 10.0.0.1/24 dev eth1]}, b: {}}
  links: [{endpoints: [a:eth1, b:eth1]}]
"""

    assert [len(end.port.addresses) for end in planned(converted(text)).links[0].ends] == [1, 0]
    assert planned(converted(text)).links[0].ends[1].port.no_address


def test_a_clos_of_256_links_is_converted_whole() -> None:
    result = converted(CLOS)

    assert len(planned(result).links) == 256
    assert result.left == ()


@given(st.integers(), st.sampled_from([LAB, CLOS[:700]]))
def test_a_damaged_file_gives_no_traceback_and_what_it_gives_loads(seed: int, text: str) -> None:
    said = ""
    found = None
    try:
        found = containerlab(damaged(text, seed), "x.clab.yml", "lab", {})
    except NetfabError as error:
        said = str(error)

    assert found is None or loaded(found)
    assert said == "" or said.replace("\n", "").isprintable()


def test_a_node_without_a_management_network_keeps_its_links() -> None:
    text = """\
topology:
  nodes: {a: {kind: linux, network-mode: none}, b: {kind: linux}}
  links: [{endpoints: ["a:eth1", "b:eth1"]}]
"""
    found = planned(converted(text))

    assert [end.node for link in found.links for end in link.ends] == ["a", "b"]
    assert [attachment.network for attachment in found.nodes["b"].attachments] == ["mgmt"]
    assert found.nodes["a"].attachments == ()
    assert left(converted(text)) == {}
