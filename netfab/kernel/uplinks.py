"""NICs whose addresses a bridge has taken over: what is where now. Only reads."""

from __future__ import annotations

from collections.abc import Sequence

from netfab.kernel.netlink import Netlink
from netfab.kernel.nics import belongings
from netfab.objects.base import HOST, Name
from netfab.objects.link import MASTER, Link
from netfab.objects.original import Original
from netfab.objects.uplink import Lent, Uplink
from netfab.objects.wire import number


def lent(netlink: Netlink, nic: Link, host: Sequence[Link], meant: Sequence[Uplink]) -> Lent:
    """That NIC, one of the host's links, combined with what is recorded of it.

    Without a record, the store is lost: then what the bridge has, and is not ours, is the NIC's.
    """
    names = {link.ifindex: link.name for link in host}
    indexes = {name: index for index, name in names.items()}
    master = names.get(number(nic.attrs.get(MASTER, b"")), "")
    bridge = master or next((thing.bridge.text for thing in meant if thing.bridge.text in indexes), "")
    bridge = bridge or meant[0].bridge.text
    on_nic = belongings(netlink, nic.ifindex, names)
    addresses, routes = belongings(netlink, indexes[bridge], names) if bridge in indexes else ((), ())
    if meant:
        original = meant[0].original
    else:
        original = Original.of(nic)._replace(
            alias="",
            addresses=tuple(address.on(nic.name, bridge) for address in addresses if not address.is_ours),
            routes=tuple(route for route in routes if not route.is_ours),
        )
    return Lent(
        original,
        Name(HOST, bridge),
        nic,
        master == bridge,
        (*on_nic[0], *on_nic[1]),
        (*addresses, *routes),
    )
