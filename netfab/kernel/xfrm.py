"""IPsec in the caller's namespace: states and policies are read, created and deleted (ip-xfrm(8))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from errno import EEXIST, ENOENT, ESRCH

from netfab.kernel.netlink import NETLINK_XFRM, Netlink
from netfab.objects import xfrm
from netfab.objects.ops import Xfrm
from netfab.objects.wire import NLM_F_REQUEST, parse
from netfab.objects.xfrm import XfrmMessage
from netfab.system.proc import text_of

_SOCKETS = "/proc/net/netlink"
_seen = False
_HEADERS = {
    xfrm.NEWSA: xfrm.SELECTOR.size + xfrm.ID.size + xfrm.STATE.size,
    xfrm.NEWPOLICY: xfrm.SELECTOR.size + xfrm.POLICY.size,
}


def send(op: Xfrm) -> None:
    """Send a request. Raises OSError."""
    with closing(Netlink(NETLINK_XFRM)) as netlink:
        sequence = netlink.next_sequence()
        header = (16 + len(op.body)).to_bytes(4, "little") + op.type.to_bytes(2, "little")
        header += (op.flags | NLM_F_REQUEST).to_bytes(2, "little") + sequence.to_bytes(4, "little") + bytes(4)
        refused = netlink.batch([(sequence, header + op.body)])
    for errno, words in refused.values():
        if not (op.ends and errno in (ESRCH, ENOENT)):
            there = "somebody else has one" if errno == EEXIST else ""
            raise OSError(errno, words or there or os.strerror(errno))


def states() -> Iterator[XfrmMessage]:
    """All states, others' included."""
    return _dump((xfrm.GETSA, xfrm.NEWSA))


def states_and_policies() -> Iterator[XfrmMessage]:
    """All states and policies, except for the policies of sockets."""
    return _dump((xfrm.GETSA, xfrm.NEWSA), (xfrm.GETPOLICY, xfrm.NEWPOLICY))


def _dump(*asked: tuple[int, int]) -> Iterator[XfrmMessage]:
    if not _in_use() or os.geteuid() != 0:  # the kernel tells only root
        return
    with closing(Netlink(NETLINK_XFRM)) as netlink:
        for question, kind in asked:
            for data, start, end in netlink.dump(question, b""):
                behind = start + _HEADERS[kind]
                yield XfrmMessage(kind, data[start:behind], parse(data, behind, end))


def _in_use() -> bool:
    """Whether the kernel's xfrm is in use; a request would load the module.

    Checked until it is: the kernel walks through the sockets of all namespaces for that.
    """
    global _seen
    if not _seen:
        with suppress(OSError):
            _, *sockets = text_of(_SOCKETS).splitlines()
            _seen = any(line.split(maxsplit=2)[1] == str(NETLINK_XFRM) for line in sockets)
    return _seen
