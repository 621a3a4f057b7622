"""Guest: the network namespace of a container that somebody else runs. It is entered, never made or ended.

Whose it is (Docker's, podman's, a process's) and how it was found is guests/' business.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import Dump, Name, Op
from netfab.objects.ops import EnterGuest
from netfab.tuples import NamedTuple


class Guest(NamedTuple):
    """A foreign namespace that netfab puts links into, as a node's space. It ends with its first process.

    `started` distinguishes this run from a later one; a restarted guest has another namespace, and all
    that netfab had in the old one is gone with it.
    """

    name: Name  # ("namespace", "adhoc.docker:3f2a1b2c3d4e"): no file in /run/netns
    label: str  # docker:3f2a1b2c3d4e…, lxc:web, netns:blue: how to find it again
    path: str  # where to open it: /proc/1234/ns/net, /run/netns/blue
    pid: int  # of its first process; 0: only the path is known
    started: str  # start time of that process, or the namespace's inode

    @property
    def fixed(self) -> Hashable:
        return self.path, self.pid, self.started

    @property
    def names(self) -> tuple[Name, ...]:
        return (self.name,)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def space(self) -> str:
        """The space of what is in it."""
        return f"node {self.name.text}"

    def create(self) -> list[Op]:
        return [EnterGuest(self)]

    def update(self, before: Self) -> list[Op]:
        return []

    def delete(self) -> list[Op]:
        return []

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        yield from dump.guests.values()

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"guest {self.label}"
