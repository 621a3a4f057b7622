"""What the planner is told of this host: routes, nameservers, other managers' networks.

Only reads; needs no root.
"""

from __future__ import annotations

import json
import os
from _socket import if_nametoindex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from netfab.errors import NoAnswer
from netfab.kernel import openvswitch
from netfab.kernel.drops import sees_bridged_frames
from netfab.kernel.dumps import addresses, links, routes
from netfab.kernel.netlink import Netlink
from netfab.kernel.nft import rules_of
from netfab.objects.address import IFA_ADDRESS, IFA_LOCAL
from netfab.objects.bridge import STP_STATE
from netfab.objects.link import LOOPBACK_IFINDEX, MASTER, Link, is_moved_by, owned
from netfab.objects.port import default_vlans
from netfab.objects.route import KIND_NAMES, RTA_DST, RTA_MULTIPATH, RTA_OIF, UNICAST, RouteMessage
from netfab.objects.wire import AF_INET, AF_INET6, IFF_MULTICAST, MARK, number, parse_hops
from netfab.plan.facts import Device, Facts, Frr, OpenVSwitch
from netfab.plan.subnets import Reservation
from netfab.system.files import read_of_others
from netfab.system.proc import text_of

if TYPE_CHECKING:
    from netfab.objects.ovsdb import Switch

PODMAN_NETWORKS = "/etc/containers/networks"
DAEMONS = ("/run/docker.sock", "/run/podman/podman.sock")  # that speak Docker's API
_CONFIGURATION = 8 << 20  # bytes of one of Podman's files
_FRR = ("/usr/lib/frr", "/usr/libexec/frr")  # Debian's, Fedora's
_ZEBRA = "/run/frr/zserv.api"  # where the system's own zebra listens
_NEVER = (ip_network("127.0.0.0/8"), ip_network("169.254.0.0/16"), ip_network("224.0.0.0/4"))


def gather(fabric: str, netlink: Netlink, found: list[Link]) -> Facts:
    """Facts for planning that fabric: about the socket's host, whose links are in `found`."""
    names = {link.ifindex: link.name for link in found}
    own = {link.ifindex for link in found if owned(link, fabric)}
    table = routes(netlink, ours=False)
    uplinks = list(
        dict.fromkeys(
            names[index]
            for route in table
            if _is_default(route)
            for index in _devices(route)
            if index in names  # else it was created after the links were read
        )
    )
    resolvers = tuple(dict.fromkeys(nameservers()))
    reservations = [
        *_routed(table, names, own),
        *(Reservation(ip_network(server), "a nameserver of this host") for server in resolvers),
        *_docker(),
        *_podman(),
    ]
    return Facts(
        reservations=tuple(dict.fromkeys(reservations)),
        links=frozenset(link.name for link in found if link.ifindex not in own),
        mtu=min((_mtu(found, name) for name in uplinks[:1]), default=1500),
        nameservers=tuple(server for server in resolvers if not ip_address(server).is_loopback),
        uplinks=tuple(uplinks),
        machine=_machine(),
        ipv6=os.path.exists("/proc/net/if_inet6"),
        sysctls=dict(_borrowable(uplinks)),
        docker=tuple(_docker_chains(found)),
        bridged_frames=sees_bridged_frames(),
        openvswitch=_open_vswitch(),
        frr=frr(),
        devices=tuple(_devices_with_addresses(netlink, found, own)),
        vnis=tuple(
            (_vni(link), f"{link.name}'s on this host")
            for link in found
            if link.kind == "vxlan" and link.ifindex not in own
        ),
    )


def _vni(link: Link) -> int:
    from netfab.objects.vxlan import ID  # few hosts have any

    return number(link.info_data()[ID])


