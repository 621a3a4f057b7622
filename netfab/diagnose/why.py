"""`netfab why A B`: whether A reaches B, by which way; where not, the first thing that is wrong. Only reads.

First it is tried. Where that fails, diagnose/walk.py walks there and back over what the kernels have; where
that finds nothing, nft traces who drops it, on all hosts of the way at once; drop_rules.py says it in words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from netfab.diagnose.answer import Answer
from netfab.diagnose.drop_rules import Crossing, dropped_by
from netfab.diagnose.finding import HOST, Finding, Place, by, drifted, name_of, without
from netfab.diagnose.trials import Trial, Verdict, addresses_of, trials_of
from netfab.diagnose.walk import Walked, walk
from netfab.diagnose.world import Cable, Owner, World
from netfab.errors import NetfabError
from netfab.kernel.trace import Dropped, Match
from netfab.objects.view import Link, Space, View, Way
from netfab.system.rest import rest
from netfab.topology.checks import HOST as THE_HOST
from netfab.topology.checks import INTERNET, is_address
from netfab.topology.schema import Check
from netfab.topology.suggest import did_you_mean


class Asked(Protocol):
    """A host that can be queried: this_host.py's `Here`, or another by its agent."""

    def look(self) -> View: ...
    def way(self, node: str, target: str, source: str, incoming: int) -> Way: ...
    def tried(self, trial: Trial) -> Verdict: ...
    def passes(self, node: str, address: str, size: int) -> bool: ...
    def dropped(
        self, nodes: Mapping[str, Sequence[str]], matches: Sequence[Match], trial: Trial
    ) -> list[tuple[str, str, Dropped]]: ...


def why(
    check: Check, fabric: str, summary: Mapping[str, Any], hosts: Mapping[str, Asked], file: str = ""
) -> Answer:
    """Explain a sentence that says who reaches whom. `hosts`: those reached, by name; "" is the only one.

    A host is a source by its name, too; as `host` each of them is, and the first that fails is reported.
    file: the fabric's, for places in it.
    """
    nodes = summary["nodes"]
    begins = list(hosts) if check.source == THE_HOST else list(hosts)[:1]
    if check.source in hosts and check.source not in nodes:
        begins, check = [check.source], check._replace(source=THE_HOST)
    if not is_address(check.target) and check.target not in (*nodes, THE_HOST, INTERNET):
        hint = did_you_mean(check.target, nodes) or "netfab status"
        raise NetfabError(f"there is no node {check.target} in fabric {fabric}", hint=hint)
    if not is_address(check.source) and check.source not in (*nodes, THE_HOST):
        raise NetfabError(
            f"no node of fabric {fabric} is {check.source}, and nothing can be tried from there"
        )
    (trial,) = trials_of([check], summary)
    world = _world_of(hosts, summary)
    for begin in begins:
        asking = _Asking(trial, fabric, summary, hosts, world, file, begin)
        answer = _answer(asking)
        if answer.reaches and asking.there.wrong and not answer.unseen:
            rest(_SETTLING)  # it has only just been repaired
            answer = _answer(_Asking(trial, fabric, summary, hosts, _world_of(hosts, summary), file, begin))
        if answer.cause:
            break
    return answer


def hosts_of(check: Check, summary: Mapping[str, Any], hosts: Collection[str]) -> Collection[str]:
    """The hosts of a fabric that are indispensable for a sentence: its ends'."""
    (trial,) = trials_of([check], summary)
    nodes = summary["nodes"]
    ends = {str(nodes[end]["host"]) for end in (trial.source, trial.receiver) if end in nodes}
    begin = {check.source} & {*hosts} if check.source not in nodes else set()
    return hosts if check.source == THE_HOST else (ends | begin) or hosts


def _forwards(space: Space) -> bool:
    return any(space.forwarding) or any(link.forwarding for link in space.links)


def _answer(asking: _Asking) -> Answer:
    gone = next(asking.gone(), None)
    verdict = None if gone else asking.tried()
    if verdict is None or not verdict.holds:
        cause = gone or next(asking.causes(refused=verdict is not None and "refused" in verdict.reason))
        return Answer(False, asking.there.hops, asking.with_cure(cause))
    doubt, wrong = next(asking.doubts(), None), asking.there.wrong
    unseen = wrong.what if wrong and wrong.unasked else ""
    return Answer(True, asking.there.hops, doubt and asking.with_cure(doubt), unseen)


