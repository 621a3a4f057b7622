"""The tests of docs/testing.rst, as users write them."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("""
    name: shop
    networks: {front: {gateway: r}, back: {gateway: r}}
    nodes: {r: {}, web: {networks: [front]}, db1..3: {networks: [back]}}
    """)


def test_a_client_loses_no_connection(netfab: Fabric) -> None:
    web, db = netfab["web"], netfab["db1"]
    db.serve_echo(5432)
    with web.capture("eth0", "tcp port 5432") as seen:
        assert web.tcp(db, 5432).echo(b"x" * 100_000, within=10)
    assert seen.count(TCP, flags="R") == 0
    assert seen.count(TCP) > 10


@pytest.mark.parametrize("victim", ["db1", "db2", "db3"])
def test_a_partition_heals(netfab: Fabric, victim: str) -> None:
    with netfab.isolate(victim):
        assert netfab["web"].cannot_reach(victim)
    assert netfab["web"].reaches(victim, within=1)