def _devices_with_addresses(netlink: Netlink, found: list[Link], own: set[int]) -> Iterator[Device]:
    held: dict[int, list[IPv4Address | IPv6Address]] = {}
    for message in addresses(netlink):
        packed = message.attrs.get(IFA_LOCAL) or message.attrs[IFA_ADDRESS]
        held.setdefault(message.ifindex, []).append(ip_address(packed))
    for link in found:
        if link.ifindex in held and link.ifindex not in own and link.ifindex != LOOPBACK_IFINDEX:
            multicast = bool(link.flags & IFF_MULTICAST)
            yield Device(link.name, link.mtu, tuple(held[link.ifindex]), multicast)


def _open_vswitch() -> OpenVSwitch | None:
    try:
        found = openvswitch.read()
    except NoAnswer:
        return OpenVSwitch("", {}, answers=False)
    if found is None:
        return None
    return OpenVSwitch(openvswitch.datapath(), {switch.name: switch.datapath for switch in found})


def frr() -> Frr | None:
    """FRR's zebra and bgpd, if they are installed."""
    for directory in _FRR:
        if all(os.access(f"{directory}/{daemon}", os.X_OK) for daemon in ("zebra", "bgpd")):
            return Frr(directory, _listens(_ZEBRA))
    return None


def _listens(path: str) -> bool:
    if not os.path.exists(path):
        return False
    from netfab.kernel import daemon  # where FRR runs

    return daemon.listens(path)


def _switches() -> tuple[Switch, ...]:
    """Those of an Open vSwitch that answers; if it does not, the facts say so."""
    with suppress(NoAnswer):
        return openvswitch.read() or ()
    return ()


def _docker_chains(found: list[Link]) -> Iterator[str]:
    """Families in which Docker has DOCKER-USER, its chain for the rules of others."""
    if os.geteuid() == 0 and any(link.name == "docker0" for link in found):
        from netfab.objects.passage import CHAIN, TABLE

        yield from (family for family in ("ip", "ip6") if rules_of(family, TABLE, CHAIN) is not None)


def _borrowable(uplinks: list[str]) -> Iterator[tuple[str, str]]:
    """The host's sysctls that forwarding to the outside needs, with their current values."""
    for device in (*uplinks, "all"):
        for key in (
            f"net/ipv4/conf/{device}/forwarding",
            f"net/ipv6/conf/{device}/force_forwarding",
            f"net/ipv6/conf/{device}/forwarding",
            f"net/ipv6/conf/{device}/accept_ra",
        ):
            with suppress(OSError):
                yield key, text_of(f"/proc/sys/{key}").strip()


def is_link(name: str) -> bool:
    """Whether the caller's namespace has a link of that name."""
    try:
        return bool(if_nametoindex(name))
    except OSError:
        return False


def bridges(fabric: str, netlink: Netlink) -> dict[str, dict[str, Any]]:
    """Every bridge of the socket's namespace: its addresses, ports, MTU and MAC, by name.

    Whether it is up and runs spanning tree (`stp`); whether it is Open vSwitch's, whether the fabric made it
    (`own`), and whether others put ports on it (`shared`); if it filters VLANs, the default one (`vlan`).
    """
    found = links(netlink)
    held = addresses(netlink)

    filters = default_vlans(found)

    def told(bridge: Link, ports: Iterable[str], own: bool, shared: bool, switch: bool) -> dict[str, Any]:
        return {
            "addresses": [
                f"{ip_address(message.attrs.get(IFA_LOCAL) or message.attrs[IFA_ADDRESS])}/{message.length}"
                for message in held
                if message.ifindex == bridge.ifindex
            ],
            "ports": list(ports),
            "mtu": bridge.mtu,
            "mac": bridge.mac,
            "up": bridge.up,
            "stp": bool(number(bridge.info_data().get(STP_STATE, b""))) and not switch,
            "own": own,
            "shared": shared,
            "openvswitch": switch,
            "vlan": filters.get(bridge.ifindex),
        }

    known = {}
    for bridge in (link for link in found if link.kind == "bridge"):
        ports = [link for link in found if number(link.attrs.get(MASTER, b"")) == bridge.ifindex]
        shared = not all(owned(link, fabric) or is_moved_by(link, fabric) for link in ports)
        known[bridge.name] = told(
            bridge, (link.name for link in ports), owned(bridge, fabric), shared, switch=False
        )
    by_name = {link.name: link for link in found}
    for switch in _switches():
        if (link := by_name.get(switch.name)) is not None:  # else Open vSwitch could not set it up
            names = (port.name for port in switch.ports if port.name != switch.name)
            shared = bool(switch.others(fabric))
            known[switch.name] = told(link, names, switch.fabric == fabric, shared, switch=True)
    return known


