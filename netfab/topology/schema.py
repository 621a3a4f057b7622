"""The words of a topology file, parsed: what load.py returns and plan/ reads.

Every default is filled in here or by load.py: ranges and `scale` are expanded, `kinds` and `defaults`
merged, so that nothing means "auto" by being None and nothing is a string that must be parsed again.
`PLANNED` stands for what the planner chooses. These are tuples, not dataclasses: 25 of them are defined in
2 ms instead of 15, which every start of the command pays (docs/decisions/0002). Knows nothing of the
kernel's words (objects/).

No `from __future__ import annotations` here: annotations as texts are compiled, each, by typing.
"""

from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final, Literal

from netfab.errors import Location
from netfab.tuples import NamedTuple

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network


class Planned(Enum):
    """Chosen by the planner."""

    PLANNED = "planned"


PLANNED: Final = Planned.PLANNED
DEVICE_ENDS: Final = ("host", "nic", "macvlan")  # `nic:eth0`: a link's end that is an interface of the host


class Places(NamedTuple):
    """Where an entry of the file begins, and where the values of its keys are."""

    own: Location
    keys: Mapping[str, Location] = {}

    def of(self, key: str) -> Location:
        """The key's value, or the entry itself if the key isn't written."""
        return self.keys.get(key, self.own)


class Pool(NamedTuple):
    """A pool of subnets: `pools`."""

    prefix: Prefix
    size: int  # the prefix length of a planned subnet
    at: Location


def default_pools(at: Location) -> tuple[Pool, ...]:
    """RFC 1918."""
    return tuple(
        Pool(IPv4Network(text), 24, at) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    )


class SubnetSpec(NamedTuple):
    """A subnet to be planned: its family, and the written size (None: the pool's)."""

    family: Literal[4, 6]
    size: int | None

    @property
    def version(self) -> Literal[4, 6]:
        """The family, named as in prefixes."""
        return self.family


class HostGateway(NamedTuple):
    """`gateway: host`, or an ADDRESS: the bridge has the first usable address, or that one."""

    addresses: tuple[Address, ...] = ()


class NodeGateway(NamedTuple):
    """`gateway: NODE`: it has the first usable address (or its written `ip`) and routes this network."""

    node: str


class ExternalGateway(NamedTuple):
    """`gateway: {external: ADDRESS}`: a router outside netfab."""

    addresses: tuple[Address, ...]


class NoGateway(NamedTuple):
    """`gateway: none`."""


Gateway = HostGateway | NodeGateway | ExternalGateway | NoGateway


class Impairment(NamedTuple):
    """What an end does to frames it sends: microseconds, parts per million, bits per second."""

    delay: int = 0
    jitter: int = 0
    loss: int = 0
    rate: int = 0
    duplicate: int = 0
    reorder: int = 0
    corrupt: int = 0


class Port(NamedTuple):
    """The port keys of one interface, with those of its network or link filled in.

    addresses: () = planned. `no_address` is `ip: none`, `dhcp` is `ip: dhcp`. An address written without a
    length has the host's (/32, /128) here, and `plain` says so: the planner gives it the subnet's length.
    """

    addresses: tuple[Interface, ...] = ()
    plain: bool = True
    no_address: bool = False
    dhcp: str = ""  # the client: `dhcp` (any); udhcpc, dhclient, dhcpcd not from files
    dhcp_options: tuple[str, ...] = ()  # not from files
    mac: str | Planned = PLANNED  # aa:bb:cc:dd:ee:ff, lower case
    name: str | Planned = PLANNED
    gateway: bool = False  # the node's default route goes through here
    mtu: int | Planned = PLANNED
    spoof: Literal["deny", "allow"] = "deny"
    allow: tuple[str, ...] = ()  # addresses, prefixes and MACs in canonical text
    masquerade: bool = False
    vlan: int = 0  # access VLAN, untagged; 0: the bridge's; not from files
    host_link: str = ""  # the host's end of the cable; "": planned; not from files
    impairment: Impairment = Impairment()


class Attachment(NamedTuple):
    """A node's interface on a network: one entry under `nodes.<name>.networks`."""

    network: str
    port: Port
    at: Places


class Publish(NamedTuple):
    """`8080:80`, `127.0.0.1:5353:53/udp`, `[::]:8000-8002:80-82`: one port each after ranges are expanded."""

    host_address: Address | None  # None: every address of the host
    host_port: int
    node_port: int
    protocol: Literal["tcp", "udp", "sctp"]
    at: Location

    def __str__(self) -> str:
        return f"{self.before}{self.host_port}:{self.node_port}/{self.protocol}"

    @property
    def before(self) -> str:
        """The host's address as written before the ports."""
        address = self.host_address
        return "" if address is None else f"[{address}]:" if address.version == 6 else f"{address}:"


