"""pyroute2 as its own documentation uses it, call by call: pyroute2_calls.py NODES."""

import sys
from ipaddress import ip_address

from pyroute2 import IPRoute, netns


def main(nodes: int) -> None:
    with IPRoute() as host:
        host.link("add", ifname="br0", kind="bridge", br_forward_delay=0, br_mcast_snooping=0)
        bridge = host.link_lookup(ifname="br0")[0]
        host.link("set", index=bridge, state="up")
        host.addr("add", index=bridge, address="10.0.0.1", prefixlen=16)
        for node in range(nodes):
            endpoint(host, bridge, node)


def endpoint(host: IPRoute, bridge: int, node: int) -> None:
    """One namespace with its cable to the bridge."""
    name = f"ip.{node}"
    netns.create(name)
    host.link("add", ifname=f"v{node}", kind="veth", peer={"ifname": "eth0", "net_ns_fd": name})
    host.link("set", index=host.link_lookup(ifname=f"v{node}")[0], master=bridge, state="up")
    netns.pushns(name)  # NetNS(name) starts a process for each: twenty times slower
    with IPRoute() as inside:
        eth0 = inside.link_lookup(ifname="eth0")[0]
        inside.link("set", index=1, state="up")
        inside.link("set", index=eth0, state="up")
        inside.addr("add", index=eth0, address=str(ip_address("10.0.0.2") + node), prefixlen=16)
        inside.route("add", dst="default", gateway="10.0.0.1")
    netns.popns()


if __name__ == "__main__":
    main(int(sys.argv[1]))
