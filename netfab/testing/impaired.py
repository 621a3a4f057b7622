"""Impairments of a cable besides pulling it: rate limits and loss; and the state it gets back.

Runs in a sandbox. Frames are dropped by one nft table for each interface and impairment: incoming ones
(`ingress`) and outgoing ones (`egress`).
"""

from __future__ import annotations

import json
import socket
import subprocess
import uuid
from collections.abc import Collection, Sequence
from errno import ENOENT

from netfab.engine import apply as engine
from netfab.errors import NetfabError
from netfab.kernel.netlink import Netlink
from netfab.kernel.nft import program
from netfab.objects.address import Address
from netfab.objects.base import HOST, Fabric, Name, node_space
from netfab.objects.kinds import KINDS
from netfab.objects.neighbour import Neighbour
from netfab.objects.qdisc import Qdisc
from netfab.objects.route import Route
from netfab.objects.veth import Veth
from netfab.objects.wire import Request, encode
from netfab.testing.inside import Place, enter, enter_host
from netfab.where import HERE, last_applied, opened_host, opened_store

_EARLY = -500  # priority: before any other chain of that hook


def limit(place: Place, interface: str, rate: int) -> None:
    """Limit a node's interface to `rate` bits per second; 0: as it was applied. Raises OSError."""
    link = Name(HOST, interface)
    planned = _planned(place, interface)
    enter(place)
    qdisc = Qdisc(link, max((rate or planned) // 8, 1) * 8)
    index = socket.if_nametoindex(interface)
    for request in qdisc.update(qdisc) if rate or planned else qdisc.delete():
        assert isinstance(request, Request)
        refused = Netlink().batch([(1, encode(request, lambda _: index, 1))])
        if refused and (rate or planned or refused[1][0] != ENOENT):  # it had no rate
            raise OSError(*refused[1])


def _planned(place: Place, interface: str) -> int:
    """The applied rate in bits per second; 0: unlimited."""
    enter_host(place.host)
    link = Name(node_space(place.fabric, place.node), interface)
    with opened_store(HERE) as store:
        applied = last_applied(store, place.fabric, KINDS)
    return next((thing.rate for thing in applied.values() if type(thing) is Qdisc and thing.link == link), 0)


def give_back(place: Place, interface: str) -> None:
    """Restore what the node lost on that interface while it was down, and nothing else."""
    enter_host(place.host)
    link = Name(node_space(place.fabric, place.node), interface)
    with opened_store(HERE) as store, opened_host(place.fabric, HERE) as host:
        applied = last_applied(store, place.fabric, KINDS)
        own = host.observe(place.fabric, (applied,)).own
        cables = (thing for thing in own.values() if isinstance(thing, Veth))
        working = {end.link for cable in cables for end in cable.ends if end.up}
        back = [
            _by(thing, working, applied) if isinstance(thing, Route) else thing
            for thing in applied.values()
            if isinstance(thing, Address | Neighbour | Route) and link in thing.needs
        ]
        engine.apply(Fabric(place.fabric, (*own.values(), *back)), host, (applied,))


def _by(route: Route, working: Collection[Name], applied: Fabric) -> Route:
    """The route without hops over other pulled cables, which the kernel would refuse."""
    return route._replace(
        hops=tuple(hop for hop in route.hops if hop.link in working),
        through=tuple(name for name in route.through if applied[name].link in working),
    )


def drop(place: Place, interface: str, hooks: Sequence[str], match: str, count: int) -> str:
    """Drop matching frames (nft(8)) at these hooks of an interface: the first `count`, or all if 0.

    Returns the name of the table. Raises NetfabError with nft's own message.
    """
    enter(place)
    table = f"{_prefix(interface)}{uuid.uuid4().hex[:8]}"
    first = f"limit rate 1/week burst {count} packets" if count else ""
    commands = [
        f"add table netdev {table}",
        f"add chain netdev {table} lost",
        f"add rule netdev {table} lost {match} {first} counter drop",
    ]
    for hook in hooks:
        kind = f"type filter hook {hook} device {interface} priority {_EARLY};"
        commands.append(f"add chain netdev {table} {hook} {{ {kind} }}")
        commands.append(f"add rule netdev {table} {hook} jump lost")
    _load("\n".join([*commands, ""]), match)
    return table


def let_pass(place: Place, interface: str, table: str = "") -> None:
    """Delete that table, or all that drop() made for the interface."""
    enter(place)
    listed = subprocess.run([program(), "-j", "list", "tables", "netdev"], capture_output=True, check=False)
    found = json.loads(listed.stdout or '{"nftables": []}')["nftables"]
    names = [each["table"]["name"] for each in found if "table" in each]
    gone = [name for name in names if name == table or (not table and name.startswith(_prefix(interface)))]
    _load("".join(f"delete table netdev {name}\n" for name in gone), table)


def _prefix(interface: str) -> str:
    return f"netfab-drop-{interface}-"


def _load(commands: str, match: str) -> None:
    done = subprocess.run([program(), "-f", "-"], input=commands, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "Error: " in line), done.stderr)
        raise NetfabError(
            f"`{match}` can't be dropped: {said.partition('Error: ')[2] or said}",
            hint="`tcp dport 80`, `tcp flags syn`, `icmp type echo-request`; nft(8), expressions",
        )
