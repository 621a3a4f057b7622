"""The words of `netfab attach`, which are pipework's: IP[/LEN][@GW], [MAC][@VLAN], families. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from netfab.errors import NetfabError, Unsupported
from netfab.topology import addresses, grammar
from netfab.topology.grammar import Wrong, interface_name, quoted
from netfab.topology.schema import Address, Interface
from netfab.tuples import NamedTuple

T = TypeVar("T")
FAMILIES = {"4": 4, "inet": 4, "6": 6, "inet6": 6}
DEFAULT_INTERFACE = "eth1"
_STATION = r"U:.+|@[0-9]+|[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}(@[0-9]+)?"  # words that are no addresses


class Addressing(NamedTuple):
    """What the words for one interface say: an empty one is `0/0`."""

    interfaces: tuple[Interface, ...] = ()
    plain: tuple[Address, ...] = ()  # without a length: the bridge's subnet gives it, or else it is required
    gateways: tuple[Address, ...] = ()
    dhcp: str = ""  # the client: dhcp (any), udhcpc, dhclient, dhcpcd
    dhcp_options: tuple[str, ...] = ()


TOOLS = {"route": ("ip", "route"), "rule": ("ip", "rule"), "tc": ("tc",)}  # in place of a bridge
_SEARCHED = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")


def tool(name: str, words: Iterable[str], family: str, exists: Callable[[str], bool]) -> tuple[str, ...]:
    """The command for `route`, `rule` or `tc`, in the guest. Raises Unsupported if it is missing."""
    program, *said = TOOLS[name]
    for directory in _SEARCHED:
        if exists(f"{directory}/{program}"):
            of_family = (f"-{FAMILIES[family]}",) if family in FAMILIES and program == "ip" else ()
            return (f"{directory}/{program}", *of_family, *said, *words)
    raise Unsupported(f"`{name}` runs {program}, which is missing here", hint="install iproute2")


DHCP = ("dhcp", "udhcpc", "dhclient", "dhcpcd")


def addressing(words: Iterable[str], family: str = "") -> Addressing:
    """IP[/LEN][@GW], several, of both families. Raises NetfabError for what is not an address."""
    found = Addressing()
    wanted = FAMILIES.get(family)
    if family and wanted is None:
        raise NetfabError(f"-a {family}: write 4, 6, inet or inet6")
    for word in words:
        client, _, options = word.partition(":")
        if client in DHCP:
            found = found._replace(dhcp=client, dhcp_options=tuple(options.split()))
            continue
        text, at, gateway = word.partition("@")
        if at:
            found = found._replace(gateways=(*found.gateways, _parsed(addresses.host_address, gateway)))
        if text in ("0/0", "::/0"):
            continue
        interface, plain = _parsed(addresses.interface, text)
        if wanted not in (None, interface.version):
            raise NetfabError(f"{text} is not an IPv{wanted} address, and `-a {family}` asks for one")
        if plain:
            found = found._replace(plain=(*found.plain, interface.ip))
        else:
            found = found._replace(interfaces=(*found.interfaces, interface))
    return found


def sorted_out(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """The words that are addresses, and at most one that is MAC and VLAN. Raises NetfabError."""
    addresses: list[str] = []
    stations: list[str] = []
    for word in words:
        (stations if re.fullmatch(_STATION, word) else addresses).append(word)
    if len(stations) > 1:
        raise NetfabError(f"{' and '.join(stations)}: an interface has one MAC")
    return addresses, stations


class NoNetmask(NetfabError):
    """pipework's own message, which scripts look for."""

    def __init__(self, address: Address) -> None:
        length = 24 if address.version == 4 else 64
        super().__init__(f"The IP address should include a netmask.\nMaybe you meant {address}/{length} ?")


def mac_and_vlan(word: str) -> tuple[str, int]:
    """[MAC][@VLAN]: "" is derived, 0 no VLAN. `U:STRING` is the MAC that pipework derives from the string."""
    text, at, vlan = word.partition("@") if not word.startswith("U:") else _split_last(word)
    if at and not (vlan.isascii() and vlan.isdigit() and 1 <= int(vlan) <= 4094):
        raise NetfabError(f"{quoted(vlan)} is not a VLAN: 1 to 4094")
    number = int(vlan) if at else 0
    if text.startswith("U:"):
        return mac_of_string(text[2:]), number
    return _parsed(addresses.mac, text) if text else "", number


def _split_last(word: str) -> tuple[str, str, str]:
    text, at, vlan = word.rpartition("@")
    return (text, at, vlan) if at and vlan.isdigit() else (word, "", "")


def mac_of_string(text: str) -> str:
    """Like `echo STRING | md5sum`: 02 and the first five bytes (locally administered, unicast)."""
    from hashlib import md5

    return (b"\x02" + md5(f"{text}\n".encode(), usedforsecurity=False).digest()[:5]).hex(":")


def mac_of_far_side(text: str) -> str:
    """The address in `mac:ADDRESS`; "" for a name."""
    return _parsed(addresses.mac, text[4:]) if text.startswith("mac:") else ""


def interface(text: str) -> str:
    """Check an interface's name."""
    return _parsed(interface_name, text)


def rate(text: str) -> int:
    """Bits per second."""
    return _parsed(grammar.rate, text)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except Wrong as wrong:
        raise NetfabError(str(wrong)) from None
