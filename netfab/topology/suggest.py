"""Suggestions for an unknown key: "did you mean"."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

_COMPOSE, _CONTAINERLAB, _NETLAB = "compose calls it", "containerlab calls it", "netlab calls it"
_OF_COMPOSE = "`netfab convert` reads files of compose, which calls it"
_OF_CONTAINERLAB = "`netfab convert` reads files of containerlab, which has them under"
_OF_EACH = "each network of a node has its own"
MAX_COMPARED: Final = 200
# Keys of other tools: ours, or the one of several that is valid in that place; and the tool.
SYNONYMS: Final = {
    "services": ("nodes", _OF_COMPOSE),
    "topology": ("nodes", _OF_CONTAINERLAB),
    "ip": ("networks", _OF_EACH),
    "mac": ("networks", _OF_EACH),
    "ports": ("publish", _COMPOSE),
    "environment": ("env", _COMPOSE),
    "volumes": ("mounts", _COMPOSE),
    "binds": ("mounts", _CONTAINERLAB),
    "network_mode": ("mode", _COMPOSE),
    "network-mode": ("mode", _CONTAINERLAB),
    "cmd": ("command", _CONTAINERLAB),
    "cap-add": ("cap_add", _CONTAINERLAB),
    "capabilities": ("cap_add", ""),
    "ipv4_address": ("ip", _COMPOSE),
    "mgmt-ipv4": ("ip", _CONTAINERLAB),
    "mac_address": ("mac", _COMPOSE),
    "ip_range": ("range", _COMPOSE),
    "ipv4-range": ("range", _CONTAINERLAB),
    "healthcheck": ("ready", _COMPOSE),
    "groups": ("kinds kind", _CONTAINERLAB),
    "group": ("kind", _CONTAINERLAB),
    "startup-config": ("files", _CONTAINERLAB),
    "configs": ("files", _COMPOSE),
    "replicas": ("scale", _COMPOSE),
    "router": ("forward", ""),
    "connections": ("networks", "munet calls it"),
    "latency": ("delay", ""),
    "bandwidth": ("rate", _NETLAB),
    "packet-loss": ("loss", ""),
    "nat": ("masquerade", ""),
}


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for an unknown key, given the valid ones."""
    known = tuple(known)
    names, where = SYNONYMS.get(key, ("", ""))
    if meant := next((name for name in names.split() if name in known), ""):
        return f"unknown key; did you mean `{meant}`?{f' {where} `{key}`' if where else ''}"
    if near := nearest(key, known):
        return f"unknown key; did you mean `{near}`?"
    listed = ", ".join(sorted(known))
    return f"unknown key; the keys here are {listed}"


def did_you_mean(text: str, known: Collection[str]) -> str:
    """A hint if a known name is similar; else ""."""
    near = nearest(text, known)
    return f"did you mean `{near}`?" if near else ""


def nearest(text: str, known: Collection[str]) -> str:
    """The most similar known name; "" if none is, or if there are too many."""
    from difflib import get_close_matches  # 3 ms, only when there is an error

    return next(iter(get_close_matches(text[:64], known, 1)), "") if len(known) <= MAX_COMPARED else ""
