"""Read a fabric from the kernel: one dump of links, addresses and routes per namespace, and its files.

Only reads. What the messages mean is the business of the kinds (objects/).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from netfab.errors import NoAnswer
from netfab.kernel import openvswitch
from netfab.kernel.dumps import (
    LO,
    UNSTEADY,
    WHOLE,
    Reader,
    links,
    marked_addresses,
    neighbours,
    qdiscs,
    routes,
    vlans,
)
from netfab.kernel.netns import FOREIGN, LEFTOVER, NAMESPACE, Namespaces
from netfab.kernel.nft import Listing, glimpse, rules_of
from netfab.kernel.others import OTHERS_XFRM, is_of, names_of_others, ports_of_others, tables_of_others
from netfab.kernel.reading import Reading
from netfab.kernel.xfrm import states_and_policies
from netfab.objects.base import HOST, Dump, Fabric, Name, Space, by_kind, is_network
from netfab.objects.kinds import SWITCHED
from netfab.objects.link import (
    IFALIAS,
    MASTER,
    Link,
    group_of,
    is_moved_by,
    marked_links,
    moved_mark,
    of_a_fabric,
    owned,
)
from netfab.objects.port import Entry, default_vlans
from netfab.objects.wire import number, text
from netfab.objects.xfrm import POLICIES, STATES
from netfab.system.proc import text_of

if TYPE_CHECKING:
    from netfab.objects.guest import Guest
    from netfab.objects.neighbour import NeighbourMessage
    from netfab.objects.ovsdb import Switch
    from netfab.objects.qdisc import QdiscMessage
    from netfab.objects.uplink import Lent
    from netfab.objects.xfrm import XfrmMessage


class Observer:
    """Reads one fabric; keeps the result, so that it can later reread a few namespaces only."""

    def __init__(self, namespaces: Namespaces, directory: str) -> None:
        self._namespaces = namespaces
        self._directory = directory  # the fabric's run directory, whose files are its own
        self._values: dict[str, dict[str, str]] = {}  # of sysctls, as they were last read
        self._named: list[tuple[str, str]] = []  # the fabric's entries in /run/netns, and their kinds
        self._spaces: dict[str, Space] = {}
        self._qdiscs: dict[str, list[QdiscMessage]] = {}
        self._guests: dict[str, Guest] = {}  # those that are running, by their space
        self.gone: list[Guest] = []  # the known ones that are not, at the last reading
        self._inside = False  # whether a namespace has to be read even if it is to be deleted
        self._host_links: list[Link] | None = None  # read ahead, for the next `read`
        self._neighbours: dict[str, list[NeighbourMessage]] = {}
        self._listed = False  # whether the tables' contents were read
        self._tables: list[Any] = []
        self._foreign_tables: list[tuple[str, str]] = []
        self._listing: Listing | None = None  # begun, for the next `read`
        self._switches: tuple[Switch, ...] = ()
        self._vlans: dict[int, tuple[Entry, ...]] = {}
        self._passages: list[Any] = []
        self._reading = Reading(namespaces)
        self._xfrm: list[XfrmMessage] | None = None  # None: not read yet
        self._foreign_xfrm: list[Name] = []

    def read(
        self,
        fabric: str,
        known: Sequence[Fabric],
        only: frozenset[str] | None,
        node: Reader = WHOLE,
    ) -> Dump:
        """Read the whole fabric; with `only`, reread those spaces and take the rest from the last reading.

        Tables of nft that were not read before are only listed, unless their contents are asked for.
        `node` is how a node's space is read.
        """
        if only is None or not all(map(is_network, only)):
            with self._listing_of(fabric) as listing:  # nft works while the links are read
                dump = self._read(fabric, known, only, node)
                self._tables, self._foreign_tables = listing.tables(), listing.foreign
        else:
            dump = self._read(fabric, known, only, node)
            if self._listed:
                return dump
            self._tables, self._foreign_tables = glimpse(fabric)
        self._listed = True
        self._passages = docker_rules(dump.spaces[HOST].links)
        return dump._replace(tables=self._tables, passages=self._passages)

    def list_ahead(self, fabric: str) -> None:
        """Begin to list the tables, for the next `read`, unless they change before."""
        self._end_listing()
        with suppress(OSError):  # too many processes, or descriptors: `read` will report it
            self._listing = Listing(fabric)

    def _listing_of(self, fabric: str) -> Listing:
        listing, self._listing = self._listing, None
        if listing is not None and listing.is_current:
            return listing
        if listing is not None:
            listing.end()
        return Listing(fabric)

    def _end_listing(self) -> None:
        if self._listing is not None:
            self._listing.end()
            self._listing = None

    def forget(self) -> None:
        """Discard everything that was read."""
        self._spaces, self._tables, self._passages, self._neighbours = {}, [], [], {}
        self._listed, self._xfrm = False, None

    def host_links(self) -> list[Link]:
        """The host's links; the next `read` reuses them, as a dump of a thousand links is slow."""
        self._host_links = links(self._namespaces.socket(HOST))
        return self._host_links

    def _host(self, found: list[Link]) -> Space:
        netlink = self._namespaces.socket(HOST)
        return Space(found, marked_addresses(netlink), routes(netlink))

    def _read(
        self,
        fabric: str,
        known: Sequence[Fabric],
        only: frozenset[str] | None,
        node: Reader,
    ) -> Dump:
        things = by_kind(known)
        self._guests = self._living(things.get("Guest", ()), only)
        self._inside = not things.keys().isdisjoint({"Macvlan", "Nic"})
        self._spaces = self._read_spaces(fabric, only, node)
        if only is None or HOST in only:
            self._switches = _switches(things)
            filters = default_vlans(self._spaces[HOST].links)
            self._vlans = vlans(self._namespaces.socket(HOST)) if filters else {}
        if only is None or self._xfrm is None or not only.isdisjoint((STATES, POLICIES)):
            self._xfrm = self._read_xfrm(fabric)
        own = {
            space: found
            for space, found in self._spaces.items()
            if space == HOST or space in self._guests or is_of(found, fabric)
        }
        linked = [(space, link) for space, found in own.items() for link in found.links]
        marked = marked_links(fabric, own)
        return Dump(
            fabric=fabric,
            spaces=own,
            links={(space, link.ifindex): Name(space, link.name) for space, link in linked},
            marked=marked,
            owned={
                (space, link.ifindex)
                for space, link in linked
                if owned(link, fabric) or not (space == HOST or space in self._guests or of_a_fabric(link))
            },
            files=dict(_files(self._directory)),
            sysctls=dict(self._sysctls(things, own, only)),
            originals={thing.key: thing.original for thing in things.get("Borrowed", ())},
            nics={thing.name: thing.original for thing in things.get("Nic", ())},
            uplinks=dict(self._uplinks(fabric, things.get("Uplink", ()))),
            tables=self._tables,
            switches=self._switches,
            vlans=self._vlans,
            passages=self._passages,
            guests=self._guests,
            xfrm=self._xfrm,
            neighbours=self._read_neighbours(marked, things.get("Neighbour", ()), own, only),
            qdiscs=self._read_qdiscs(things.get("Qdisc", ()), own, only),
        )

    def _uplinks(self, fabric: str, known: Sequence[Any]) -> Iterator[tuple[str, Lent]]:
        """NICs with the fabric's mark that are known to be lent to a bridge, or are on one of its bridges."""
        host = self._spaces[HOST].links
        marked = [link for link in host if is_moved_by(link, fabric)]
        if not marked:
            return
        from netfab.kernel.uplinks import lent

        bridges = {link.ifindex: link for link in host if link.kind == "bridge"}
        for nic in marked:
            meant = [thing for thing in known if moved_mark(fabric, thing.nic) == text(nic.attrs[IFALIAS])]
            own = bridges.get(number(nic.attrs.get(MASTER, b"")))
            if meant or (own is not None and owned(own, fabric)):
                found = lent(self._namespaces.socket(HOST), nic, host, meant)
                yield text(nic.attrs[IFALIAS]).removeprefix(moved_mark(fabric)), found

    def _read_qdiscs(
        self, known: Sequence[Any], own: dict[str, Space], only: frozenset[str] | None
    ) -> dict[str, list[QdiscMessage]]:
        """Of the spaces known to have some: they cost a dump of their own."""
        asked = {thing.link.space for thing in known}
        for space in (asked | self._qdiscs.keys()) & own.keys():
            if only is None or space in only:
                with suppress(FileNotFoundError):
                    self._qdiscs[space] = qdiscs(self._namespaces.socket(space))
        return {space: found for space, found in self._qdiscs.items() if space in own}

    def _read_neighbours(
        self,
        marked: Iterable[tuple[str, Link]],
        known: Sequence[Any],
        own: dict[str, Space],
        only: frozenset[str] | None,
    ) -> dict[str, list[NeighbourMessage]]:
        """Of the spaces known to have some, or with a tunnel: they cost a dump of their own."""
        asked = {thing.link.space for thing in known}
        asked |= {space for space, link in marked if link.kind == "vxlan"}
        for space in (asked | self._neighbours.keys()) & own.keys():
            if only is None or space in only:
                with suppress(FileNotFoundError):
                    self._neighbours[space] = neighbours(self._namespaces.socket(space))
        return {space: found for space, found in self._neighbours.items() if space in own}

    def _read_xfrm(self, fabric: str) -> list[XfrmMessage]:
        """IPsec states and policies with the fabric's mark; of the rest only the names."""
        own: list[XfrmMessage] = []
        self._foreign_xfrm = []
        for message in states_and_policies():
            thing = _read_of_xfrm(message)
            if thing.reqid == group_of(fabric):
                own.append(message)
            else:
                self._foreign_xfrm.append(thing.names[0])
        return own

    def _living(self, known: Sequence[Guest], only: frozenset[str] | None) -> dict[str, Guest]:
        """The known guests that are running; of two in one place the last one: it was there first.

        With `only`, those in other spaces are taken to be as at the last reading.
        """
        found: dict[str, Guest] = {}
        ended: dict[str, Guest] = {}
        for guest in known:
            read_last = only is not None and guest.space not in only
            if read_last and self._guests.get(guest.space) == guest:
                found[guest.space] = guest
            if found.get(guest.space) == guest:
                continue
            try:
                self._namespaces.adopt(guest)
                os.close(self._namespaces.open(guest.name.text))
                found[guest.space] = guest
            except OSError:
                ended[guest.space] = guest
        self.gone = [guest for space, guest in ended.items() if space not in found]
        for guest in found.values():
            self._namespaces.adopt(guest)
        return found

    def _read_spaces(self, fabric: str, only: frozenset[str] | None, node: Reader) -> dict[str, Space]:
        """The spaces of the host, and of everything in /run/netns with the fabric's name that may be ours."""
        if not self._reading.begun:
            kept = {} if only is None else {n: what for n, what in self._named if f"node {n}" not in only}
            self._named = list(self._namespaces.named(f"{fabric}.", kept))
        guests = [(guest.name.text, NAMESPACE) for guest in self._guests.values()]
        there = {f"node {name}": what for name, what in self._named + guests if what != FOREIGN}
        found: dict[str, Space] = {}
        host_links, self._host_links = self._host_links, None
        last = self._spaces.get(HOST) if only is not None and HOST not in only else None
        # The host is read first: it takes longest.
        readers: dict[str, Reader] = {HOST: UNSTEADY} if last is None and host_links is None else {}
        for space, what in there.items():
            if what == LEFTOVER:
                found[space] = Space([], [], [])
            elif only is not None and space not in only and space in self._spaces:
                found[space] = self._spaces[space]
            else:
                readers[space] = node if only is None or space in only or self._inside else LO
        if not self._reading.covers(readers, self._guests):
            self._reading.begin(readers, self._guests)
        if last is not None:
            found[HOST] = last
        elif host_links is not None:
            found[HOST] = self._host(host_links)
        found.update(self._reading.finish(readers))
        return {space: found[space] for space in (HOST, *there) if space in found}  # some are gone by now

    def read_ahead(
        self,
        fabric: str,
        node: Reader = WHOLE,
        guests: Sequence[Guest] = (),
        host: Reader | None = None,
    ) -> None:
        """Begin to read the fabric's nodes, and guests, for the next `read` of all of them.

        `host`: also the host, if nothing else needs its links before.
        """
        self._named = list(self._namespaces.named(f"{fabric}."))
        for guest in guests:
            self._namespaces.adopt(guest)
        own = (f"node {name}" for name, what in self._named if what == NAMESPACE)
        readers = dict.fromkeys((*own, *(guest.space for guest in guests)), node)
        if host is not None:
            readers = {HOST: host, **readers}
        self._reading.begin(readers, {guest.space: guest for guest in guests})

    def close(self) -> None:
        """End readings that were begun and not used."""
        self._reading.close()
        self._end_listing()

    def _sysctls(
        self, known: Mapping[str, list[Any]], spaces: dict[str, Space], only: frozenset[str] | None
    ) -> Iterator[tuple[tuple[str, str], str]]:
        asked: dict[str, set[str]] = {}
        for thing in (thing for same in known.values() if hasattr(same[0], "asks") for thing in same):
            space, key = thing.asks
            if space in spaces:
                asked.setdefault(space, set()).add(key)
        for space, keys in asked.items():
            if only is None or space in only:
                self._values[space] = dict(self._read_sysctls(space, keys))
            for key, value in self._values.get(space, {}).items():
                if key in keys:
                    yield (space, key), value

    def _read_sysctls(self, space: str, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        with suppress(FileNotFoundError), self._namespaces.inside(space):
            for key in sorted(keys):
                with suppress(OSError):
                    yield key, " ".join(text_of(f"/proc/sys/{key}").split())

    def foreign(self, fabric: str) -> dict[Name, str]:
        """Names on this host held by somebody else, and by whom, at the last reading."""
        held = names_of_others(fabric, self._spaces, self._named)
        held |= tables_of_others(self._foreign_tables)
        return held | dict.fromkeys(self._foreign_xfrm, OTHERS_XFRM)

    def leaning(self, fabric: str) -> dict[Name, str]:
        """The fabric's bridges with ports of somebody else, and these in words, at the last reading."""
        return ports_of_others(fabric, self._spaces[HOST].links, self._switches)


def _switches(known: Mapping[str, list[Any]]) -> tuple[Switch, ...]:
    """Open vSwitch's bridges. Raises NoAnswer, but returns none if nothing known is on any of them."""
    try:
        return openvswitch.read() or ()
    except NoAnswer:
        if SWITCHED.isdisjoint(known):
            return ()
        raise


def docker_rules(host: list[Link]) -> list[Any]:
    """The rules of DOCKER-USER, Docker's chain for others' rules; read only if Docker's bridge exists."""
    found = []
    if any(link.name == "docker0" for link in host):
        from netfab.objects.passage import CHAIN, TABLE

        for family in ("ip", "ip6"):
            found += [{"family": family, **rule} for rule in rules_of(family, TABLE, CHAIN) or ()]
    return found


def _read_of_xfrm(message: XfrmMessage) -> Any:
    from netfab.objects import xfrm  # only few hosts have any
    from netfab.objects.xfrm_policy import XfrmPolicy
    from netfab.objects.xfrm_state import XfrmState

    return (XfrmState if message.type == xfrm.NEWSA else XfrmPolicy).of(message)


def _files(directory: str) -> Iterator[tuple[str, tuple[int, str]]]:
    same: dict[str, str] = {}  # many have equal content, which is then in memory once
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # of one that has just gone; keep the others
                if entry.is_file(follow_symlinks=False):
                    with open(entry.path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                        content = file.read()
                    mode = entry.stat(follow_symlinks=False).st_mode & 0o777
                    yield entry.path, (mode, same.setdefault(content, content))
