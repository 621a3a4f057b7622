"""The keys of a network, and the Network that they make."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from netfab.topology import addresses, grammar, meanings
from netfab.topology.addresses import is_within
from netfab.topology.grammar import INTERFACE, NAME, Wrong
from netfab.topology.port import FLAG, INTERFACE_NAME, MTU, SHARED, bounded
from netfab.topology.reading import (
    Json,
    Reader,
    Record,
    Run,
    choice,
    listed,
    map_of,
    named,
    parsed,
    pattern,
    read_record,
    record_schema,
    scalar,
    words,
)
from netfab.topology.schema import (
    Address,
    ExternalGateway,
    Gateway,
    HostGateway,
    Network,
    NodeGateway,
    NoGateway,
    Prefix,
    SubnetSpec,
    VxlanSpec,
)
from netfab.topology.subnets import SUBNETS, subnets_of
from netfab.topology.tree import Map, Scalar, Sequence, Tree

_ADDRESS: Final = scalar(addresses.host_address, pattern("[0-9a-fA-F:.]+"))
_ADDRESSES: Final = listed(_ADDRESS, alone=True)
_EXTERNAL_GATEWAY: Final[dict[str, Reader[Any]]] = {"external": _ADDRESSES}
_HOST: Final = scalar(grammar.name, pattern(NAME))
_VXLAN: Final[dict[str, Reader[Any]]] = {
    "vni": bounded(1, 2**24 - 1),  # RFC 7348, section 5
    "port": bounded(1, 65535),
    "control": choice({word: word for word in ("static", "multicast", "evpn")}),
}


def _gateway(tree: Tree, path: str, run: Run) -> Gateway:
    """ADDRESS, a list of them, NODE, or `{external: ADDRESS}`."""
    if type(tree) is Sequence:
        return HostGateway(_ADDRESSES.read(tree, path, run))
    if type(tree) is Scalar and (":" in tree.text or tree.text[:1].isdigit()):
        return HostGateway((_ADDRESS.read(tree, path, run),))
    if type(tree) is Scalar:
        return NodeGateway(parsed(grammar.node_name, tree, path, run))
    wrong = len(run.errors)
    written = read_record(_EXTERNAL_GATEWAY, map_of(tree, path, run), path, run)
    if not written.values.get("external"):
        if len(run.errors) > wrong:
            raise run.errors.pop()
        raise run.error(
            tree, path, "`{external: ADDRESS}` is a router that netfab does not run; its address is expected"
        )
    return ExternalGateway(written.values["external"])


_GATEWAY_SCHEMA: Final[Json] = {
    "anyOf": [
        pattern(f"{NAME}|[0-9a-fA-F:.]+"),
        _ADDRESSES.schema,
        record_schema(_EXTERNAL_GATEWAY, meanings.GATEWAY),
    ]
}


def _external(text: str) -> str:
    fabric, slash, network = text.partition("/")
    if not slash:
        raise Wrong(f"{grammar.quoted(text)} is neither `true` nor FABRIC/NETWORK")
    return f"{grammar.fabric_name(fabric)}/{grammar.name(network)}"


def _uplink(tree: Tree, path: str, run: Run) -> tuple[tuple[str, str], ...]:
    """A NIC of this host, or of each host by name."""
    if type(tree) is Map:
        return _UPLINKS.read(tree, path, run)
    return (("", INTERFACE_NAME.read(tree, path, run)),)


def _vxlan(tree: Tree, path: str, run: Run) -> VxlanSpec:
    return VxlanSpec(**read_record(_VXLAN, map_of(tree, path, run), path, run).values)


_UPLINKS: Final = named(grammar.name, INTERFACE_NAME, NAME)
NETWORK: Final[dict[str, Reader[Any]]] = {
    **SHARED,
    **SUBNETS,
    "bridge": scalar(grammar.interface_name, pattern(INTERFACE)),
    "gateway": words({"host": HostGateway(), "none": NoGateway()}, Reader(_gateway, _GATEWAY_SCHEMA)),
    "range": listed(scalar(addresses.prefix, pattern(r"[0-9a-fA-F:.]+/\d+")), alone=True),
    "internal": FLAG,
    "isolated": FLAG,
    "masquerade": FLAG,
    "mtu": MTU,
    "external": words(
        {"true": True, "false": False},
        scalar(_external, pattern(f"{NAME}/{NAME}")),
    ),
    "uplink": Reader(_uplink, {"anyOf": [INTERFACE_NAME.schema, _UPLINKS.schema]}),
    "hosts": listed(_HOST),
    "vxlan": words({"none": None}, Reader(_vxlan, record_schema(_VXLAN, meanings.VXLAN))),
    "encrypt": FLAG,
}
_PLAIN: Final = ("bridge", "internal", "isolated", "mtu", "external", "uplink", "hosts", "vxlan", "encrypt")


def network_of(name: str, record: Record, own: Collection[str], unread: Collection[str], run: Run) -> Network:
    """The Network; contradictions between its keys are added to the run's errors.

    own: the keys that the network itself writes, unlike the file's defaults, which contradict nothing.
    unread: keys that were read only in part, from which nothing follows.
    """
    values = record.values
    subnets: tuple[Prefix | SubnetSpec, ...] = (SubnetSpec(4, None),)
    try:
        subnets = subnets_of(values, own, {4: None, 6: None})
    except Wrong as wrong:
        run.error_at(record.at.of("subnet"), str(wrong))
    network = Network(
        name,
        record.at,
        subnets=subnets,
        gateway=values.get("gateway", HostGateway()) if subnets else NoGateway(),
        range=values.get("range", ()),
        **{key: values[key] for key in _PLAIN if key in values},
    )
    for key, message in _contradictions(network, values, values.keys() & set(own), unread):
        run.error_at(record.at.of(key), message)
    routed_here = isinstance(network.gateway, HostGateway) and not network.internal
    return network._replace(masquerade=routed_here and values.get("masquerade", True))


def _contradictions(
    network: Network, values: dict[str, Any], own: Collection[str], unread: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Each key that contradicts another, and the message."""
    gateway = network.gateway
    if not network.subnets:
        for key in ("gateway", "range"):
            if key in own and values[key] not in (NoGateway(), ()):
                yield key, f"`subnet: none` has no addresses, so no `{key}`"
        return
    if "masquerade" in own and values["masquerade"]:
        if not isinstance(gateway, HostGateway):
            yield (
                "masquerade",
                "the host masquerades only a network whose gateway it is; leave one of the two out",
            )
        elif network.internal:
            yield "masquerade", "`internal: true` has no way out to masquerade; leave one of the two out"
    if network.external is True and "bridge" not in {*values, *unread}:
        yield "external", "`external: true` is a bridge that somebody else made; `bridge:` must name it"
    if {"subnet", "ipv6"}.isdisjoint(unread):
        if isinstance(gateway, HostGateway | ExternalGateway):
            yield from (("gateway", message) for message in _outside(gateway.addresses, network))
        yield from (("range", message) for message in _ranges(network))
    if (
        isinstance(network.mtu, int)
        and network.mtu < 1280
        and any(each.version == 6 for each in network.subnets)
    ):
        yield "mtu", f"IPv6 needs an MTU of at least 1280 (RFC 8200, section 5), not {network.mtu}"


