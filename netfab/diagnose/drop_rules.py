"""A rule that drops a packet, in words: for netfab's own rules what they stand for, and where in the file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from netfab.diagnose.finding import Finding, Place, Traces, by, name_of
from netfab.errors import NetfabError
from netfab.kernel.trace import Dropped
from netfab.objects.firewall import table_name
from netfab.topology.schema import HostGateway, Network
from netfab.tuples import NamedTuple


class Crossing(NamedTuple):
    """Sender and receiver of a packet, and the host's bridges that it comes from and goes to; "" for none."""

    sender: str
    receiver: str
    networks: Mapping[str, Any]  # as in the summary; of another fabric: `other/lan`
    into: str
    out: str

    def network(self, bridge: str) -> str:
        """The network of a bridge, or ""."""
        return next((name for name, found in self.networks.items() if found["bridge"] == bridge), "")


def dropped_by(place: Place, end: Dropped, crossing: Crossing, file: str) -> Finding:
    """The finding for a rule that dropped a packet in that namespace. file: the fabric's, or ""."""
    if not end.table.startswith(table_name("")):
        rule = f"`{end.rule}`" if end.rule else "its policy is drop"
        return Finding(
            f"chain {end.chain} of table {end.family} {end.table} of {name_of(place)} drops it: {rule}",
            "a rule before it that accepts; whoever made that table knows why",
        )
    table = Traces(place.host, (("firewall", end.family, end.table),))
    if end.family == "bridge":
        return Finding(
            f"{crossing.sender} sends what its port may not, an address or MAC that is not its own:"
            " netfab's guard drops it",
            "`allow: [ADDRESS]` or `spoof: allow` of that port",
            traces=table,
        )
    if found := _in_the_clear(place, end):
        return found
    return _of_the_firewall(name_of(place), end, crossing, file)._replace(traces=table)


def _in_the_clear(place: Place, end: Dropped) -> Finding | None:
    """What the kernel's ESP should have encrypted, but did not."""
    states_and_policies = by(place, "esp", "ipsec")
    if end.chain == "clear":
        return Finding(
            f"{name_of(place)} has no IPsec policy for a tunnel's packets, and sends none unencrypted",
            traces=states_and_policies,
        )
    if end.chain == "strangers" and "ipsec" in end.rule:
        return Finding(
            f"{name_of(place)} accepts no tunnel packets that are unencrypted, or not encrypted with"
            " the fabric's key",
            traces=states_and_policies,
        )
    return None


def _of_the_firewall(host: str, end: Dropped, crossing: Crossing, file: str) -> Finding:
    into, out = crossing.network(crossing.into), crossing.network(crossing.out)
    whole = f"the networks of fabric {end.table.removeprefix(table_name(''))}"
    from_there, to_there = (_told(name, file) if name else whole for name in (into, out))
    if end.chain == "leave":
        return Finding(
            f"{host} leads nothing from {from_there} to {to_there}:"
            " networks are apart where no node joins them",
            f"a node that is the `gateway` of both, or `publish` of {crossing.receiver}",
        )
    if end.chain in ("enter", "enter-routed"):
        return Finding(
            f"{host} lets nobody outside of {to_there} open connections to {crossing.receiver}",
            f"`publish` of {crossing.receiver}",
        )
    if "@leaving" in end.rule and into:
        return Finding(f"{host} lets nothing leave {from_there}: {_why_closed(into, file)}")
    if "@entering" in end.rule and out:
        return Finding(f"{host} lets nothing enter {to_there}: {_why_closed(out, file)}")
    if end.chain == "strangers":
        return Finding(f"{host} accepts tunnel packets from its peers only")
    return Finding(f"netfab's firewall on {host} drops it in chain {end.chain}: `{end.rule}`")


def _told(network: str, file: str) -> str:
    """The network, with its place in the file: `network lan (shop.yaml:3:3)`."""
    written = _written(network, file)
    return f"network {network}{f' ({written.at.own})' if written else ''}"


def _why_closed(network: str, file: str) -> str:
    written = _written(network, file)
    if written is not None and written.internal:
        return f"it is `internal` ({written.at.of('internal')})"
    if written is not None and not isinstance(written.gateway, HostGateway):
        return f"its `gateway` is another ({written.at.of('gateway')})"
    return "it is `internal`, or another is its gateway, as it was applied"


def _written(network: str, file: str) -> Network | None:
    """The place in the current file, if it can still be read."""
    from netfab.files.loading import load

    with suppress(NetfabError):
        return load(file).networks.get(network) if file not in ("", "-") else None
    return None