class RouteSpec(NamedTuple):
    """A written route: `10.9.0.0/16 via hub dev eth1 metric 50`. No destination: the default route."""

    destination: Prefix | None
    via: Address | str | None  # an address, or a node's name
    dev: str | None
    metric: int | None
    kind: Literal["unicast", "blackhole", "unreachable", "prohibit"]
    at: Location


class Mount(NamedTuple):
    """`SOURCE:TARGET[:ro]`; the source is absolute (a relative one was taken from the file's directory)."""

    source: str
    target: str
    read_only: bool
    at: Location


class FileSpec(NamedTuple):
    """An entry of `files`: content or source is set; files/loading.py reads a source into content."""

    path: str
    content: str | None
    source: str | None
    mode: int
    owner: str
    at: Location


class Ready(NamedTuple):
    """When a node counts as ready: tcp (port), http (port, path), exec (argv) or log (regex)."""

    kind: Literal["tcp", "http", "exec", "log"]
    port: int = 0
    path: str = "/"
    argv: tuple[str, ...] = ()
    regex: str = ""
    within: float = 60.0  # seconds


Command = tuple[str, ...]


class Bridged(NamedTuple):
    """`mode: bridge`: interfaces on networks and links."""


class HostMode(NamedTuple):
    """`mode: host`: the host's own network namespace."""


class NoneMode(NamedTuple):
    """`mode: none`: a namespace with nothing but lo."""


class ContainerMode(NamedTuple):
    """`mode: container:NODE`: that node's network namespace."""

    node: str


Mode = Bridged | HostMode | NoneMode | ContainerMode


class ByCommand(NamedTuple):
    """Of a node made by `netfab run`: its program's streams, and whether it is removed at its end.

    The words of such a node are taken literally; `start` and `stop` decide whether its program runs.
    """

    terminal: bool = False
    stdin: Literal["", "once", "open"] = ""  # "": empty; once: ends with its writer; open: never ends
    separate: bool = False  # standard error is logged to a file of its own
    remove: bool = False  # remove the node when its program has ended