def _outside(gateways: tuple[Address, ...], network: Network) -> Iterator[str]:
    families = set()
    for address in gateways:
        subnet = written_subnet(network, address.version)
        if address.version in families:
            yield f"{address} is a second IPv{address.version} gateway; one of each family is the most"
        families.add(address.version)
        if subnet is None:
            yield f"a gateway at {address} needs a written `subnet:` that it is in"
        elif message := unusable(address, subnet):
            yield message


def _ranges(network: Network) -> Iterator[str]:
    families = set()
    for part in network.range:
        subnet = written_subnet(network, part.version)
        if part.version in families:
            yield f"{part} is a second IPv{part.version} range; one of each family is the most"
        families.add(part.version)
        if subnet is None:
            yield f"the range {part} needs a written `subnet:` that it is part of"
        elif not is_within(part, subnet):
            yield f"the range {part} is not part of the subnet {subnet}"


def written_subnet(network: Network, family: int) -> Prefix | None:
    """The network's written subnet of that family, if any."""
    for subnet in network.subnets:
        if not isinstance(subnet, SubnetSpec) and subnet.version == family:
            return subnet
    return None


def unusable(address: Address, subnet: Prefix) -> str:
    """Why an interface on the subnet can't have the address; "" if it can."""
    if address not in subnet:
        return f"{address} is not in the subnet {subnet}"
    if subnet.prefixlen >= subnet.max_prefixlen - 1:  # RFC 3021, RFC 6164: both addresses are usable
        return ""
    if address == subnet.network_address:
        return f"{address} is the subnet's own address; the first usable one is {subnet.network_address + 1}"
    if subnet.version == 4 and address == subnet.broadcast_address:
        last = subnet.broadcast_address - 1
        return f"{address} is the broadcast address of {subnet}; the last usable one is {last}"
    return ""
