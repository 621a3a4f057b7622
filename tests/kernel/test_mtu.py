"""MTUs too small for IPv6: the kernel takes it off the link, and gives it back with a larger one."""

from __future__ import annotations

import subprocess

from examples import FABRIC, bridge, fabric, namespace, small, veth

from netfab.engine.apply import apply
from netfab.hosts.local import LocalHost
from netfab.objects.link import Settings


def test_a_link_that_gets_ipv6_with_a_larger_mtu_gets_no_address_with_it(host: LocalHost) -> None:
    less = bridge(mtu=600, settings=Settings().without_ipv6())
    apply(fabric(namespace(), less, veth(a=small(veth().a), b=small(veth().b))), host)

    apply(fabric(namespace(), bridge(), veth()), host)

    show = ["-6", "-o", "address", "show", "scope", "link"]
    for where in ([], ["-n", f"{FABRIC}.web"]):
        assert subprocess.run(["ip", *where, *show], check=True, capture_output=True).stdout == b""
