"""What fabrics of a host share: bridges, addresses on them, and attachments to them. Only reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.store.store import Store
from netfab.topology.adhoc import NAME, Asked, Attachment
from netfab.topology.schema import Address, HostGateway, Interface, Network, NoGateway, Topology

Summary = dict[str, Any]
Networks = Mapping[str, Mapping[str, Any]]  # the networks of a summary


def asked(store: Store) -> Asked:
    """All requests of `attach` and the like."""
    leases = store.leases(NAME)
    kept = [Attachment.from_json(lease.value) for lease in leases if lease.kind == "attachment"]
    made = frozenset(lease.key for lease in leases if lease.kind == "made")
    uplinks = {lease.key: lease.value for lease in leases if lease.kind == "uplink"}
    return Asked({one.key: one for one in kept}, made, uplinks)


def fabric_of_bridge(store: Store, bridge: str) -> str:
    """The network of a file that has that bridge, in words; "" if none."""
    for record in store.records():
        if record.name != NAME:
            for name, found in json.loads(record.summary)["networks"].items():
                if found["bridge"] == bridge and not found["external"]:
                    return f"network {name} of fabric {record.name}"
    return ""


def subnets_on_bridges(store: Store) -> dict[str, list[Interface]]:
    """By bridge, the subnets of files' networks, even if the host has no address there."""
    subnets: dict[str, list[Interface]] = {}
    for networks in networks_of(store).values():
        for found in networks.values():
            subnets.setdefault(found["bridge"], []).extend(map(ip_interface, found["subnets"]))
    return subnets


def held_on_bridges(store: Store, besides: str) -> dict[str, dict[Address, str]]:
    """By bridge, the addresses of other fabrics there, and their holders."""
    found: dict[str, dict[Address, str]] = {}
    for record in store.records():
        if record.name != besides:
            summary = json.loads(record.summary)
            for bridge, address, holder in (
                *_held_elsewhere(record.name, summary["networks"], store),
                *_held(record.name, summary),
            ):
                found.setdefault(bridge, {})[address] = holder
    return found


def _held_elsewhere(name: str, networks: Networks, store: Store) -> Iterator[tuple[str, Address, str]]:
    """Leased addresses on multi-host networks: this host's summary lacks the nodes on other hosts."""
    if not any("hosts" in chosen for chosen in networks.values()):
        return
    for lease in store.leases(name):
        network, _, seat = lease.key.partition("/")
        if lease.kind == "address" and "hosts" in networks.get(network, {}):
            who = seat.partition("/")[0].partition("#")[0]
            holder = f"host {who[1:]}" if who.startswith("@") else f"node {who}"
            yield networks[network]["bridge"], ip_address(lease.value), f"{holder} of fabric {name}"


def _held(name: str, summary: Summary) -> Iterator[tuple[str, Address, str]]:
    networks = summary["networks"]
    for network, chosen in networks.items():
        for text in () if chosen["external"] else chosen["gateways"]:
            yield chosen["bridge"], ip_address(text), f"the gateway of network {network} of fabric {name}"
    for node, found in summary["nodes"].items():
        holder = f"guest {node}" if name == NAME else f"node {node} of fabric {name}"
        for network, texts in found["addresses"].items():
            if network in networks:
                for text in texts:
                    yield networks[network]["bridge"], ip_address(text), holder


def networks_of(store: Store) -> dict[str, Summary]:
    """The networks of every fabric of the host."""
    return {record.name: json.loads(record.summary)["networks"] for record in store.records()}


def joined(topology: Topology, networks: Mapping[str, Networks]) -> Topology:
    """The topology with every `external: FABRIC/NETWORK` resolved. Raises PlanError."""
    found: dict[str, Network] = {}
    errors: list[NetfabError] = []
    for name, network in topology.networks.items():
        try:
            found[name] = _joined(network, networks) if isinstance(network.external, str) else network
            if isinstance(network.external, str):
                _refuse_planned(topology, network, networks)
        except PlanError as error:
            error.at = network.at.of("external")
            errors.append(error)
    raise_all(errors)
    return topology._replace(networks=found)


def _refuse_planned(topology: Topology, network: Network, networks: Mapping[str, Networks]) -> None:
    """Refuse planned addresses: hosts would choose independently, maybe the same. Raises PlanError."""
    fabric, _, there = str(network.external).partition("/")
    hosts = networks[fabric][there].get("hosts", ())
    for node in topology.nodes.values():
        for one in node.attachments:
            port = one.port
            if hosts and one.network == network.name and not (port.addresses or port.no_address or port.dhcp):
                raise PlanError(
                    f"network {network.external} is on {', '.join(hosts)}, which would not know"
                    f" of an address that is chosen for {node.name} here",
                    hint="write one (`run --ip`, or `ip` in a file) that no other host gives to anybody",
                )


def _joined(network: Network, networks: Mapping[str, Networks]) -> Network:
    fabric, _, there = str(network.external).partition("/")
    if fabric not in networks:
        names = ", ".join(networks) or "none"
        raise PlanError(f"there is no fabric {fabric} on this host", hint=f"there are {names}")
    known = networks[fabric]
    if there not in known:
        raise PlanError(f"fabric {fabric} has no network {there}", hint=f"it has {', '.join(known)}")
    chosen = known[there]
    gateways = tuple(map(ip_address, chosen["gateways"]))
    return network._replace(
        external=True,
        bridge=chosen["bridge"],
        subnets=tuple(map(ip_network, chosen["subnets"])),
        gateway=HostGateway(gateways) if gateways else NoGateway(),
    )
