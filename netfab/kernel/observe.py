"""Read a fabric from the kernel: one dump of links, addresses and routes per namespace, and its files.

Only reads. What the messages mean is the business of the kinds (objects/).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from netfab.kernel import openvswitch
from netfab.kernel.dumps import (
    links,
    marked_addresses,
    neighbours,
    qdiscs,
    read_mark,
    read_space,
    routes,
    vlans,
)
from netfab.kernel.netlink import Netlink
from netfab.kernel.netns import DIRECTORY, FOREIGN, LEFTOVER, NAMESPACE, Namespaces
from netfab.kernel.nft import Listing, rules_of
from netfab.kernel.xfrm import states_and_policies
from netfab.objects.base import HOST, Dump, Fabric, Name, Space
from netfab.objects.borrowed import Borrowed
from netfab.objects.guest import Guest
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
    related,
)
from netfab.objects.macvlan import Macvlan
from netfab.objects.neighbour import Neighbour, NeighbourMessage
from netfab.objects.nic import Nic
from netfab.objects.ovsdb import Switch, SwitchPort
from netfab.objects.passage import CHAIN, TABLE
from netfab.objects.port import Entry, default_vlans
from netfab.objects.qdisc import Qdisc, QdiscMessage
from netfab.objects.uplink import Lent, Uplink
from netfab.objects.wire import (
    number,
    text,
)
from netfab.objects.xfrm import NEWSA, XfrmMessage
from netfab.objects.xfrm_policy import XfrmPolicy
from netfab.objects.xfrm_state import XfrmState
from netfab.system.proc import text_of

Reader = Callable[[Netlink], Space]  # of a node's namespace


class Observer:
    """Reads one fabric; keeps what it read, so that a second reading can be of a few namespaces only."""

    def __init__(self, namespaces: Namespaces, directory: str) -> None:
        self._namespaces = namespaces
        self._directory = directory  # the fabric's run directory, whose files are its own
        self._values: dict[str, dict[str, str]] = {}  # of sysctls, as they were last read
        self._named: list[tuple[str, str]] = []  # what /run/netns has of the fabric, and what it is
        self._spaces: dict[str, Space] = {}
        self._qdiscs: dict[str, list[QdiscMessage]] = {}
        self._guests: dict[str, Guest] = {}  # those that live, by their space
        self.gone: list[Guest] = []  # those known that don't, by the last reading
        self._inside = False  # whether something in a namespace has to be looked for, even when that ends
        self._host_links: list[Link] | None = None  # read ahead, for the next reading
        self._neighbours: dict[str, list[NeighbourMessage]] = {}
        self._tables: list[Any] = []
        self._foreign_tables: list[tuple[str, str]] = []
        self._switches: tuple[Switch, ...] = ()
        self._vlans: dict[int, tuple[Entry, ...]] = {}
        self._passages: list[Any] = []
        self._xfrm: list[XfrmMessage] = []
        self._foreign_xfrm: list[Name] = []

    def read(
        self,
        fabric: str,
        known: Sequence[Fabric],
        only: frozenset[str] | None,
        node: Reader = read_space,
    ) -> Dump:
        """All of the fabric; with `only`, those spaces anew and the rest as it was read last.

        `node` reads a node's space.
        """
        if only is not None and HOST not in only:
            return self._read(fabric, known, only, node)
        with Listing(fabric) as listing:  # nft works while the links are read
            dump = self._read(fabric, known, only, node)
            self._tables, self._foreign_tables = listing.tables(), listing.foreign
            self._passages = docker_rules(dump.spaces[HOST].links)
        return dump._replace(tables=self._tables, passages=self._passages)

    def forget(self) -> None:
        """Keep nothing of what was read."""
        self._spaces, self._tables, self._passages, self._neighbours = {}, [], [], {}

    def host_links(self) -> list[Link]:
        """The host's links; the next reading takes them as read, as a dump of a thousand takes its time."""
        self._host_links = links(self._namespaces.socket(HOST))
        return self._host_links

    def _space(self, space: str, node: Reader) -> Space:
        netlink = self._namespaces.socket(space)
        if space != HOST:
            return node(netlink)
        if self._host_links is None:
            return read_space(netlink)
        found, self._host_links = self._host_links, None
        return Space(found, marked_addresses(netlink), routes(netlink))

    def _read(
        self,
        fabric: str,
        known: Sequence[Fabric],
        only: frozenset[str] | None,
        node: Reader,
    ) -> Dump:
        self._guests = self._living(known, only)
        self._inside = any(type(thing) in (Macvlan, Nic) for one in known for thing in one.values())
        self._spaces = self._read_spaces(fabric, only, node)
        if only is None or HOST in only:
            self._switches = openvswitch.read() or ()
            filters = default_vlans(self._spaces[HOST].links)
            self._vlans = vlans(self._namespaces.socket(HOST)) if filters else {}
            self._read_xfrm(fabric)
        own = {
            space: found
            for space, found in self._spaces.items()
            if space == HOST or space in self._guests or _marked(found, fabric)
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
            sysctls=dict(self._sysctls(known, own, only)),
            originals={
                thing.key: thing.original
                for one in known
                for thing in one.values()
                if type(thing) is Borrowed
            },
            nics={
                thing.name: thing.original for one in known for thing in one.values() if type(thing) is Nic
            },
            uplinks=dict(self._uplinks(fabric, known)),
            tables=self._tables,
            switches=self._switches,
            vlans=self._vlans,
            passages=self._passages,
            guests=self._guests,
            xfrm=self._xfrm,
            neighbours=self._read_neighbours(marked, known, own, only),
            qdiscs=self._read_qdiscs(known, own, only),
        )

    def _uplinks(self, fabric: str, known: Sequence[Fabric]) -> Iterator[tuple[str, Lent]]:
        """NICs with the fabric's mark that are known to be lent to a bridge, or are on one of its own."""
        host = self._spaces[HOST].links
        marked = [link for link in host if is_moved_by(link, fabric)]
        if not marked:
            return
        from netfab.kernel.uplinks import lent

        bridges = {link.ifindex: link for link in host if link.kind == "bridge"}
        for nic in marked:
            meant = [
                thing
                for one in known
                for thing in one.values()
                if type(thing) is Uplink and moved_mark(fabric, thing.nic) == text(nic.attrs[IFALIAS])
            ]
            own = bridges.get(number(nic.attrs.get(MASTER, b"")))
            if meant or (own is not None and owned(own, fabric)):
                found = lent(self._namespaces.socket(HOST), nic, host, meant)
                yield text(nic.attrs[IFALIAS]).removeprefix(moved_mark(fabric)), found

    def _read_qdiscs(
        self, known: Sequence[Fabric], own: dict[str, Space], only: frozenset[str] | None
    ) -> dict[str, list[QdiscMessage]]:
        """Of the spaces in which some are known to be: they cost a dump of their own."""
        asked = {thing.link.space for one in known for thing in one.values() if type(thing) is Qdisc}
        for space in (asked | self._qdiscs.keys()) & own.keys():
            if only is None or space in only:
                with suppress(FileNotFoundError):
                    self._qdiscs[space] = qdiscs(self._namespaces.socket(space))
        return {space: found for space, found in self._qdiscs.items() if space in own}

    def _read_neighbours(
        self,
        marked: Iterable[tuple[str, Link]],
        known: Sequence[Fabric],
        own: dict[str, Space],
        only: frozenset[str] | None,
    ) -> dict[str, list[NeighbourMessage]]:
        """Of the spaces in which some are known to be, or a tunnel is: they cost a dump of their own."""
        asked = {thing.link.space for one in known for thing in one.values() if type(thing) is Neighbour}
        asked |= {space for space, link in marked if link.kind == "vxlan"}
        for space in (asked | self._neighbours.keys()) & own.keys():
            if only is None or space in only:
                with suppress(FileNotFoundError):
                    self._neighbours[space] = neighbours(self._namespaces.socket(space))
        return {space: found for space, found in self._neighbours.items() if space in own}

    def _read_xfrm(self, fabric: str) -> None:
        """What of IPsec carries the fabric's mark; of the rest only the names."""
        self._xfrm, self._foreign_xfrm = [], []
        for message in states_and_policies():
            thing = XfrmState.of(message) if message.type == NEWSA else XfrmPolicy.of(message)
            if thing.reqid == group_of(fabric):
                self._xfrm.append(message)
            else:
                self._foreign_xfrm.append(thing.names[0])

    def _living(self, known: Sequence[Fabric], only: frozenset[str] | None) -> dict[str, Guest]:
        """The known guests that live; of two in one place the last one: it was there first.

        With `only`, those elsewhere that lived at the last reading still do.
        """
        found: dict[str, Guest] = {}
        ended: dict[str, Guest] = {}
        for guest in (thing for one in known for thing in one.values() if type(thing) is Guest):
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
        """The host's space, and that of everything in /run/netns with the fabric's name that may be ours."""
        spaces: dict[str, Space] = {}
        self._named = list(self._namespaces.named(f"{fabric}."))
        guests = [(guest.name.text, NAMESPACE) for guest in self._guests.values()]
        for name, what in [("", NAMESPACE), *self._named, *guests]:
            space = f"node {name}" if name else HOST
            if what == LEFTOVER:
                spaces[space] = Space([], [], [])
            elif what == FOREIGN:
                continue
            elif only is not None and space not in only and space in self._spaces:
                spaces[space] = self._spaces[space]
            else:
                with suppress(FileNotFoundError):  # ended meanwhile
                    whole = only is None or space in only or self._inside
                    spaces[space] = self._space(space, node if whole else read_mark)
        return spaces

    def _sysctls(
        self, known: Sequence[Fabric], spaces: dict[str, Space], only: frozenset[str] | None
    ) -> Iterator[tuple[tuple[str, str], str]]:
        asked: dict[str, set[str]] = {}
        for fabric in known:
            for thing in fabric.values():
                if (asks := getattr(thing, "asks", None)) and asks[0] in spaces:
                    asked.setdefault(asks[0], set()).add(asks[1])
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
        """Names on this host that somebody else holds, and who, by the last reading."""
        held = {
            Name("firewall", family): f"one that netfab did not make, {table}"
            for family, table in self._foreign_tables
        }
        held |= dict.fromkeys(self._foreign_xfrm, "another fabric's, or one that netfab did not make")
        for space, found in self._spaces.items():
            for link in found.links:
                if not owned(link, fabric):
                    held[Name(space, link.name)] = _holder(link)
        for name, what in self._named:
            inside = self._spaces.get(f"node {name}")
            if what == FOREIGN:
                held[Name("namespace", name)] = f"a file that netfab did not make, {DIRECTORY}/{name}"
            elif inside is not None and not _marked(inside, fabric):
                held[Name("namespace", name)] = (
                    f"a network namespace that netfab did not make, {DIRECTORY}/{name}"
                )
        return held

    def leaning(self, fabric: str) -> dict[Name, str]:
        """The fabric's bridges that somebody else has ports on, and these in words, by the last reading."""
        host = self._spaces[HOST].links
        own = {link.ifindex: link.name for link in host if link.kind == "bridge" and owned(link, fabric)}
        found: dict[Name, list[str]] = {}
        for link in host if own else ():
            bridge = own.get(number(link.attrs.get(MASTER, b"")))
            if bridge is not None and not related(link, fabric):
                found.setdefault(Name(HOST, bridge), []).append(f"{link.name}, {_holder(link)}")
        for switch in self._switches:
            if others := switch.others(fabric) if switch.fabric == fabric else ():
                found[Name(HOST, switch.name)] = [f"{port.name}, {_owner(port)}" for port in others]
        return {name: "; ".join(links) for name, links in found.items()}


def docker_rules(host: list[Link]) -> list[Any]:
    """The rules of Docker's chain for the rules of others; looked for only where Docker's own bridge is."""
    found = []
    if any(link.name == "docker0" for link in host):
        for family in ("ip", "ip6"):
            found += [{"family": family, **rule} for rule in rules_of(family, TABLE, CHAIN) or ()]
    return found


def _marked(space: Space, fabric: str) -> bool:
    """A node's namespace is ours when its lo carries our mark, or when it is only the file for one."""
    return not space.links or any(link.ifindex == 1 and owned(link, fabric) for link in space.links)


def _holder(link: Link) -> str:
    label = text(link.attrs.get(IFALIAS, b""))
    if of_a_fabric(link):
        return f"another fabric's {link.kind} ({label or 'no label'})"
    return f"a {link.kind or 'network device'} that netfab did not make"


def _owner(port: SwitchPort) -> str:
    return f"a port of fabric {port.fabric}" if port.fabric else "a port that netfab did not make"


def _files(directory: str) -> Iterator[tuple[str, tuple[int, str]]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                with open(entry.path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                    yield entry.path, (entry.stat(follow_symlinks=False).st_mode & 0o777, file.read())
