"""The steps that are no rtnetlink message: namespaces, deletes by name, files, sysctls, nft, containers.

Plain data; kernel/ and runtime/ carry them out. Together with wire.Request this is all that a change can ask
for. As in topology/schema.py, annotations are no texts: defining these takes half as long.
"""

from typing import Any

from netfab.objects.base import HOST, Name
from netfab.tuples import NamedTuple


class NewNamespace(NamedTuple):
    """A network namespace that appears at /run/netns whole: lo grouped and up, then bound."""

    name: Name
    group: int
    space: str = HOST


class DelNamespace(NamedTuple):
    """Unmount it; what is in it goes when nothing else holds it open."""

    name: Name
    space: str = HOST


class EnterGuest(NamedTuple):
    """From here on that guest is its space: of two that had the name, the one that is meant."""

    guest: Any  # of objects/guest.py
    space: str = HOST

    def __str__(self) -> str:
        return f"enter {self.guest}"


class DelLink(NamedTuple):
    """Delete a link. All of a phase go together, by group: one RCU grace period instead of one each."""

    link: Name
    group: int  # the fabric's; the sweep uses its scratch group

    @property
    def space(self) -> str:
        """Where the link is."""
        return self.link.space


class AwaitCarrier(NamedTuple):
    """Wait until a bridge carries what one of its ports does; no longer than that port has a carrier."""

    bridge: Name
    port: Name
    space: str = HOST

    def __str__(self) -> str:
        return f"wait for {self.bridge}"


class AwaitAddresses(NamedTuple):
    """Wait until the kernel takes what comes for the IPv6 addresses that a link was just given."""

    link: Name
    space: str = HOST


class CopyNeighbours(NamedTuple):
    """Have a link know the neighbours that another one knows: nothing depends on it but a question less."""

    source: Name
    target: Name
    space: str = HOST


class WriteFile(NamedTuple):
    """Write in place (a bind mount of the file must see it), creating parents."""

    path: str
    mode: int
    content: str
    space: str = HOST


class RemoveFile(NamedTuple):
    """Remove the file and the directories above it that it leaves empty, up to the fabric's own."""

    path: str
    space: str = HOST


class WriteSysctl(NamedTuple):
    """Write below /proc/sys; `key` has slashes: net/ipv6/conf/br0/accept_ra."""

    space: str
    key: str
    value: str
    optional: bool = False  # fine where the kernel has no such file (IPv6 turned off)


class Ovs(NamedTuple):
    """One transaction of Open vSwitch: all of it, or nothing."""

    commands: tuple[tuple[str, ...], ...]  # of ovs-vsctl(8)
    doing: str
    ends: bool = False  # fine when what it is about is gone already
    space: str = HOST

    def __str__(self) -> str:
        return self.doing


class DropRules(NamedTuple):
    """Delete the rules of a foreign nft chain that carry our comment."""

    family: str
    table: str
    chain: str
    comment: str
    space: str = HOST


class StartContainer(NamedTuple):
    """Start a node's program and wait until it is ready; `container` is that of objects/container.py."""

    name: str
    container: Any
    space: str = HOST


class ChangeContainer(NamedTuple):
    """Change what can change while it runs: limits, restart policy."""

    name: str
    container: Any
    space: str = HOST


class HaltContainer(NamedTuple):
    """End its program, and keep what it wrote; where there is none, keep that there was to be one."""

    name: str
    container: Any
    space: str = HOST


class PauseContainer(NamedTuple):
    """Halt its processes where they are, or let them go on."""

    name: str
    paused: bool
    space: str = HOST


class StopContainer(NamedTuple):
    """Stop it and remove what it wrote."""

    name: str
    space: str = HOST


class WakeSupervisor(NamedTuple):
    """Start the fabric's supervisor where none lives."""

    fabric: str
    space: str = HOST


class StartClient(NamedTuple):
    """Start a DHCP client, and wait until it has a lease."""

    client: Any  # of objects/dhcp.py
    space: str = HOST


class StopClient(NamedTuple):
    """Give the lease back, and end the client."""

    client: Any
    space: str = HOST


class TellBgp(NamedTuple):
    """Statements for the host's bgpd, each with those that it stands under; kept for when it starts again."""

    statements: tuple[tuple[str, ...], ...]
    doing: str
    ends: bool = False  # fine when what it is about is gone already
    space: str = HOST

    def __str__(self) -> str:
        return self.doing


class HoldPorts(NamedTuple):
    """Have the fabric's supervisor hold these ports of the host, and no others."""

    fabric: str
    ports: tuple[str, ...]
    space: str = HOST


class ReleasePorts(NamedTuple):
    """Let go of all of them, and leave nothing of a supervisor that has nothing else to do."""

    fabric: str
    space: str = HOST


class ResetSysctl(NamedTuple):
    """Put back what a new namespace of this host has, by the key `new` there."""

    space: str
    key: str
    new: str


class Xfrm(NamedTuple):
    """One message to NETLINK_XFRM. It may hold a key, and never says so."""

    type: int
    flags: int
    body: bytes
    doing: str
    ends: bool = False  # fine when what it is about is gone already
    space: str = HOST

    def __repr__(self) -> str:
        return self.doing


class DelTable(NamedTuple):
    """End a table of nft's with all that is in it; that it is gone already is fine."""

    family: str
    table: str
    doing: str
    space: str = HOST

    def __str__(self) -> str:
        return self.doing


class Nft(NamedTuple):
    """One transaction of nft: all of it, or nothing."""

    commands: str  # JSON; libnftables-json(5)
    doing: str
    space: str = HOST

    def __str__(self) -> str:
        return self.doing
