"""The port keys: the same on a node's network, a link's end, a network (all ports) and a link (both ends)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from netfab.topology import addresses, grammar
from netfab.topology.grammar import INTERFACE
from netfab.topology.reading import (
    Reader,
    Run,
    choice,
    listed,
    number,
    pattern,
    refused,
    reserved,
    scalar,
    words,
)
from netfab.topology.schema import PLANNED, Impairment, Interface, Port
from netfab.topology.tree import Tree
from netfab.tuples import NamedTuple


class Ip(NamedTuple):
    """`ip`, as fields of Port."""

    addresses: tuple[Interface, ...] = ()
    plain: bool = True
    no_address: bool = False
    dhcp: str = ""


NO_ADDRESS: Final = Ip(no_address=True)
DHCP: Final = Ip(dhcp="dhcp")
_NO_IMPAIRMENT: Final = Impairment()


def _interfaces() -> Reader[Ip]:
    """ADDRESS, ADDRESS/LEN, or a list in which all or none have a length."""
    some = listed(scalar(addresses.interface, pattern(r"[0-9a-fA-F:.]+(/\d+)?")), alone=True)

    def read(tree: Tree, path: str, run: Run) -> Ip:
        found = some.read(tree, path, run)
        plain = {plain for _, plain in found}
        if len(plain) > 1:
            raise run.error(
                tree, path, "some of the addresses have a length and some have none; write it for all or none"
            )
        return Ip(tuple(address for address, _ in found), plain != {False})

    return Reader(read, some.schema)


def _ip(written: Reader[Ip]) -> Reader[Ip]:
    return words({"none": NO_ADDRESS, "dhcp": DHCP}, written)


def bounded(least: int, most: int) -> Reader[int]:
    """A whole number between two."""
    return scalar(lambda text: grammar.whole(text, least, most), number(least, most))


FLAG: Final = choice({"true": True, "false": False})
DURATION: Final = scalar(grammar.duration, pattern(r"0|\d+(\.\d+)?(us|ms|s|m|h)"))
SHARE: Final = scalar(grammar.share, pattern(r"\d+(\.\d+)?%"))
RATE: Final = scalar(grammar.rate, pattern(r"\d+(\.\d+)?([kmgt]?bit)"))
MTU: Final = words({"auto": PLANNED}, bounded(68, 65535))  # RFC 791 to what a veth takes (drivers/net/veth.c)


IMPAIRMENTS: Final[dict[str, Reader[int]]] = {
    key: reader if key == "rate" else reserved(key, reader, 0)
    for key, reader in {
        "delay": DURATION,
        "jitter": DURATION,
        "loss": SHARE,
        "rate": RATE,
        "duplicate": SHARE,
        "reorder": SHARE,
        "corrupt": SHARE,
    }.items()
}
INTERFACE_NAME: Final = scalar(grammar.interface_name, pattern(INTERFACE))
PORT: Final[dict[str, Reader[Any]]] = {
    "ip": _ip(_interfaces()),
    "mac": scalar(addresses.mac, pattern(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")),
    "name": INTERFACE_NAME,
    "gateway": FLAG,
    "mtu": MTU,
    "spoof": choice({"deny": "deny", "allow": "allow"}),
    "allow": listed(scalar(addresses.allowed, pattern(r"[0-9a-fA-F:.-]+(/\d+)?"))),
    "masquerade": reserved("masquerade", FLAG, False),
    **IMPAIRMENTS,
}
# The port keys that a network or a link can set for all its ports.
_ONE_PORTS: Final = "is one port's own; write it at the port"
SHARED: Final[dict[str, Reader[Any]]] = {
    **PORT,
    "ip": _ip(refused(f"an address {_ONE_PORTS}")),
    "mac": refused(f"a MAC {_ONE_PORTS}"),
}


def port_of(values: Mapping[str, Any]) -> Port:
    """The Port of values by PORT's keys."""
    ip: Ip = values.get("ip", Ip())
    impairment = {key: values[key] for key in IMPAIRMENTS if key in values}
    return Port(
        *ip,
        **{
            key: values[key]
            for key in ("mac", "name", "gateway", "mtu", "spoof", "allow", "masquerade")
            if key in values
        },
        impairment=Impairment(**impairment) if impairment else _NO_IMPAIRMENT,
    )
