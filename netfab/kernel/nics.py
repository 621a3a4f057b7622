"""The NICs of a host, with all that a move would take from them. Only reads."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping

from netfab.kernel.dumps import ALL_ADDRESSES, ALL_LINKS, ALL_ROUTES
from netfab.kernel.netlink import Netlink
from netfab.objects.kept import KeptAddress, KeptRoute, kept_address, kept_routes
from netfab.objects.link import (
    AF_SPEC,
    IFALIAS,
    LINK,
    LOOPBACK_IFINDEX,
    MASTER,
    MOVED,
    Link,
    of_a_fabric,
)
from netfab.objects.original import Original
from netfab.objects.vlan import VLAN_ID
from netfab.objects.wire import IFINFO, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, number, parse, text
from netfab.plan.facts import FoundNic, Stacked

_SETTINGS = frozenset({AF_SPEC})  # attributes that hold a NIC's own settings


def nics(netlink: Netlink, moving: Collection[str] = ()) -> dict[str, FoundNic]:
    """Every link of the socket's namespace but lo, bridges, and what fabrics created or moved; by name.

    With the addresses and routes of those that are `moving`.
    """
    links = list(_links(netlink))
    names = {link.ifindex: link.name for _, link in links}
    return {
        link.name: FoundNic(
            _whole(netlink, link, names) if link.name in moving else Original.of(link),
            hardware,
            names.get(number(link.attrs.get(MASTER, b"")), ""),
            tuple(_stacked(link, links)),
            os.path.exists(f"/sys/class/net/{link.name}/phy80211"),
            tag=_tag(link, names),
        )
        for hardware, link in links
        if not _barred(link)
    }


def barred(netlink: Netlink) -> dict[str, str]:
    """Every link of the socket's namespace that a fabric can't use as a NIC, and why."""
    return {link.name: why for _, link in _links(netlink) if (why := _barred(link))}


def _barred(link: Link) -> str:
    alias = text(link.attrs.get(IFALIAS, b""))
    if link.ifindex == LOOPBACK_IFINDEX:
        return "the loopback interface"
    if alias.startswith(MOVED):
        return f"in use by fabric {alias.removeprefix(MOVED).partition(' ')[0]}"
    if of_a_fabric(link):
        return f"a {link.kind} that a fabric made ({alias or 'no label'})"
    return "a bridge" if link.kind == "bridge" else ""


def _stacked(nic: Link, links: Iterable[tuple[int, Link]]) -> Iterator[Stacked]:
    """Links on the NIC: VLANs, macvlans. A veth's peer is not one."""
    names = {link.ifindex: link.name for _, link in links}
    for _, link in links:
        if link.kind != "veth" and link is not nic and number(link.attrs.get(LINK, b"")) == nic.ifindex:
            yield Stacked(link.name, link.kind, names.get(number(link.attrs.get(MASTER, b"")), ""))


def _whole(netlink: Netlink, link: Link, names: Mapping[int, str]) -> Original:
    addresses, routes = belongings(netlink, link.ifindex, names)
    return Original.of(link)._replace(addresses=addresses, routes=routes)


def belongings(
    netlink: Netlink, ifindex: int, names: Mapping[int, str]
) -> tuple[tuple[KeptAddress, ...], tuple[KeptRoute, ...]]:
    """The addresses and routes of a link, without those that the kernel adds by itself."""
    kept = (kept_address(*message) for message in netlink.dump(RTM_GETADDR, ALL_ADDRESSES))
    addresses = tuple(found[1] for found in kept if found and found[0] == ifindex)
    return addresses, kept_routes(netlink.dump(RTM_GETROUTE, ALL_ROUTES), ifindex, names, addresses)


def _links(netlink: Netlink) -> Iterator[tuple[int, Link]]:
    """(ARPHRD_*, link) of each; with its settings, if a fabric could use it."""
    for data, start, end in netlink.dump(RTM_GETLINK, ALL_LINKS):
        _, hardware, index, flags, _ = IFINFO.unpack_from(data, start)
        link = Link.parse(index, flags, data, start + IFINFO.size, end)
        if not _barred(link):
            link.attrs.update(parse(data, start + IFINFO.size, end, _SETTINGS))
        yield hardware, link


def _tag(link: Link, names: Mapping[int, str]) -> tuple[str, int] | None:
    if link.kind != "vlan":
        return None
    return names.get(number(link.attrs.get(LINK, b"")), ""), number(link.info_data().get(VLAN_ID, b""))