class Node(NamedTuple):
    """One node, after ranges, `scale`, `kinds` and `defaults`."""

    name: str
    base: str  # web for web-1..3 of `scale: 3`, for references to all of them; else the name
    n: int  # the number its name ends in (its number within a range or scale), else 1
    at: Places
    image: str = "host"
    command: Command | None = None  # None: the image's own, for image host none. () = `command: none`
    entrypoint: Command | None = None
    mode: Mode = Bridged()
    attachments: tuple[Attachment, ...] = ()
    publish: tuple[Publish, ...] = ()
    auto_routes: bool = True
    routes: tuple[RouteSpec, ...] = ()
    forward: bool = False
    loopback: tuple[Address, ...] | Planned = ()  # () none, PLANNED for `true`
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()
    hostname: str = ""  # "" = the node's name
    user: str = ""
    workdir: str = ""
    read_only: bool = False
    init: bool = False
    stop_signal: str = ""  # "": its image's; not from files
    sysctls: tuple[tuple[str, str], ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    memory: int | None = None  # bytes
    cpus: float | None = None
    pids: int | None = None
    restart: str = "no"  # no | always | on-failure[:N] | unless-stopped
    dns: tuple[str, ...] = ()  # addresses or node names
    files: tuple[FileSpec, ...] = ()
    exec: tuple[Command, ...] = ()
    ready: tuple[Ready, ...] = ()
    depends_on: tuple[str, ...] = ()
    runs_on: tuple[str, ...] = ()
    attach: str = ""
    by_command: ByCommand | None = None  # not from files


class VxlanSpec(NamedTuple):
    """`vxlan`: how a network extends to other hosts."""

    vni: int | Planned = PLANNED
    port: int = 4789  # UDP; RFC 7348
    control: Literal["static", "multicast", "evpn"] = "static"


class Network(NamedTuple):
    """One network."""

    name: str
    at: Places
    bridge: str | Planned = PLANNED
    subnets: tuple[Prefix | SubnetSpec, ...] = (SubnetSpec(4, None),)  # () = `subnet: none`
    gateway: Gateway = HostGateway()
    range: tuple[Prefix, ...] = ()  # at most one per family
    internal: bool = False
    isolated: bool = False
    masquerade: bool = True
    mtu: int | Planned = PLANNED
    external: bool | str = False  # True, or FABRIC/NETWORK
    uplink: tuple[tuple[str, str], ...] = ()  # (host or "", NIC)
    hosts: tuple[str, ...] = ()
    vxlan: VxlanSpec | None = VxlanSpec()  # None: it stays on one host
    encrypt: bool = False
    openvswitch: bool = False  # an Open vSwitch bridge; not from files
    guarded: bool = True  # False: no firewall rules of ours; not from files


class Endpoint(NamedTuple):
    """One end of a link. `node` may be `host:IF`, `nic:IF` or `macvlan:IF`."""

    node: str
    port: Port
    at: Places

    @property
    def is_outside(self) -> bool:
        """Whether it is an interface of the host."""
        kind, colon, _ = self.node.partition(":")
        return bool(colon) and kind in DEVICE_ENDS


class Outside(NamedTuple):
    """An end of a link that is an interface of the host."""

    kind: str  # host, nic or macvlan
    device: str
    port: Port
    at: Places


class Link(NamedTuple):
    """A point-to-point veth, or a node on a NIC of the host; after `between`, `pairs`, `chain` and `ring`."""

    ends: tuple[Endpoint, Endpoint]
    subnets: tuple[Prefix | SubnetSpec, ...]  # () = `subnet: none`; a planned one is a /31 (IPv6 /127)
    cost: int
    at: Places

    @property
    def outside(self) -> Outside | None:
        """The end that is no node's, if any; at most one is."""
        for end in self.ends:
            if end.is_outside:
                kind, _, device = end.node.partition(":")
                return Outside(kind, device, end.port, end.at)
        return None

    @property
    def name(self) -> str:
        """Stable in a file: the two ends with their interface names, as far as written."""
        return " ".join(
            end.node if end.port.name is PLANNED else f"{end.node}:{end.port.name}" for end in self.ends
        )


class HostEntry(NamedTuple):
    """One of `hosts:`."""

    name: str
    address: Address | None
    ssh: str
    at: Places
    reflector: bool = False  # a BGP route reflector for the other hosts


class Reserved(NamedTuple):
    """A valid key that has no effect in this version of netfab yet."""

    key: str
    at: Location


class Check(NamedTuple):
    """A sentence of `checks`, of one node and one other end: `web reaches db on tcp/5432 via r within 2s`."""

    source: str  # a node, its address, or `host`: the test runs in it
    target: str  # a node, an address, `host` or `internet`
    reaches: bool  # False: does not reach
    protocol: Literal["icmp", "tcp", "udp"]
    port: int  # 0: ICMP echo
    via: str  # a node; "": any path
    within: float | None  # seconds; None: one try
    at: Location


ETCD_PREFIX: Final = "/netfab"
ETCD_OPTIONS: Final = {"ca": "ca", "cert": "cert", "key": "key", "password-file": "password_file"}


class Etcd(NamedTuple):
    """`store: etcd://…`: where controllers share leases and locks. Paths are absolute; "" for none."""

    endpoints: tuple[str, ...]  # HOST:PORT
    prefix: str = ETCD_PREFIX  # of all keys
    tls: bool = False
    user: str = ""
    password_file: str = ""
    ca: str = ""  # CA certificates for the members; "": the system's
    cert: str = ""  # the client's, if etcd asks for one
    key: str = ""

    def __str__(self) -> str:
        """As in files. Contains no secret."""
        user = f"{self.user}@" if self.user else ""
        said = [f"{name}={value}" for name, field in ETCD_OPTIONS.items() if (value := getattr(self, field))]
        options = f"?{'&'.join(said)}" if said else ""
        prefix = self.prefix if self.prefix != ETCD_PREFIX else ""
        return f"etcd{'s' if self.tls else ''}://{user}{','.join(self.endpoints)}{prefix}{options}"


class Topology(NamedTuple):
    """A whole file."""

    name: str
    at: Places
    pools: tuple[Pool, ...]
    avoid: tuple[Prefix, ...]
    networks: Mapping[str, Network]  # in file order
    nodes: Mapping[str, Node]  # in file order
    links: tuple[Link, ...]
    hosts: Mapping[str, HostEntry]
    checks: tuple[Check, ...]
    store: Etcd | None  # None: each host keeps its own
    reserved: tuple[Reserved, ...]
    origin: str = ""  # identifies the file; "" if its content alone does not
    text: str = ""  # the file's own, if nothing else was read
    asked: tuple[
        tuple[str, str, str], ...
    ] = ()  # (kind, key, text) of leases that stand for a command's words

    @property
    def uses_nics(self) -> bool:
        """Whether an end of a link or network is an interface of the host."""
        return any(link.outside is not None for link in self.links) or any(
            network.uplink for network in self.networks.values()
        )
