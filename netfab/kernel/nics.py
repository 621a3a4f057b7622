"""The NICs of a host, with all that a move would take from them. Only reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from netfab.kernel.netlink import Netlink
from netfab.kernel.observe import ALL_ADDRESSES, ALL_LINKS, ALL_ROUTES
from netfab.objects.link import IFALIAS, LINK, LOOPBACK_IFINDEX, MASTER, MOVED, Link, of_a_fabric
from netfab.objects.original import Original, kept_address, kept_routes
from netfab.objects.vlan import VLAN_ID
from netfab.objects.wire import IFINFO, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, number
from netfab.plan.facts import FoundNic


def nics(netlink: Netlink, moving: Collection[str] = ()) -> dict[str, FoundNic]:
    """Every link of the socket's namespace but lo, bridges, and what fabrics made or moved; by name.

    With the addresses and routes of those that are `moving`.
    """
    links = list(_links(netlink))
    names = {link.ifindex: link.name for _, link in links}
    return {
        link.name: FoundNic(
            _whole(netlink, link, names) if link.name in moving else Original.of(link),
            hardware,
            names.get(number(link.attrs.get(MASTER, b"")), ""),
            tag=_tag(link, names),
        )
        for hardware, link in links
        if link.ifindex != LOOPBACK_IFINDEX and link.kind != "bridge" and not _ours(link)
    }


def _whole(netlink: Netlink, link: Link, names: Mapping[int, str]) -> Original:
    addresses = (kept_address(*message) for message in netlink.dump(RTM_GETADDR, ALL_ADDRESSES))
    return Original.of(link)._replace(
        addresses=tuple(found[1] for found in addresses if found and found[0] == link.ifindex),
        routes=kept_routes(netlink.dump(RTM_GETROUTE, ALL_ROUTES), link.ifindex, names),
    )


def _links(netlink: Netlink) -> Iterator[tuple[int, Link]]:
    """(ARPHRD_*, link) of each."""
    for data, start, end in netlink.dump(RTM_GETLINK, ALL_LINKS):
        _, hardware, index, flags, _ = IFINFO.unpack_from(data, start)
        yield hardware, Link.parse(index, flags, data, start + IFINFO.size, end, whole=True)


def _tag(link: Link, names: Mapping[int, str]) -> tuple[str, int] | None:
    if link.kind != "vlan":
        return None
    return names.get(number(link.attrs.get(LINK, b"")), ""), number(link.info_data().get(VLAN_ID, b""))


def _ours(link: Link) -> bool:
    return of_a_fabric(link) or link.attrs.get(IFALIAS, b"").startswith(MOVED.encode())
