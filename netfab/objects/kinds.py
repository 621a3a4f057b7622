"""All kinds. A new one is a file beside this one, and its line here.

The module of a kind is imported when its turn comes: most fabrics have objects of a third of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import import_module
from typing import Any

from netfab.objects.base import Dump, Fabric
from netfab.tuples import NamedTuple


class Kind(NamedTuple):
    """Where a kind is defined, and what in a dump indicates that it may have objects of it."""

    name: str
    module: str
    field: str = ""  # of Dump, that is not empty then
    link: str = ""  # a link of this kind that carries the fabric's mark

    def load(self) -> type[Any]:
        """Import the kind."""
        found: type[Any] = getattr(import_module(f"netfab.objects.{self.module}"), self.name)
        return found


class Kinds:
    """Some of the kinds, each imported when needed."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds = kinds

    def __iter__(self) -> Iterator[type[Any]]:
        return (kind.load() for kind in self._kinds)

    def of(self, names: Collection[str]) -> Kinds:
        """The kinds with these names."""
        return Kinds(*(kind for kind in self._kinds if kind.name in names))

    def mentioned(self, text: str) -> list[type[Any]]:
        """The kinds that have an object in the text of Fabric.to_json."""
        return [kind.load() for kind in self._kinds if Fabric.mentioned(text, kind.name)]

    def shown(self, dump: Dump) -> list[type[Any]]:
        """The kinds that may have an object in the dump."""
        links = {link.kind for _, link in dump.marked}
        return [
            kind.load()
            for kind in self._kinds
            if (kind.link in links if kind.link else not kind.field or getattr(dump, kind.field))
        ]


KINDS = Kinds(
    Kind("Namespace", "namespace"),
    Kind("Guest", "guest", field="guests"),
    Kind("Sysctl", "sysctl", field="sysctls"),
    Kind("Borrowed", "borrowed", field="originals"),
    Kind("Bridge", "bridge"),
    Kind("Filtering", "filtering", link="bridge"),
    Kind("OvsBridge", "ovsbridge", field="switches"),
    Kind("Veth", "veth"),
    Kind("Vlan", "vlan", link="vlan"),
    Kind("Macvlan", "macvlan", link="macvlan"),
    Kind("Nic", "nic", field="nics"),
    Kind("XfrmState", "xfrm_state", field="xfrm"),
    Kind("XfrmPolicy", "xfrm_policy", field="xfrm"),
    Kind("Vxlan", "vxlan", link="vxlan"),
    Kind("Port", "port"),
    Kind("OvsPort", "ovsport", field="switches"),
    Kind("Uplink", "uplink", field="uplinks"),
    Kind("VxlanFdb", "vxlan_fdb", field="neighbours"),
    Kind("BridgeFdb", "bridge_fdb", field="neighbours"),
    Kind("Neighbour", "neighbour", field="neighbours"),
    Kind("Address", "address"),
    Kind("Route", "route"),
    Kind("Qdisc", "qdisc", field="qdiscs"),
    Kind("Dhcp", "dhcp", field="clients"),
    Kind("File", "file", field="files"),
    Kind("Firewall", "firewall", field="tables"),
    Kind("Passage", "passage", field="passages"),
    Kind("HeldPorts", "held"),
    Kind("Container", "container", field="containers"),
    Kind("Supervisor", "supervisor", field="supervised"),
    Kind("Bgp", "bgp", field="bgp"),
    Kind("BgpPeer", "bgp_peer", field="bgp"),
)
SWITCHED = frozenset({"OvsBridge", "OvsPort"})
# Kinds that can only be read one by one, kinds to be read elsewhere than in what is deleted, and kinds that
# still exist if Open vSwitch does not answer.
ASKED = KINDS.of({"Guest", "Sysctl", "Borrowed", "Qdisc", "Macvlan", "Nic", "Uplink", "Neighbour", *SWITCHED})
