"""A host with Docker's, or another's, forward chain: a way through or a clear refusal; nothing stays."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from netfab import fabric
from netfab.errors import ForeignObject
from netfab.topology.load import load
from netfab.topology.schema import Topology

DOCKER = """
add table ip filter
add chain ip filter DOCKER-USER
add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
add rule ip filter FORWARD jump DOCKER-USER
add rule ip filter DOCKER-USER counter return
"""
OTHER = """
add table ip ufw
add chain ip ufw FORWARD { type filter hook forward priority 0; policy drop; }
"""
FILE = b"networks: {lan: {}}\nnodes: {a: {networks: [lan]}, b: {networks: [lan]}}\n"


@pytest.fixture
def where(tmp_path: Path) -> fabric.Where:
    return fabric.Where(state=str(tmp_path / "state"))


@pytest.fixture
def topology() -> Topology:
    with IPRoute() as ip:
        ip.link("add", ifname="docker0", kind="bridge")
        ip.link("add", ifname="up0", kind="veth", peer="up1")
        index = ip.link_lookup(ifname="up0")[0]
        ip.addr("add", index=index, address="198.51.100.2", prefixlen=24)
        for name in ("up0", "up1"):
            ip.link("set", ifname=name, state="up")
        ip.route("add", dst="default", gateway="198.51.100.1")
    return load(FILE, "lab.yaml", "/", os.environ)


def nft(text: str) -> None:
    subprocess.run(["/usr/sbin/nft", "-f", "-"], input=text, text=True, check=True)


def comments() -> list[str]:
    """Of the rules in Docker's chain for the rules of others, in order; "" for Docker's own."""
    printed = subprocess.run(
        ["/usr/sbin/nft", "-j", "list", "chain", "ip", "filter", "DOCKER-USER"],
        capture_output=True,
        check=True,
    ).stdout
    return [item["rule"].get("comment", "") for item in json.loads(printed)["nftables"] if "rule" in item]


def test_dockers_chain_gets_two_rules_that_accept_and_they_go_with_the_fabric(
    topology: Topology, where: fabric.Where
) -> None:
    nft(DOCKER)
    fabric.apply(topology, "lab.yaml", where)
    during = comments()

    fabric.destroy("lab", where)

    assert during == ["netfab-lab br-lan up0", "netfab-lab br-lan up0", ""]
    assert comments() == [""]


def test_a_way_through_docker_that_was_flushed_is_drift_and_mended(
    topology: Topology, where: fabric.Where
) -> None:
    nft(DOCKER)
    fabric.apply(topology, "lab.yaml", where)
    nft("flush chain ip filter DOCKER-USER")

    seen = [str(change.object) for change in fabric.drift("lab", where)]
    fabric.reconcile("lab", where)

    assert seen == ["passage br-lan - up0 in Docker's ip chain"]
    assert len(comments()) == 2


def test_half_of_a_way_through_docker_is_made_whole(topology: Topology, where: fabric.Where) -> None:
    nft(DOCKER)
    fabric.apply(topology, "lab.yaml", where)
    nft(
        "flush chain ip filter DOCKER-USER\n"
        'add rule ip filter DOCKER-USER accept comment "netfab-lab br-lan up0"'
    )

    fabric.reconcile("lab", where)

    assert comments() == ["netfab-lab br-lan up0"] * 2


def test_another_chain_that_drops_is_named_before_anything_is_made(
    topology: Topology, where: fabric.Where
) -> None:
    nft(OTHER)

    with pytest.raises(
        ForeignObject, match=r"chain FORWARD of nft table ip ufw drops .*: its policy is drop"
    ):
        fabric.apply(topology, "lab.yaml", where)

    with IPRoute() as ip:
        assert ip.link_lookup(ifname="br-lan") == []


def test_a_chain_that_drops_is_fine_once_it_accepts_our_bridge(
    topology: Topology, where: fabric.Where
) -> None:
    nft(
        OTHER
        + 'add rule ip ufw FORWARD iifname "br-lan" accept\nadd rule ip ufw FORWARD oifname "br-lan" accept'
    )

    _, applied = fabric.apply(topology, "lab.yaml", where)

    assert applied.changes
