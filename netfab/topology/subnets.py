"""`subnet` and `ipv6` of a network or a link: which subnets are written, and which are to be planned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from netfab.topology import addresses
from netfab.topology.grammar import Wrong
from netfab.topology.reading import Reader, choice, listed, pattern, scalar, words
from netfab.topology.schema import Prefix, SubnetSpec

Subnets = tuple[Prefix | SubnetSpec, ...]
Families = Literal["4", "46", "6"]

SUBNETS: Final[dict[str, Reader[Any]]] = {
    "subnet": words(
        {"none": ()}, listed(scalar(addresses.subnet_or_size, pattern(r"[0-9a-fA-F:.]*/\d+")), alone=True)
    ),
    "ipv6": choice({"false": "4", "true": "46", "only": "6"}),
}


def subnets_of(
    values: Mapping[str, Any], own: Collection[str], planned: Mapping[Literal[4, 6], int | None]
) -> Subnets:
    """The subnets of values by SUBNETS's keys; `planned` has the size of those not written.

    own: the keys that the entry itself writes; a default of the whole file contradicts nothing.
    """
    written: tuple[Prefix | int, ...] | None = values.get("subnet")
    ipv6: Families | None = values.get("ipv6")
    if written == ():
        if ipv6 in ("46", "6") and "ipv6" in own and "subnet" in own:
            raise Wrong("`subnet: none` has no addresses, and `ipv6` asks for some; leave one of them out")
        return ()
    found: dict[Literal[4, 6], Prefix | SubnetSpec] = {}
    for item in written or ():
        family: Literal[4, 6]
        if isinstance(item, int):
            family = 6 if item > 31 or ipv6 == "6" else 4
            subnet: Prefix | SubnetSpec = SubnetSpec(family, item)
        else:
            family, subnet = item.version, item
        if family in found:
            raise Wrong(f"{item} is a second IPv{family} subnet; one of each family is the most")
        found[family] = subnet
    if ipv6 == "6" and 4 in found:
        raise Wrong(f"{found[4]} is an IPv4 subnet, and `ipv6: only` says that there is none")
    if ipv6 == "4" and 6 in found and "ipv6" in own:
        raise Wrong(f"{found[6]} is an IPv6 subnet, and `ipv6: false` says that there is none")
    if ipv6 == "46" or (ipv6 != "6" and not found):
        found.setdefault(4, SubnetSpec(4, planned[4]))
    if ipv6 in ("46", "6"):
        found.setdefault(6, SubnetSpec(6, planned[6]))
    return tuple(found[family] for family in sorted(found))
