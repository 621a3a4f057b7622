"""Sysctl: a value below /proc/sys in a node's namespace that netlink can't set."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Self

from netfab.objects.base import HOST, Dump, Name, Op, namespace_of, node_of
from netfab.objects.difference import fields
from netfab.objects.ops import ResetSysctl, WriteSysctl
from netfab.tuples import NamedTuple

_OF_INTERFACE = r"(net/[a-z0-9]+/(?:conf|neigh)/)([^/]+)(/[^/]+)"
_NO_LINKS = ("all", "default", "lo")  # which exist from the start


def key_of(dotted: str) -> str:
    """The key with slashes; dots in an interface's name stay: net.ipv4.conf.eth0.10.rp_filter."""
    if found := re.fullmatch(r"(net\.[a-z0-9]+\.(?:conf|neigh))\.(.+)\.([^.]+)", dotted):
        return f"{found[1].replace('.', '/')}/{found[2]}/{found[3]}"
    return dotted.replace(".", "/")


def interface_of(key: str) -> str:
    """The interface that a key is about; "": the whole namespace, or the defaults of new interfaces."""
    found = re.fullmatch(_OF_INTERFACE, key)
    return found[2] if found and found[2] not in _NO_LINKS else ""


def of_new_one(key: str) -> str:
    """The key with the initial value of a new interface, or namespace: net/ipv4/conf/default/rp_filter."""
    return re.sub(_OF_INTERFACE, r"\1default\3", key) if interface_of(key) else key


class Sysctl(NamedTuple):
    """A namespaced sysctl, its key with slashes: net/ipv4/ip_forward, net/ipv4/conf/eth0.10/rp_filter.

    Deleting it restores the value of a new namespace, or of a new interface there.
    """

    space: str
    key: str
    value: str

    @property
    def fixed(self) -> Hashable:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def names(self) -> tuple[Name, ...]:
        return (Name(f"sysctl {self.space}", self.key),)

    @property
    def needs(self) -> tuple[Name, ...]:
        interface = interface_of(self.key)
        return (Name(self.space, interface),) if interface else namespace_of(self.space)

    @property
    def within(self) -> tuple[Name, ...]:
        return self.needs

    @property
    def asks(self) -> tuple[str, str]:
        """The (space, key) to read: no dump lists sysctls."""
        return self.space, self.key

    def create(self) -> list[Op]:
        return [WriteSysctl(self.space, self.key, self.value)]

    def update(self, before: Self) -> list[Op]:
        return self.create()

    def delete(self) -> list[Op]:
        return [ResetSysctl(self.space, self.key, of_new_one(self.key))]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for (space, key), value in dump.sysctls.items():
            if space != HOST:
                yield cls(space, key, value)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people."""
        return fields(before, self, {"value": ""})

    def __str__(self) -> str:
        return f"sysctl {self.key} of {node_of(self.space)}"
