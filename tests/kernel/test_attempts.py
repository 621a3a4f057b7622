"""What comes of an attempt to reach a port."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

from netfab.kernel.attempts import datagram
from netfab.kernel.echo import answering, passes
from netfab.kernel.netlink import Netlink
from netfab.objects.base import HOST, Name
from netfab.objects.qdisc import BURST_LEAST, Qdisc
from netfab.objects.wire import encode


def test_a_datagram_that_arrived_counts_however_late_it_is_looked_at() -> None:
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]

        assert datagram(ip_address("127.0.0.1"), port, 0.0, here) == ""
    assert "refused" in datagram(ip_address("127.0.0.1"), port, 0.0, here)
    os.close(here)


def test_a_refusal_that_stands_in_a_queue_is_waited_for() -> None:
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    netlink, lo = Netlink(), socket.if_nametoindex("lo")
    for request in Qdisc(Name(HOST, "lo"), rate=1600).create():
        assert not netlink.batch([(1, encode(request, lambda _: lo, 1))])
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        for _ in range(BURST_LEAST // 142):  # with their headers; what comes next waits
            other.sendto(bytes(100), other.getsockname())

    assert "refused" in datagram(ip_address("127.0.0.1"), 9, 60.0, here)
    netlink.close()
    os.close(here)


def test_an_echo_that_was_answered_counts_however_late_it_is_looked_at() -> None:
    here = ip_address("127.0.0.1")

    assert here in answering([here], 0.0)
    assert passes(here, 1000, 0.0)