def _routed(table: list[RouteMessage], names: dict[int, str], own: set[int]) -> Iterator[Reservation]:
    for route in table:
        devices = _devices(route)
        if route.kind not in KIND_NAMES or route.length <= 1 or (devices and own.issuperset(devices)):
            continue  # 0/0, 0/1 and 128/1 are default routes, not networks
        if route.kind != UNICAST and route.protocol == MARK:
            continue  # some fabric's, whose subnets are known
        if RTA_DST not in route.attrs or route.family not in (AF_INET, AF_INET6):
            continue
        prefix = _network(route)
        if (
            not prefix.is_link_local
            and not prefix.is_multicast
            and not any(prefix.version == never.version and prefix.overlaps(never) for never in _NEVER)
        ):
            through = ", ".join(dict.fromkeys(names.get(index, "?") for index in devices))
            refused = f"refused by a {KIND_NAMES[route.kind]} route of this host"
            yield Reservation(
                prefix, f"routed via {through} on this host" if route.kind == UNICAST else refused
            )


def _network(route: RouteMessage) -> IPv4Network | IPv6Network:
    packed = route.attrs[RTA_DST]
    return (
        IPv4Network((packed, route.length))
        if route.family == AF_INET
        else IPv6Network((packed, route.length))
    )


def _is_default(route: RouteMessage) -> bool:
    return route.length == 0 and route.kind == UNICAST and route.family == AF_INET


def _devices(route: RouteMessage) -> list[int]:
    if RTA_OIF in route.attrs:
        return [number(route.attrs[RTA_OIF])]
    return [index for index, _, _ in parse_hops(route.attrs.get(RTA_MULTIPATH, b""))]


def _mtu(found: list[Link], name: str) -> int:
    return next(link.mtu for link in found if link.name == name)


def nameservers() -> Iterator[str]:
    """This host's upstream resolvers; behind systemd-resolved's stub, the ones that uses."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        with suppress(OSError):
            for line in read_of_others(path).decode(errors="replace").splitlines():
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver":
                    with suppress(ValueError):
                        yield str(ip_address(words[1].partition("%")[0]))


def _machine() -> str:
    with suppress(OSError):
        return read_of_others("/etc/machine-id").decode(errors="replace").strip()
    return os.uname().nodename


def _podman() -> Iterator[Reservation]:
    with suppress(OSError), os.scandir(PODMAN_NETWORKS) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            with suppress(OSError, ValueError, RecursionError):
                network = json.loads(read_of_others(entry.path, _CONFIGURATION))
                yield from _subnets(network, "subnets", "subnet", "podman")


def _docker() -> Iterator[Reservation]:
    """Docker's networks; none if the daemon doesn't answer in time, or its answer is invalid."""
    for path in filter(os.path.exists, DAEMONS):
        from netfab.kernel import daemon  # where there is one

        answer: Any = None
        with suppress(OSError, NoAnswer):
            answer = daemon.get(path, "/networks")
        for network in answer if isinstance(answer, list) else ():
            ipam = network.get("IPAM") if isinstance(network, dict) else None
            if isinstance(ipam, dict):
                yield from _subnets({"name": network.get("Name"), **ipam}, "Config", "Subnet", "docker")


def _subnets(network: Any, several: str, one: str, manager: str) -> Iterator[Reservation]:
    configured = network.get(several) if isinstance(network, dict) else None
    for entry in configured if isinstance(configured, list) else ():
        with suppress(ValueError, AttributeError, TypeError):
            yield Reservation(
                ip_network(entry[one], strict=False), f"{manager} network {network.get('name')!s}"
            )
