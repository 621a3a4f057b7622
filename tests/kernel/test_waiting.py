"""Waiting until links are ready: what is heard of others, or of some of them only, is no answer."""

from __future__ import annotations

import subprocess
import threading
from socket import if_nametoindex
from time import monotonic

import pytest

from netfab.kernel.netlink import Monitor
from netfab.kernel.waiting import wait_for_links

LONG = 60.0  # seconds


def up(*links: str) -> None:
    for link in links:
        subprocess.run(["ip", "link", "set", link, "up"], check=True)


@pytest.fixture
def monitor() -> Monitor:
    """Of a host with two cables, of which only the ends `here` and `there` are not up."""
    for link in ("here", "there"):
        subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-1"], check=True)
        up(f"{link}-1")
    return Monitor()


def test_it_ends_when_all_of_them_are_ready(monitor: Monitor) -> None:
    begin = monotonic()
    up("here")
    later = threading.Thread(target=up, args=("there",))
    later.start()

    wait_for_links(monitor, {if_nametoindex("here"), if_nametoindex("there")}, LONG)

    shown = subprocess.run(["ip", "-br", "link", "show", "there"], check=True, capture_output=True, text=True)
    later.join()
    assert shown.stdout.split()[1] == "UP"
    assert monotonic() - begin < LONG
    monitor.close()


def test_of_nodes_links_anything_that_is_heard_may_be_a_sign(monitor: Monitor) -> None:
    begin = monotonic()
    up("here")

    wait_for_links(monitor, set(), LONG)

    assert monotonic() - begin < LONG
    monitor.close()
