"""Steps that are not rtnetlink messages: namespaces, files, sysctls, nft, Open vSwitch, waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from netfab.errors import KernelRefused
from netfab.kernel import nft, openvswitch
from netfab.kernel.netns import Namespaces
from netfab.objects.base import Name, Op
from netfab.objects.ops import (
    AwaitAddresses,
    AwaitCarrier,
    CopyNeighbours,
    DelNamespace,
    DelTable,
    DropRules,
    EnterGuest,
    NewNamespace,
    Nft,
    Ovs,
    RemoveFile,
    ResetSysctl,
    WriteFile,
    WriteSysctl,
    Xfrm,
)
from netfab.system.files import public_directory
from netfab.system.proc import text_of, write_text

Steps = Sequence[tuple[int, Any]]  # (number of the change, step)
Failures = list[Exception | None]  # of each change
Handler = Callable[[Steps, Failures], None]
Errand = Callable[[], None]  # runs while the kernel is busy; sends nothing to rtnetlink


def carry_out(op: Op, namespaces: Namespaces, index_of: Callable[[Name], int]) -> None:
    """Carry out one step. Raises OSError, as `index_of` does for a link that does not exist."""
    match op:
        case NewNamespace(name, group):
            namespaces.create(name, group)
        case EnterGuest(guest):
            namespaces.adopt(guest)
            os.close(namespaces.open(guest.name.text))
        case DelNamespace(name):
            namespaces.delete(name)
        case AwaitCarrier(bridge, port, space):
            from netfab.kernel.lending import await_carrier

            await_carrier(namespaces.socket(space), index_of(bridge), index_of(port))
        case AwaitAddresses(link, space):
            from netfab.kernel.lending import await_addresses

            with suppress(OSError):  # it is gone
                await_addresses(namespaces.socket(space), index_of(link))
        case CopyNeighbours(source, target, space):
            from netfab.kernel.lending import copy_neighbours

            with suppress(OSError, KernelRefused):  # the kernel resolves unknown neighbours
                copy_neighbours(namespaces.socket(space), index_of(source), index_of(target))
        case WriteFile(path, mode, content):
            _write_file(path, mode, content)
        case RemoveFile(path):
            with suppress(FileNotFoundError):
                os.unlink(path)
            with suppress(OSError):  # it still has other files of the fabric
                os.rmdir(os.path.dirname(path))
                os.rmdir(os.path.dirname(os.path.dirname(path)))
        case WriteSysctl(space, key, value, optional):
            with namespaces.inside(space), suppress(*([FileNotFoundError] if optional else [])):
                write_text(f"/proc/sys/{key}", value)
        case ResetSysctl(space, key, new):
            value = _pristine(new, namespaces)
            with namespaces.inside(space):
                write_text(f"/proc/sys/{key}", value)
        case Nft(commands):
            nft.load(commands)
        case DelTable(family, table):
            with suppress(FileNotFoundError):
                nft.delete_tables((family, table))
        case Xfrm():
            from netfab.kernel import xfrm

            xfrm.send(op)
        case Ovs(commands, _, ends):
            openvswitch.change(commands, ends)
        case DropRules(family, table, chain, comment):
            nft.drop_rules(family, table, chain, comment)
        case _:
            raise AssertionError(f"no way to carry out {op}")


def _pristine(key: str, namespaces: Namespaces) -> str:
    """A sysctl's value in a new namespace of this host."""
    with namespaces.inside_new():
        return text_of(f"/proc/sys/{key}")


def _write_file(path: str, mode: int, content: str) -> None:
    """Write in place, not by rename: after a rename, a bind mount of the file shows the old one for ever."""
    public_directory(os.path.dirname(path))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        os.fchmod(fd, mode)
        file.write(content)
        file.truncate()
