"""Two hosts on a LAN, each with a container: the recipe of the old tutorials, with netfab's words."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, throwaway_host

CABLES = """
ip link add h1 type veth peer name eth0 netns {first}
ip link add h2 type veth peer name eth0 netns {second}
ip link add lan type bridge forward_delay 0
ip link set lan up
for port in h1 h2; do ip link set $port master lan; ip link set $port up; done
ip address add 192.168.115.2/24 dev lan
"""
HOST = """
ip link set eth0 addrgenmode none up
ip address add 192.168.115.{number}/24 dev eth0
ip route add default via 192.168.115.2
ip netns add c{number}
"""


@pytest.fixture
def hosts(lab: Lab, tmp_path: Path) -> Iterator[tuple[Lab, Lab]]:
    """Two hosts; the LAN between them, with its router, is in a third."""
    with throwaway_host(tmp_path) as first, throwaway_host(tmp_path) as second:
        wire(lab, first, second)
        for number, host in enumerate((first, second), 3):
            host.shell(HOST.format(number=number))
        yield first, second


def wire(lab: Lab, first: Lab, second: Lab) -> None:
    """By namespaces of this machine, which the third host does not see by number."""
    script = CABLES.format(first=first.pid, second=second.pid)
    subprocess.run(["nsenter", f"--target={lab.pid}", "--net", "sh", "-ec", script], check=True)


def pings(host: Lab, namespace: str, address: str) -> bool:
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    return host.run(*inside, "ping", "-qc1", "-W60", address).code == 0


def test_containers_of_two_hosts_talk_across_the_lan(hosts: tuple[Lab, Lab]) -> None:
    before = [host.state() for host in hosts]
    for number, host in enumerate(hosts, 3):
        host.netfab("attach", "br0", "-i", "eth0", f"c{number}", f"192.168.115.1{number}/24@192.168.115.2")
        host.netfab("uplink", "br0", "eth0", "--confirm", "60s", "--probe", "192.168.115.2")
        host.netfab("bridge", "create", "docker0")
        host.netfab("attach", "docker0", f"c{number}", "10.0.0.9/24", "-i", "eth1")
    first, second = hosts

    assert pings(first, "c3", "192.168.115.14")
    assert pings(second, "c4", "192.168.115.13")
    assert pings(first, "c3", "192.168.115.4")
    assert pings(second, "", "192.168.115.13")
    assert pings(first, "c3", "10.0.0.1")
    assert pings(first, "c3", "192.168.115.2")

    for number, host in enumerate(hosts, 3):
        host.netfab("detach", "br0", "eth0")
        host.netfab("detach", "br0", f"c{number}")
        host.netfab("detach", "docker0", f"c{number}")
        host.netfab("bridge", "delete", "docker0")
        assert pings(host, "", "192.168.115.2")
    for told, host in zip(before, hosts, strict=True):
        now = host.state()
        assert [
            what for what in ("links", "addresses", "routes", "firewall") if told[what] != now[what]
        ] == []


def test_a_file_puts_nodes_of_two_hosts_on_the_lan(hosts: tuple[Lab, Lab]) -> None:
    for number, host in enumerate(hosts, 3):
        host.write(
            f"""
name: site{number}
networks:
  lan:
    uplink: eth0
    subnet: 192.168.115.0/24
    gateway: {{external: 192.168.115.2}}
nodes:
  web: {{networks: {{lan: {{ip: 192.168.115.2{number}}}}}}}
""",
            f"site{number}.yaml",
        )
        host.netfab("apply", f"site{number}.yaml", "--confirm", "60s")
        host.netfab("confirm")
    first, second = hosts

    assert pings(first, "site3.web", "192.168.115.24")
    assert pings(second, "site4.web", "192.168.115.3")
    assert pings(first, "", "192.168.115.24")

    for number, host in enumerate(hosts, 3):
        host.netfab("destroy", f"site{number}")
        assert pings(host, "", "192.168.115.2")


def test_what_the_host_has_on_the_lan_is_no_nodes(hosts: tuple[Lab, Lab]) -> None:
    first, _ = hosts
    file = first.write(
        "name: site\nnetworks: {lan: {uplink: eth0, subnet: 192.168.115.0/24, gateway: none}}\n"
        "nodes: {web: {networks: {lan: {ip: 192.168.115.3}}}}\n"
    )

    said = first.netfab("apply", file, code=1).err

    assert "topology.yaml:3:" in said
    assert "this host, on eth0" in said