def explained(
    checks: Sequence[Check],
    verdicts: Sequence[Verdict],
    fabric: str,
    summary: Mapping[str, Any],
    hosts: Mapping[str, Asked],
) -> list[Verdict]:
    """With the first thing that is wrong, for failures that can be explained by reading alone."""
    world = _world_of(hosts, summary)
    found = []
    for check, verdict in zip(checks, verdicts, strict=True):
        if check.reaches and not verdict.holds and check.source in (*summary["nodes"], THE_HOST):
            (trial,) = trials_of([check], summary)
            begins = hosts if trial.source == THE_HOST else list(hosts)[:1]  # it is tried from every host
            asked = (_Asking(trial, fabric, summary, hosts, world, "", host) for host in begins)
            refused = "refused" in verdict.reason
            cause = next((cause for asking in asked for cause in asking.seen(refused)), None)
            if cause is not None and cause.what not in verdict.reason:
                verdict = verdict._replace(reason=f"{verdict.reason}: {cause.what}")
        found.append(verdict)
    return found


class _Asking:
    """One question: what was tried, and everything known about both ends."""

    def __init__(
        self,
        trial: Trial,
        fabric: str,
        summary: Mapping[str, Any],
        hosts: Mapping[str, Asked],
        world: World,
        file: str,
        outside: str,
    ) -> None:
        """outside: the host where packets from outside the nodes' networks start."""
        self.trial, self.fabric, self._hosts, self._file = trial, fabric, hosts, file
        self._outside = outside
        self._nodes, self._networks = summary["nodes"], summary["networks"]
        self.world = world
        self.begin = self._place(trial.source)
        self.end = self._place(trial.receiver) if trial.receiver else None
        here = self.end is not None and self.end.host == self.begin.host
        self.told = trial if here else trial._replace(receiver="")
        self.address, self.there = self._way()

    def _place(self, node: str) -> Place:
        """The place of a node's network: its own, or that of the node whose it shares, or the host's."""
        if node == THE_HOST or node not in self._nodes:
            return Place(self._outside, HOST)
        found = self._nodes[node]
        host = found.get("host", "")
        if not found["namespace"] and not found["guest"]:
            return Place(host, HOST)
        holder = next(name for name, each in self._nodes.items() if each["namespace"] == found["namespace"])
        return Place(host, holder)

    def _names(self) -> Mapping[str, tuple[str, ...]] | None:
        return self.world.views[self.begin.host].names.get(self.trial.source, {})

    def _way(self) -> tuple[str, Walked]:
        """The addresses that a program in the source would use, and the way. Skips those without a route."""
        named = (self._names() or {}).get(self.trial.target, ())
        ways = [(each, walk(self.world, self.begin, each)) for each in named or self.trial.addresses]
        begun = (way for way in ways if way[1].hops or not (way[1].wrong and way[1].wrong.no_route))
        return next(begun, next(iter(ways), ("", Walked((), None))))

    def tried(self) -> Verdict:
        """What comes of it."""
        return self._hosts[self.begin.host].tried(self.told)

    def gone(self) -> Iterator[Finding]:
        """Ends in which nothing can be tried."""
        for place in (self.begin, self.end):
            if place is not None and self.world.space(place) is None:
                yield Finding(f"the namespace of {name_of(place)} is gone", traces=without(place))

    def causes(self, refused: bool) -> Iterator[Finding]:
        """What is wrong, the first thing first. `refused`: there was a refusal, not silence."""
        yield from self.seen(refused)
        yield from self._of_the_underlay()
        if self.trial.protocol != "icmp":  # otherwise even a small packet is not answered, as was tried
            yield from self.doubts()
        yield from self._of_rules()
        yield from self._of_the_program()
        for host, view in self.world.views.items():
            what = f"{host} is not as it was applied" if host else "it is not as it was applied"
            yield from (Finding(f"{what}: {line}", self._reconcile()) for line in view.drift)
        away = ", ".join(dict.fromkeys(place.host for place in self.world.absent.values()))
        unasked = f"; not asked, because not reached: {away}" if away else ""
        yield Finding(f"nothing that netfab looks at is wrong{unasked}", "netfab capture, at both ends")

    def seen(self, refused: bool) -> Iterator[Finding]:
        """What can be found by reading, with nothing sent and no waiting."""
        yield from self.gone()
        yield from self._of_names()
        if self.there.wrong:
            wrong = self.there.wrong
            no_way = wrong.no_route and self.trial.receiver and not drifted(self.world.views, wrong)
            yield self._separate() if no_way and not self._joined() else wrong
        yield from self._of_the_way_back()
        if refused:  # usually by the node's own kernel: the packet got that far
            yield from self._of_the_program()

    def _of_names(self) -> Iterator[Finding]:
        source, target = self.trial.source, self.trial.target
        if target in self._nodes and not self.trial.addresses:
            yield self._without_address()
        if target == THE_HOST and not self.trial.addresses:
            yield Finding("the host has no address on any network of this fabric", "netfab ls")
        if target not in self._nodes or source not in self._nodes or "/" in target:
            return
        file = by(self.begin, str(self._nodes[source]["hosts"]))
        if source not in self.world.views[self.begin.host].names:
            yield Finding(f"the hosts file of {source} is gone", traces=file)
        names = self._names() or {}
        if names and target not in names:
            yield self._separate()
        elif wrong := [each for each in names.get(target, ()) if each not in self._addresses_of_end()]:
            planned = ", ".join(self.trial.addresses)
            yield Finding(f"{source} takes {target} to be at {wrong[0]}, and it is at {planned}", traces=file)

    def _addresses_of_end(self) -> set[str]:
        """Those planned for its interfaces, and others that it has, such as a routed loopback."""
        space = self.world.space(self.end) if self.end else None
        found = [address for _, address in space.addresses] if space else []
        return {*self.trial.addresses, *(each for each in found if not ip_address(each).is_loopback)}

    def _joined(self) -> bool:
        """Whether routers lie between both ends: their own routing programs should then know a way."""
        on = {name: {*node["addresses"]} for name, node in self._nodes.items()}
        places = ((name, self._place(name)) for name in on)
        seen = ((name, self.world.space(place)) for name, place in places if place.host in self.world.views)
        routers = [on[name] for name, space in seen if space and _forwards(space)]
        reached = set(on.get(self.trial.source, ()))
        while more := {each for near in routers if near & reached for each in near - reached}:
            reached |= more
        return bool(reached & on.get(self.trial.target, set()))

    def _without_address(self) -> Finding:
        target = self.trial.target
        if self.end is not None and self.end.node == HOST:
            return Finding(
                f"{target} has no address of its own: its network is the host's",
                f"netfab why {self.trial.source} host",
            )
        return Finding(f"{target} has no address", f"`networks` of {target}")

    def _separate(self) -> Finding:
        both = [
            ", ".join(self._nodes.get(name, _NOWHERE)["addresses"]) or "the host's networks"
            for name in (self.trial.source, self.trial.target)
        ]
        return Finding(
            f"nothing in the file joins {both[0]}, where {self.trial.source} is, and {both[1]},"
            f" where {self.trial.target} is",
            "a network that both are on, or a node that is the `gateway` of both networks",
        )

    def _of_the_way_back(self) -> Iterator[Finding]:
        if self.end is None or not self.there.hops:
            return
        first = self.there.hops[0]
        way = self.world.way(self.begin, self.address, "", 0)
        source = way.source or next(iter(addresses_of(self._nodes.get(self.trial.source, _NOWHERE))), "")
        if not source:
            yield Finding(f"{first.interface} of {name_of(self.begin)} has no address to send from")
            return
        back = walk(self.world, self.end, source, self.address)
        if back.wrong:
            yield back.wrong._replace(what=f"on the way back, {back.wrong.what}")

    def _of_the_underlay(self) -> Iterator[Finding]:
        if self.end is None or self.end.host == self.begin.host:
            return
        vtep = self.world.vteps[self.end.host]
        for line in self.world.views[self.end.host].drift:
            if line.startswith("firewall") and "peers" in line:
                yield Finding(
                    f"{self.end.host} takes no tunnel's packets from {self.begin.host}: {line}",
                    self._reconcile(),
                )
        if vtep and not self._hosts[self.begin.host].passes(HOST, vtep, _SMALL):
            yield Finding(
                f"{self.begin.host} does not reach {self.end.host} at {vtep}, the address of the tunnel",
                "the network between the hosts",
            )

    def _of_the_program(self) -> Iterator[Finding]:
        """Whether a program listens at the port, on a reachable address."""
        trial, space = self.trial, self.world.space(self.end) if self.end else None
        if not trial.port or space is None:
            return
        program = self.world.views[self.end.host].programs.get(trial.receiver) if self.end else None
        at = [
            one.address for one in space.listeners if (one.protocol, one.port) == (trial.protocol, trial.port)
        ]
        if self.address in at or "" in at:
            return
        if at:
            yield Finding(
                f"{trial.receiver} listens on {trial.protocol}/{trial.port} at {', '.join(at)} only",
                f"let it listen at {self.address}, or at every address",
            )
        elif program is not None and program.state not in ("running", "paused"):
            code = "unknown" if program.exit_code is None else program.exit_code
            yield Finding(
                f"the program of {trial.receiver} has ended, exit status {code}",
                f"netfab logs {trial.receiver}; netfab start {trial.receiver}",
            )
        else:
            yield Finding(f"nothing listens on {trial.protocol}/{trial.port} in {trial.receiver}")

    def doubts(self) -> Iterator[Finding]:
        """What lets a first answer pass, but not what follows."""
        if self.end is None:
            return
        program = self.world.views[self.end.host].programs.get(self.trial.receiver)
        if program is not None and program.state == "paused":
            yield Finding(
                f"the program of {self.trial.receiver} is paused", f"netfab unpause {self.trial.receiver}"
            )
        size = self._largest()
        if size <= _SMALL or not self._passes(_SMALL) or self._passes(size):
            return
        narrow = next((hop.narrow for hop in self.there.hops if hop.narrow), None)
        yield narrow or Finding(
            f"packets of {size} bytes are not answered, and small ones are: an MTU black hole"
        )

    def _passes(self, size: int) -> bool:
        return self._hosts[self.begin.host].passes(self.begin.node, self.address, size)

    def _largest(self) -> int:
        """The size in bytes of the largest packet that every interface on the way would send."""
        sizes = [
            link.mtu
            for hop in self.there.hops
            if (space := self.world.space(hop.place)) and (link := space.link(hop.interface)) and link.mtu
        ]
        return min(sizes, default=0)

    def _of_rules(self) -> Iterator[Finding]:
        """A rule that drops it, in the namespaces on the way, there and back; also as a tunnel's packets."""
        if not self.address:
            return
        passed = [self.begin, *(hop.to for hop in self.there.hops)]
        nodes = {
            host: list(dict.fromkeys([*(each.node for each in passed if each.host == host), HOST]))
            for host in dict.fromkeys(each.host for each in passed)
        }
        found = self._hosts[self.begin.host].dropped(nodes, self._matches(len(nodes) > 1), self.told)
        for host, node, end in sorted(found, key=lambda one: one[-1].match):
            back = end.match == _BACK
            ends = self.trial.source, self.trial.target
            sender, receiver = reversed(ends) if back else ends
            crossing = Crossing(sender, receiver, self._networks, *self._over(host, back))
            yield dropped_by(Place(host, node), end, crossing, self._file)

    def _matches(self, tunnelled: bool) -> list[Match]:
        """What matches the packet, the answer, and what carries them between hosts."""
        family = "ip6" if ":" in self.address else "ip"
        way = self.world.way(self.begin, self.address, "", 0)
        matches = []
        for packets, link in (
            (f"{family} daddr {self.address}", self._link(self.begin, way.link)),
            (f"{family} saddr {self.address} {family} daddr {way.source or self.address}", self._holder()),
        ):
            matches.append(Match(packets, f"ether saddr {link.mac}" if link and link.mac else packets))
        if tunnelled and self.end is not None:
            one, other = (self.world.vteps[place.host] for place in (self.begin, self.end))
            outer = "ip6" if ":" in one else "ip"
            packets = (
                f"meta l4proto udp {outer} saddr {{ {one}, {other} }} {outer} daddr {{ {one}, {other} }}"
            )
            matches.append(Match(packets, packets))
        return matches

    def _over(self, host: str, back: bool) -> tuple[str, str]:
        """The bridges by which the host itself receives it, and sends it on; "": by none."""
        into = next((hop.into for hop in self.there.hops if hop.to == Place(host, HOST)), "")
        out = next((hop.interface for hop in self.there.hops if hop.place == Place(host, HOST)), "")
        return (out, into) if back else (into, out)

    def _link(self, place: Place, ifindex: int) -> Link | None:
        space = self.world.space(place)
        return space.at(ifindex) if space else None

    def _holder(self) -> Link | None:
        """The holder of the address."""
        space = self.world.space(self.end) if self.end else None
        return space.holder(self.address) if space else None

    def with_cure(self, cause: Finding) -> Finding:
        """Changes by others are repaired by netfab."""
        return cause._replace(cure=self._reconcile()) if drifted(self.world.views, cause) else cause

    def _reconcile(self) -> str:
        return f"netfab reconcile {self.fabric}"


