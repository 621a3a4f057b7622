"""How a difference reads: in people's words, never a field's path, never a secret."""

from __future__ import annotations

from typing import Any

import pytest
from examples import FILE, bridge, cable, firewall, namespace, port, route, veth

from netfab.objects.base import Name
from netfab.objects.borrowed import Borrowed
from netfab.objects.container import Container, Probe
from netfab.objects.difference import difference
from netfab.objects.file import File
from netfab.objects.firewall import Set
from netfab.objects.link import Settings
from netfab.objects.passage import Passage
from netfab.objects.veth import End

PROGRAM = Container("shop", "web", ("sleep", "1000"), env=(("TOKEN", "hunter2"), ("A", "b")))
CASES: list[tuple[Any, dict[str, Any], str]] = [
    (veth(), {"b": veth().b._replace(up=False)}, "up -> down"),
    (veth(), {"a": veth().a._replace(up=False, mtu=1400)}, "nfweb mtu 1500 -> 1400, nfweb up -> down"),
    (cable(), {"b": cable().b._replace(mtu=1400)}, "eth1 of web mtu 1500 -> 1400"),
    (bridge(), {"stp": True, "up": False}, "up -> down, spanning tree off -> on"),
    (bridge(), {"settings": Settings(forwarding6=True)}, "IPv6 forwarding off -> on"),
    (port(), {"isolated": True}, "isolated off -> on"),
    (namespace(), {"up": False}, "lo up -> down"),
    (namespace(), {"whole": False}, "a namespace -> only an empty file"),
    (File(FILE, "a\n"), {"mode": 0o600, "content": "b\n"}, "mode 644 -> 600, content"),
    (route(), {"through": ()}, "the address that it goes by"),
    (route(), {"kind": "blackhole", "hops": ()}, "via 10.0.0.1 dev eth0 -> none, unicast -> blackhole"),
    (firewall(), {"chains": ()}, "chain forward"),
    (firewall(), {"sets": (Set("to", ("ifname",), ("verdict",)),)}, "set ports, map to"),
    (firewall(), {"dormant": True}, "on -> off"),
    (Borrowed("net/ipv4/ip_forward", "1", "0"), {"value": "0"}, "1 -> 0"),
    (Passage("ip", "br0", "wan0", "netfab-shop"), {"rules": 1}, "rules 2 -> 1"),
    (PROGRAM, {"argv": ("sleep", "1")}, "command sleep 1000 -> sleep 1"),
    (PROGRAM, {"argv": ("sh", "-c", "one\ntwo")}, "command"),
    (PROGRAM, {"env": (("TOKEN", "hunter3"), ("A", "b"))}, "env TOKEN"),
    (PROGRAM, {"state": "ended"}, "state running -> ended"),
    (PROGRAM, {"memory": 64 << 20, "ready": (Probe("tcp", 80),)}, "memory unlimited -> 64m, ready"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "fields", "told"), CASES)
def test_a_difference_reads_as_people_say_it(before: Any, fields: dict[str, Any], told: str) -> None:
    assert difference(before, before._replace(**fields)) == told


def test_a_cable_of_which_one_end_is_left_is_told_by_that_end() -> None:
    left = veth(b=End(Name("elsewhere", "nfweb"), "", 0))

    assert difference(left, veth()) == "the other end of nfweb is not there"


def test_another_kind_in_its_place_is_told_by_both() -> None:
    assert difference(veth(), bridge()) == "veth -> bridge"


@pytest.mark.parametrize("secret", ["hunter2", "hunter3"])
def test_no_secret_is_told(secret: str) -> None:
    other = PROGRAM._replace(env=(("TOKEN", "hunter3"),), files=(("/etc/key", "hunter3", 0o600, "0:0"),))

    assert secret not in difference(PROGRAM, other)
