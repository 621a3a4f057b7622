"""This machine, or the caller's sandbox: observed and changed through kernel/ and runtime/."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from errno import ENOENT
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, Self

from netfab.engine.apply import Observed
from netfab.engine.diff import Change
from netfab.errors import ForeignObject, GuestGone, NetfabError, NoAnswer, raise_all
from netfab.hosts.bgp import Speaker
from netfab.hosts.clients import Clients
from netfab.hosts.interrupt import Interrupts
from netfab.hosts.programs import Programs
from netfab.kernel import drops, nft
from netfab.kernel.dumps import GLANCE, WHOLE, Reader
from netfab.kernel.execute import Executor
from netfab.kernel.facts import bridges, gather
from netfab.kernel.netlink import Monitor
from netfab.kernel.netns import GuestWentAway, Namespaces, prepare_directory
from netfab.kernel.observe import Observer
from netfab.objects.base import EMPTY, HOST, Dump, Fabric, Hook, Name, Op, by_kind, is_network, no_hook
from netfab.objects.firewall import Firewall, dropped
from netfab.objects.kinds import KINDS
from netfab.objects.link import group_of
from netfab.plan.facts import Esp, Facts, FoundNic
from netfab.runtime.paths import RUN_DIRECTORY, STATE_DIRECTORY, Paths

if TYPE_CHECKING:
    from netfab.guests.opening import Opened
    from netfab.kernel.marks import Marked
    from netfab.objects.guest import Guest


def _open_guest(guest: Guest) -> Opened:
    """The guest's network namespace, if it is still the run that was found. Raises GuestWentAway."""
    from netfab.guests.guest import as_found
    from netfab.guests.opening import Opened

    try:
        return Opened.of(as_found(guest.label, guest.pid, guest.started, guest.path))
    except NetfabError as error:
        raise GuestWentAway(ENOENT, error.message) from error