_NOWHERE: Mapping[str, Any] = {"addresses": {}}
_BACK = 1  # index of the answer's among the traced matches
_SMALL = 100  # bytes, of a packet that fits everywhere
_SETTLING = 1.0  # seconds until the kernel tells a bridge of its ports' carrier (net/core/link_watch.c)


def _world_of(hosts: Mapping[str, Asked], summary: Mapping[str, Any]) -> World:
    views = {host: asked.look() for host, asked in hosts.items()}
    cables = {}
    for host, view in views.items():
        for one, first, other, second in view.cables:
            cables[Place(host, one), first] = Cable(Place(host, other), second)
            cables[Place(host, other), second] = Cable(Place(host, one), first)
    return World(
        views,
        {
            address: Owner(Place(host, node), interface)
            for host, view in views.items()
            for address, (node, interface) in view.owners.items()
        },
        cables,
        {(host, bridge): tunnel for host, view in views.items() for bridge, tunnel in view.tunnels.items()},
        {host: view.vtep for host, view in views.items()},
        {
            address: Place(node["host"], name)
            for name, node in summary["nodes"].items()
            if node.get("host", "") not in hosts
            for address in addresses_of(node)
        },
        lambda place, target, source, incoming: hosts[place.host].way(place.node, target, source, incoming),
    )
