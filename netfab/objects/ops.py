"""The steps that are no rtnetlink message: namespaces, deletes by name, files, sysctls, nft, containers.

Plain data; kernel/ and runtime/ carry them out. Together with wire.Request this is all that a change can ask
for. As in topology/schema.py, annotations are no texts: defining these takes half as long.
"""

from typing import Any

from netfab.objects.base import HOST, Name
from netfab.tuples import NamedTuple


class NewNamespace(NamedTuple):
    """Create a network namespace that appears complete at /run/netns: lo grouped and up, then bound."""

    name: Name
    group: int
    space: str = HOST


class DelNamespace(NamedTuple):
    """Unmount it; its contents go when nothing else holds it open."""

    name: Name
    space: str = HOST


class EnterGuest(NamedTuple):
    """Let the space be that guest's from here on: of two with the name, select the one meant."""

    guest: Any  # from objects/guest.py
    space: str = HOST

    def __str__(self) -> str:
        return f"enter {self.guest}"


class DelLink(NamedTuple):
    """Delete a link. All of a phase go together, by group: one RCU grace period instead of one each."""

    link: Name
    group: int  # the fabric's; the sweep uses its scratch group

    @property
    def space(self) -> str:
        """The link's space."""
        return self.link.space


class AwaitCarrier(NamedTuple):
    """Wait until a bridge has the carrier of one of its ports, as long as that port has one."""

    bridge: Name
    port: Name
    space: str = HOST

    def __str__(self) -> str:
        return f"wait for {self.bridge}"


class AwaitAddresses(NamedTuple):
    """Wait until the kernel accepts packets to the IPv6 addresses that were just added to a link."""

    link: Name
    space: str = HOST


class CopyNeighbours(NamedTuple):
    """Copy one link's neighbours to another: this only saves some neighbour discovery."""

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
    """Remove the file and the directories that become empty, up to the fabric's own."""

    path: str
    space: str = HOST


class WriteSysctl(NamedTuple):
    """Write below /proc/sys; `key` has slashes: net/ipv6/conf/br0/accept_ra."""

    space: str
    key: str
    value: str
    optional: bool = False  # fine if the kernel has no such file (IPv6 turned off)


class Ovs(NamedTuple):
    """One transaction of Open vSwitch: all of it, or nothing."""

    commands: tuple[tuple[str, ...], ...]  # for ovs-vsctl(8)
    doing: str
    ends: bool = False  # fine if its object is gone already
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
    """Start a node's program and wait until it is ready; `container` is from objects/container.py."""

    name: str
    container: Any
    space: str = HOST


class ChangeContainer(NamedTuple):
    """Change what can change while it runs: limits, restart policy."""

    name: str
    container: Any
    space: str = HOST


class HaltContainer(NamedTuple):
    """Stop its program and keep its data; if there is none, record that there should be one."""

    name: str
    container: Any
    space: str = HOST


class PauseContainer(NamedTuple):
    """Freeze its processes, or let them go on."""

    name: str
    paused: bool
    space: str = HOST


class StopContainer(NamedTuple):
    """Stop it and remove its data."""

    name: str
    space: str = HOST


class WakeSupervisor(NamedTuple):
    """Start the fabric's supervisor if none is running."""

    fabric: str
    space: str = HOST


class StartClient(NamedTuple):
    """Start a DHCP client, and wait until it has a lease."""

    client: Any  # from objects/dhcp.py
    space: str = HOST


class StopClient(NamedTuple):
    """Release the lease, and end the client."""

    client: Any
    space: str = HOST


class TellBgp(NamedTuple):
    """Statements for the host's bgpd, each with its parents; stored for when it starts again."""

    statements: tuple[tuple[str, ...], ...]
    doing: str
    ends: bool = False  # fine if its object is gone already
    space: str = HOST

    def __str__(self) -> str:
        return self.doing


class HoldPorts(NamedTuple):
    """Have the fabric's supervisor hold these ports of the host, and no others."""

    fabric: str
    ports: tuple[str, ...]
    space: str = HOST


class ReleasePorts(NamedTuple):
    """Release all of them, and end a supervisor that has nothing else to do, leaving nothing of it."""

    fabric: str
    space: str = HOST


class ResetSysctl(NamedTuple):
    """Restore the value that a new namespace of this host has, under the key `new` there."""

    space: str
    key: str
    new: str


class Xfrm(NamedTuple):
    """One message to NETLINK_XFRM. It may hold a key, and never shows it."""

    type: int
    flags: int
    body: bytes
    doing: str
    ends: bool = False  # fine if its object is gone already
    space: str = HOST

    def __repr__(self) -> str:
        return self.doing


class DelTable(NamedTuple):
    """Delete an nft table with all that is in it, if it still exists."""

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
