"""What each key of a topology file means, in a line: editors show it, by way of `netfab schema`.

One dictionary for each table of readers, with its keys; a test holds the two together. Which values a key
takes is the reader's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Meanings = Mapping[str, str]

PORT: Final[Meanings] = {
    "ip": "Address, with or without its prefix length, or a list; `none`; `dhcp`. Left out: planned.",
    "mac": "MAC of the interface. Left out: derived from fabric, node and interface.",
    "name": "Name of the interface. Left out: eth0, eth1 … in file order. BASE.N: VLAN N on the cable BASE.",
    "gateway": "Whether the node's default route goes here.",
    "mtu": "Largest packet in bytes; `auto`: that of the device by which the host's default route leaves.",
    "spoof": "`deny`: it sends only with its own MAC and addresses and those of `allow`.",
    "allow": "More addresses, prefixes and MACs that it may send with, such as a VIP.",
    "masquerade": "Whether what leaves here takes the port's address.",
    "delay": "How long each frame that it sends is held back: `20ms`.",
    "jitter": "By how much the delay varies: `5ms`.",
    "loss": "Share of the frames that it sends that are lost: `1%`.",
    "rate": "The most that it sends: `100mbit`.",
    "duplicate": "Share of the frames that it sends that are sent twice.",
    "reorder": "Share of the frames that it sends that overtake others.",
    "corrupt": "Share of the frames that it sends with a wrong bit.",
}

_SUBNETS: Final[Meanings] = {
    "subnet": "Prefix, or `/22`: planned, of that size; or one of each family; `none`. Left out: planned.",
    "ipv6": "`false`; `true`: IPv6, too; `only`: no IPv4.",
}

NETWORK: Final[Meanings] = {
    **PORT,
    **_SUBNETS,
    "bridge": "Name of the host's bridge. Left out: br- and the network's name, where that is free.",
    "gateway": "`host`, an address of the host, a node that routes it, `{external: ADDRESS}`, or `none`.",
    "range": "Part of the subnet that planned addresses come from.",
    "internal": "No way out: no default route, no masquerade, no publish.",
    "isolated": "Its ports reach only the gateway, not each other.",
    "masquerade": "Whether what leaves takes the host's address; `false`: routed, reachable from outside.",
    "external": "`true`: the bridge is somebody else's, and gets only ports; or FABRIC/NETWORK.",
    "uplink": "NIC of the host that becomes a port of the bridge, which gets its addresses and routes.",
    "hosts": "Hosts that have the bridge even without members.",
    "vxlan": "How it spans hosts; `none`: it does not.",
    "encrypt": "Whether it is encrypted between hosts.",
}

VXLAN: Final[Meanings] = {
    "vni": "VXLAN network identifier. Left out: planned.",
    "port": "UDP port.",
    "control": "How a host learns what is behind others.",
}

GATEWAY: Final[Meanings] = {"external": "Address of a router that netfab does not run."}

NODE: Final[Meanings] = {
    "kind": "One of `kinds`, whose keys this node has unless it writes them itself.",
    "image": "`host`: the host's own files, read-only below a private layer; a registry's NAME[:TAG|@DIGEST];"
    " `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`; the directory or tar of a root file system.",
    "command": "Its program: a list, or a text for the shell; `none`: no program. Left out: the image's.",
    "entrypoint": "What stands before the command.",
    "mode": "`bridge`; `host`: the host's network; `none`: none; `container:NODE`: that node's network.",
    "networks": "Networks that it is on: a list of names, or a map from names to the keys of its ports.",
    "publish": "Ports of the host that are this node's: `[ADDRESS:]HOSTPORT:PORT[/udp]`, or ranges.",
    "routes": "`auto`, `none`, or routes as ip-route(8) writes them, on top of auto; `via` takes a node.",
    "forward": "A router, although no `gateway:` names it.",
    "loopback": "`true`, an address or a list: on lo, routed to, and what the node's name means first.",
    "env": "Variables of its program.",
    "mounts": "Files and directories of the host that its program sees: `SOURCE:TARGET[:ro]`.",
    "devices": "Devices of the host that its program may use.",
    "hostname": "Left out: the node's name.",
    "user": "USER[:GROUP] that its program runs as.",
    "workdir": "Directory that its program starts in.",
    "read_only": "Whether its root can't be written to; what is mounted there can.",
    "init": "Whether process 1 is an init, which reaps, and passes signals on to the program.",
    "sysctls": "Sysctls of its namespace, and of its interfaces: `net.ipv4.conf.eth0.proxy_arp`.",
    "cap_add": "Capabilities on top of the default ones.",
    "cap_drop": "Capabilities less than the default ones.",
    "memory": "The most memory: `512m`.",
    "cpus": "The most processors: `1.5`.",
    "pids": "The most processes and threads.",
    "restart": "When its program starts again: `no`, `always`, `unless-stopped`, `on-failure[:N]`.",
    "dns": "Name servers: nodes or addresses. Left out: the host's, where there is a way out.",
    "files": "Files in the node, by their paths.",
    "exec": "Commands that run in it with all capabilities once its network is up.",
    "ready": "When it counts as ready: `tcp/80`, or one test, or a list of tests.",
    "depends_on": "Nodes that are ready before this one starts.",
    "scale": "How many there are: NAME-1, NAME-2 …; the name means all of them.",
    "runs_on": "Host that runs it, or several.",
    "attach": "A container that somebody else runs: `docker:NAME`.",
}

FILE: Final[Meanings] = {
    "content": "What is in it.",
    "source": "File of the host that it is a copy of.",
    "mode": "Permissions, in octal.",
    "owner": "UID:GID.",
}

READY: Final[Meanings] = {
    "tcp": "A port that takes connections.",
    "http": "A port and path, `:80/health`, that is answered without an error.",
    "exec": "A command that ends with 0.",
    "log": "A regular expression that a line of its output matches.",
    "within": "How long that may take: `60s`.",
}

LINK: Final[Meanings] = {
    **PORT,
    **_SUBNETS,
    "endpoints": "The two ends: `NODE`, `NODE:INTERFACE`, or a map with port keys.",
    "between": "Two groups of nodes: a link for every pair.",
    "pairs": "Two groups of nodes: a link from the first to the first, and so on.",
    "chain": "Nodes: a link from each to the next.",
    "ring": "Nodes: a chain whose last is linked to its first.",
    "cost": "What routes count it for.",
}

END: Final[Meanings] = {**PORT, "node": "The node, or NODE:INTERFACE."}

POOL: Final[Meanings] = {
    "prefix": "Where subnets are taken from.",
    "size": "Prefix length of a planned subnet.",
}

HOST: Final[Meanings] = {
    "address": "Address of its end of tunnels.",
    "ssh": "How to log in: root@ADDRESS. Left out: this machine.",
    "reflector": "Whether it passes on what the others say by BGP: each talks to the reflectors only.",
}

TOP: Final[Meanings] = {
    "name": "The fabric's name. Left out: the file's, for topology.yaml that of its directory.",
    "pools": "Where subnets are taken from. Left out: the private prefixes of IPv4.",
    "avoid": "Prefixes that are never chosen, on top of what the host routes or resolves through.",
    "defaults": "Keys of nodes and networks, for all that have them and don't write them.",
    "kinds": "Sets of node keys, by the names that `kind:` gives.",
    "store": "Where leases and locks are: on each host (`sqlite`), or in an etcd: `etcd://HOST:PORT,HOST:PORT`.",
    "networks": "Networks, by name; each is a bridge of the host.",
    "nodes": "Nodes, by name; `leaf1..4` is four of them.",
    "links": "Cables between two nodes.",
    "hosts": "Machines that the fabric spans, by name.",
    "checks": "Who reaches whom: `web reaches db on tcp/5432`, `a does not reach b`.",
    "include": "Files whose entries are read, too, as if they stood here. Relative to this file.",
}
