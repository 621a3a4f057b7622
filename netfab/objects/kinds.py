"""All kinds. A new one is a file beside this one, and its name here."""

from __future__ import annotations

from typing import Any

from netfab.objects.address import Address
from netfab.objects.bgp import Bgp
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.borrowed import Borrowed
from netfab.objects.bridge import Bridge
from netfab.objects.bridge_fdb import BridgeFdb
from netfab.objects.container import Container
from netfab.objects.dhcp import Dhcp
from netfab.objects.file import File
from netfab.objects.filtering import Filtering
from netfab.objects.firewall import Firewall
from netfab.objects.guest import Guest
from netfab.objects.held import HeldPorts
from netfab.objects.macvlan import Macvlan
from netfab.objects.namespace import Namespace
from netfab.objects.neighbour import Neighbour
from netfab.objects.nic import Nic
from netfab.objects.ovsbridge import OvsBridge
from netfab.objects.ovsport import OvsPort
from netfab.objects.passage import Passage
from netfab.objects.port import Port
from netfab.objects.qdisc import Qdisc
from netfab.objects.route import Route
from netfab.objects.supervisor import Supervisor
from netfab.objects.sysctl import Sysctl
from netfab.objects.uplink import Uplink
from netfab.objects.veth import Veth
from netfab.objects.vlan import Vlan
from netfab.objects.vxlan import Vxlan
from netfab.objects.vxlan_fdb import VxlanFdb
from netfab.objects.xfrm_policy import XfrmPolicy
from netfab.objects.xfrm_state import XfrmState

KINDS: tuple[type[Any], ...] = (
    Namespace,
    Guest,
    Sysctl,
    Borrowed,
    Bridge,
    Filtering,
    OvsBridge,
    Veth,
    Vlan,
    Macvlan,
    Nic,
    XfrmState,
    XfrmPolicy,
    Vxlan,
    Port,
    OvsPort,
    Uplink,
    VxlanFdb,
    BridgeFdb,
    Neighbour,
    Address,
    Route,
    Qdisc,
    Dhcp,
    File,
    Firewall,
    Passage,
    HeldPorts,
    Container,
    Supervisor,
    Bgp,
    BgpPeer,
)
# What can only be read by asking for each, and what has to be looked for elsewhere than in what ends.
ASKED = (Guest, Sysctl, Borrowed, Qdisc, Macvlan, Nic, Uplink, Neighbour)
