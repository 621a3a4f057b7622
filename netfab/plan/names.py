"""Generated names and MACs: stable, derived by hashing, from our own alphabet.

How they are derived is part of the applied state: changing a line here renames links on running hosts.
"""

from __future__ import annotations

from collections.abc import Container

from netfab.objects.digest import digest

IFNAMSIZ = 15  # characters of an interface's name, linux/if.h
EVERYWHERE = "*"  # in place of an interface's name: no interface can have it


def _digest(*parts: str) -> bytes:
    return digest("/".join(parts).encode())


def vlan_link(fabric: str, nic: str, vlan: int, taken: Container[str]) -> str:
    """The host's link for a VLAN of a NIC: eth0.20, as is usual, if short enough and free."""
    name = f"{nic}.{vlan}"
    return name if len(name) <= IFNAMSIZ and name not in taken else host_link(fabric, nic, str(vlan))


def mac_of(*parts: str) -> str:
    """A locally administered unicast MAC (IEEE 802, section 8.2): 02 and five bytes of a hash."""
    return (b"\x02" + _digest(*parts)[:5]).hex(":")


def bridge_mac(machine: str, fabric: str, network: str) -> str:
    """Of a network's bridge. `machine` makes it unique: a machine's id, or a host's name in the file."""
    return mac_of(machine, fabric, network)


def host_link(fabric: str, node: str, interface: str) -> str:
    """The host's end of a node's veth."""
    return f"nf{_digest('link', fabric, node, interface).hex()[:12]}"


def bridge_name(fabric: str, network: str, taken: Container[str]) -> str:
    """`br-<network>` if that is free and short enough, else `br-<hash>`."""
    name = f"br-{network}"
    if len(name) <= IFNAMSIZ and name not in taken:
        return name
    return f"br-{_digest('bridge', fabric, network).hex()[:12]}"


def text_hash(text: str) -> str:
    """A short name for a text."""
    return digest(text.encode()).hex()[:12]
