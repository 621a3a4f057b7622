"""What labs say in shell and netfab says in keys: `ip address add`, `ip route add`, `ifconfig`, `route`."""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_interface, ip_network

from netfab.tuples import NamedTuple

_IP = r"ip(?: -[46])?"
_ADDRESS = rf"{_IP} (?:a|addr|address) (?:a|add|replace) (\S+)(?: (?:brd|broadcast) \S+)? dev (\S+)"
_IFCONFIG = r"ifconfig (\S+) ([0-9./]+)(?: netmask ([0-9.]+))?(?: (?:broadcast|brd) [0-9.]+)?(?: up)?"
_ROUTE = rf"{_IP} (?:r|route) (?:a|add|replace) (\S+) via (\S+)(?: dev (\S+))?(?: metric ([0-9]+))?"
_OLD_ROUTE = r"route add (?:-net )?(\S+)(?: netmask ([0-9.]+))? gw (\S+)(?: dev (\S+))?"
_NEEDLESS = rf"{_IP} (?:l|link) set (?:dev )?\S+ up|ifconfig \S+ up"
_FORWARD = r"sysctl (?:-w )?net\.ipv[46]\.(?:conf\.all\.|ip_)?forward(?:ing)?=1"


class Meaning(NamedTuple):
    """What a command does, if it is one of those above."""

    interface: str = ""
    address: str = ""  # ADDRESS/LEN on the interface
    route: str = ""  # in the form of `routes`
    forward: bool = False


def meaning(command: str) -> Meaning | None:
    """Meaning() for a command that netfab does not need; None for an unknown one."""
    try:
        text = " ".join(shlex.split(command, comments=True))
        if match := re.fullmatch(_ADDRESS, text):
            return Meaning(match[2], str(ip_interface(match[1])))
        if match := re.fullmatch(_IFCONFIG, text):
            address = f"{match[2]}/{match[3]}" if match[3] else match[2]
            return Meaning(match[1], str(ip_interface(address))) if "/" in address else None
        if match := re.fullmatch(_ROUTE, text):
            return Meaning(route=_route(match[1], match[2], match[3], match[4]))
        if match := re.fullmatch(_OLD_ROUTE, text):
            length = f"/{match[2]}" if match[2] else ""
            return Meaning(route=_route(match[1] + length, match[3], match[4], None))
    except ValueError:
        return None
    if re.fullmatch(_FORWARD, text):
        return Meaning(forward=True)
    return Meaning() if not text or re.fullmatch(_NEEDLESS, text) else None


def _route(destination: str, via: str, device: str | None, metric: str | None) -> str:
    known = {"default": "default", "0.0.0.0/0": "default", "::/0": "default"}
    to = known.get(destination) or str(ip_network(destination, strict=False))
    return f"{to} via {via}{f' dev {device}' if device else ''}{f' metric {metric}' if metric else ''}"