class LocalHost:
    """The Host of the engine for the network namespace that the caller is in. A context manager."""

    def __init__(
        self,
        fabric: str,
        run_directory: str = RUN_DIRECTORY,
        hook: Hook = no_hook,
        state_directory: str = STATE_DIRECTORY,
    ) -> None:
        self.fabric = fabric
        self.interrupts = Interrupts()
        self.waiting_for: Callable[[str], None] = lambda _: None  # called with the reason of a longer wait
        self.unattended = False  # True: the change was not requested by a user
        self._namespaces = Namespaces(_open_guest)
        self._observer = Observer(self._namespaces, f"{run_directory}/{fabric}/etc")
        paths = Paths(fabric, run_directory, state_directory)
        talk = lambda: self.interrupts.check(), lambda what: self.waiting_for(what)
        self._programs = Programs(paths, self._namespaces, *talk)
        self._clients = Clients(f"{run_directory}/{fabric}/dhcp", self._namespaces, *talk)
        self._speaker = Speaker(paths, *talk)
        handlers = self._programs.handlers | self._clients.handlers | self._speaker.handlers
        self._executor = Executor(self._namespaces, self._before, handlers)
        self._hook = hook
        self._monitor: Monitor | None = None
        self._tables: Sequence[Any] = ()
        self._facts, self._dump = Facts(), EMPTY  # the last readings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._monitor is not None:
            self._monitor.close()
        self._namespaces.let_go_of_ended()  # a child does it while the executor waits for the kernel
        self._executor.close()
        self._observer.close()
        self._programs.close()
        self._namespaces.close()

    def _before(self, op: Op) -> bool:
        self.interrupts.check()
        return self._hook(op)

    def observe(self, name: str, known: Sequence[Fabric] = (), spaces: Set[str] | None = None) -> Observed:
        """Read the fabric; if `spaces` is given, only those namespaces."""
        wanted = known[0] if known else Fabric(name)
        if wanted and spaces is not None and self._monitor is None:
            self._monitor = Monitor()  # will hear when links that are not ready now become so
        dump = self.dump(known, spaces)
        kinds = KINDS.shown(dump)
        own = wanted.sharing(thing for kind in kinds for thing in kind.read(dump))
        unsettled = frozenset(link for kind in kinds for link in kind.unsettled(dump))
        gone = {guest.name: GuestGone(guest.label) for guest in self._observer.gone}
        return Observed(own, self._observer.foreign(name), unsettled, self._observer.leaning(name), gone)

    def dump(self, known: Sequence[Fabric] = (), spaces: Set[str] | None = None) -> Dump:
        """What observe reads, raw; programs are not read again if `spaces` are all networks."""
        if spaces is None:  # nothing was created yet, or it is to be undone
            self._namespaces.give_up_unbound()
        else:
            self._namespaces.bind_all()
        dump = self._observer.read(self.fabric, known, None if spaces is None else frozenset(spaces))
        if spaces is None or self._dump is EMPTY or not all(map(is_network, spaces)):
            return self._with_programs(dump, frozenset() if spaces is None else _running(known), known)
        self._learn(dump)
        last = self._dump
        self._dump = dump._replace(
            containers=last.containers,
            supervised=last.supervised,
            clients=last.clients,
            held=last.held,
            bgp=last.bgp,
        )
        return self._dump

    def read_ahead(
        self, node: Reader = WHOLE, guests: Sequence[Guest] = (), host: Reader | None = None
    ) -> None:
        """Begin to read nodes in the background, for the next `dump` or `glance`.

        `host`: read the host as well, if no facts will be asked for.
        """
        self._observer.read_ahead(self.fabric, node, guests, host)

    def glance(self, known: Sequence[Fabric]) -> Dump:
        """Like `dump`, but only the identity of nodes' namespaces: enough for a fingerprint."""
        return self._with_programs(self._observer.read(self.fabric, known, None, GLANCE), frozenset())

    def _learn(self, dump: Dump) -> None:
        self._executor.learn(dump.links, dump.spaces[HOST].links, group_of(self.fabric))
        self._tables = dump.tables

    def _with_programs(self, dump: Dump, running: frozenset[str], known: Sequence[Fabric] = ()) -> Dump:
        self._learn(dump)
        containers, supervised = self._programs.read(running)
        self._dump = dump._replace(
            containers=containers,
            supervised=supervised,
            clients=tuple(self._clients.read()),
            held=self._programs.held(),
            bgp=self._told(known),
        )
        return self._dump

    def _told(self, known: Sequence[Fabric]) -> str:
        """bgpd's configuration. Raises NoAnswer if it does not respond, and the fabric needs it."""
        try:
            return self._speaker.read()
        except NoAnswer:
            if by_kind(known[:1]).keys().isdisjoint({"Bgp", "BgpPeer"}):
                return ""
            raise

    def fingerprint(self, things: Iterable[Any]) -> str:
        """The fingerprint of the last facts and observation; the fabric's tables are among `things`."""
        from netfab.hosts.fingerprint import fingerprint

        tables = [thing for thing in things if isinstance(thing, Firewall)]
        return fingerprint(self._facts, self._dump, tables)

    def forget(self) -> None:
        """Free what was read, which is large for a large fabric, and namespaces that were ended.

        The next observation reads everything.
        """
        self._namespaces.let_go_of_ended()
        self._observer.forget()
        self._tables, self._dump = (), EMPTY

    def start(self, names: Sequence[str]) -> None:
        """Start programs again as before; return when they are ready. Raises NetfabError."""
        self._programs.start_again(names)

    def as_left(self, wanted: Fabric) -> Fabric:
        """That fabric, with programs that a user stopped or paused left in that state.

        If unattended, also programs that ended and that their restart policies do not restart.
        """
        return self._programs.as_left(wanted, self.unattended)

    def dropped(self) -> dict[str, int]:
        """Packets that the fabric's guard dropped on each of the host's links, as of the last reading."""
        from netfab.plan.guard import GUARDED

        return dropped(self._tables, GUARDED)

    def held(self) -> tuple[str, ...]:
        """Ports of this host that the fabric's supervisor holds."""
        return self._programs.held() or ()

    def wait_ready(self, fabric: Fabric) -> None:
        """Return when every program of the fabric is ready, and hosts have each other's routes.

        Raises NetfabError.
        """
        things = by_kind((fabric,))
        self._programs.wait_ready(things.get("Container", ()))
        if "BgpPeer" in things:
            self._speaker.wait_for_peers()

    def bridges(self) -> dict[str, dict[str, Any]]:
        """Every bridge in this namespace, with its addresses, ports and MTU."""
        return bridges(self.fabric, self._namespaces.socket(HOST))

    def marked(self, usual: frozenset[str]) -> Marked:
        """Fabrics with any objects here, whatever a store has; `usual` names are tried, too."""
        from netfab.kernel.marks import marked

        return marked(self._namespaces, usual)

    def nics(self, moving: Collection[str] = ()) -> dict[str, FoundNic]:
        """Every NIC in this namespace, with addresses and routes for those in `moving`."""
        from netfab.kernel.nics import nics

        return nics(self._namespaces.socket(HOST), moving)

    def barred(self) -> dict[str, str]:
        """Every link in this namespace that a fabric can't use as a NIC, and why."""
        from netfab.kernel.nics import barred

        return barred(self._namespaces.socket(HOST))

    def expect(self, nodes: Iterable[str]) -> None:
        """Begin to create these nodes' missing namespaces, which stay invisible until they are used."""
        names = (f"{self.fabric}.{node}" for node in nodes)
        self._namespaces.expect(names, group_of(self.fabric))

    def facts(self) -> Facts:
        """The facts of this host, for the planner."""
        self._facts = gather(self.fabric, self._namespaces.socket(HOST), self._observer.host_links())
        return self._facts

    def esp(self) -> Esp:
        """This host's ESP support and states, whoever made them."""
        from netfab.kernel.features import has_esp  # few networks are encrypted
        from netfab.kernel.xfrm import states
        from netfab.objects.xfrm_state import XfrmState, counted

        found = {XfrmState.of(message).names[0].text: counted(message) for message in states()}
        return Esp(has_esp(), found)

    def announce(self, fabric: Fabric, changes: Sequence[Change]) -> None:
        """Announce addresses that guests, or nodes here or on other hosts, just got to their neighbours."""
        kinds = by_kind((fabric,)).keys()
        if kinds.isdisjoint({"Guest", "Neighbour"}):
            return
        from netfab.hosts import announced
        from netfab.kernel.announce import advertise, announce_for, arp_requests

        if "Neighbour" in kinds and (told := list(announced.on_bridges(fabric, changes))):
            announce_for(told)
        for link, mac, addresses in announced.by_guests(fabric, changes):
            six = [thing.address for thing in addresses if isinstance(thing.address, IPv6Address)]
            if len(six) < len(addresses):
                self._executor.tell(link.space, arp_requests(link, mac))
            if six:
                with suppress(FileNotFoundError), self._namespaces.inside(link.space):
                    advertise(link.text, mac, six)

    def prepare(self, changes: Sequence[Change]) -> None:
        """Check and prepare what later steps rely on, before the first visible change."""
        for feature, thing in {feature: thing for thing, feature in reversed([*_featured(changes)])}.items():
            from netfab.kernel.features import refuse_without  # few need any

            refuse_without(feature, str(thing))
        raise_all(self._programs.without_images(change.after for change in changes))
        self._programs.expect(change.after for change in changes)
        prepare_directory()
        tables = [change.after for change in changes if isinstance(change.after, Firewall)]
        if tables:
            nft.program()
            raise_all(self.foreign_drops(tables))

    def foreign_drops(self, things: Iterable[Any]) -> list[ForeignObject]:
        """Chains of others that would drop what the firewall among these objects accepts."""
        tables = [thing for thing in things if isinstance(thing, Firewall)]
        if not tables or not (drops.sees_bridged_frames() or any(table.forwards for table in tables)):
            return []
        return drops.foreign_drops(frozenset(name for table in tables for name in table.bridges))

    def run(self, phase: Sequence[Change]) -> list[Exception | None]:
        """Carry out a phase."""
        failures = self._executor.run(phase)
        if any(isinstance(change.after, Firewall) for change in phase):
            self._observer.list_ahead(self.fabric)  # nft runs while the next phases are carried out
        self.interrupts.check()  # a signal during the last step still undoes all of them
        return failures

    def wait(self, seconds: float, links: Set[Name]) -> None:
        """Wait until the host's own links among these are ready; at most 50 ms, as nodes' links go unheard.

        Returns at once if nothing listened at the last reading: changes since then need another reading.
        """
        from netfab.kernel.waiting import wait_for_links  # an idle kernel has links ready at once

        if self._monitor is None:
            self._monitor = Monitor()
            return
        wait_for_links(self._monitor, self._executor.indexes(links), min(seconds, 0.05))
        self.interrupts.check()


def _featured(changes: Sequence[Change]) -> Iterator[tuple[Any, str]]:
    """Desired objects that need a feature not every host has, with the feature."""
    for change in changes:
        if feature := getattr(change.after, "feature", ""):
            yield change.after, feature


def _running(known: Sequence[Fabric]) -> frozenset[str]:
    """The containers that should run."""
    found = by_kind(known).get("Container", ())
    if not found:
        return frozenset()
    from netfab.objects.container import RUNNING

    return frozenset(thing.name for thing in found if thing.state == RUNNING)
