"""Deleting links together: one by one each costs an RCU grace period; all of a group cost one.

The engine decides which links; execute.py sends the messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from netfab.errors import ForeignObject
from netfab.kernel.steps import Errand, Failures, Steps
from netfab.objects.base import HOST, Name
from netfab.objects.link import GROUP, IFALIAS, Link, scratch_of
from netfab.objects.wire import IFINFO, RTM_DELLINK, RTM_NEWLINK, Body, Request, text, u32

if TYPE_CHECKING:
    from typing import Protocol

    from netfab.kernel.departing import Departing
    from netfab.kernel.netlink import Netlink

    class Sender(Protocol):
        """The part of the executor that is needed here."""

        def send(self, space: str, steps: Steps, failed: Failures, beside: Errand | None = None) -> None: ...
        def send_through(self, netlink: Netlink, steps: Steps, failed: Failures, beside: Errand) -> None: ...
        def index_of(self, link: Name) -> int | None: ...


class Sweep:
    """Deletes links of the host by group; knows which links are in it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        # Those in the fabric's group, none once that may have changed; and those that were in its scratch
        # group when the links were read.
        self._in_group: set[Name] = set()
        self._in_scratch: list[Link] = []
        self._departing: Departing | None = None

    def close(self) -> None:
        """Wait until the kernel has finished with deleted links."""
        if self._departing is not None:
            self._departing.close()
            self._departing = None

    def learn(self, host: Iterable[Link], group: int) -> None:
        """Learn the host's links, with the fabric's group."""
        self._in_group, self._in_scratch = set(), []
        for link in host:
            if link.group == group:
                self._in_group.add(Name(HOST, link.name))
            elif link.group == scratch_of(group):
                self._in_scratch.append(link)

    def forget(self) -> None:
        """Forget which links are in the group: that may have changed."""
        self._in_group.clear()

    def delete(self, space: str, steps: Steps, failed: Failures, beside: Errand) -> None:
        """Delete links; `beside` runs meanwhile, and must need no link."""
        here = [(number, op) for number, op in steps if self._sender.index_of(op.link) is not None]
        meant = {op.link for _, op in here}
        if len(here) == 1:
            number, op = here[0]
            body = Body(IFINFO, (0, 0, op.link, 0, 0), ())
            request = Request(space, RTM_DELLINK, 0, body, doing=f"delete {op.link}")
            self._sender.send(space, [(number, request)], failed, beside)
        elif here and space == HOST and self._most_go(meant):
            self._delete_group(here, failed, beside)
        elif here:
            self._delete_scratch(space, here, failed, beside)

    def _most_go(self, meant: set[Name]) -> bool:
        """Whether more than twice as many of the fabric's links on the host are deleted as stay."""
        return meant <= self._in_group and 2 * len(self._in_group - meant) < len(meant)

    def _delete_group(self, steps: Steps, failed: Failures, beside: Errand) -> None:
        """Delete the fabric's group on the host, after moving the links that stay out of it."""
        first, group = steps[0][0], steps[0][1].group
        staying = self._in_group - {op.link for _, op in steps}
        if not staying:
            self._see_off(steps, failed, beside)
            return
        away = [(first, _regroup(link, scratch_of(group))) for link in sorted(staying)]
        back = [(first, _regroup(link, group)) for link in sorted(staying)]
        self._sender.send(HOST, away, failed)
        if failed[first] is None:  # else the group still holds a link that stays
            self._sender.send(HOST, [(first, end_of_group(HOST, group))], failed, beside)
            self._sender.send(HOST, back, failed)
        self._in_group = staying

    def _see_off(self, steps: Steps, failed: Failures, beside: Errand) -> None:
        """Delete the fabric's whole group on the host; return when nobody sees its links any more."""
        from netfab.kernel.departing import Departing

        first, group = steps[0][0], steps[0][1].group
        self.close()
        indexes = (self._sender.index_of(op.link) for _, op in steps)
        self._departing = Departing(index for index in indexes if index is not None)
        self._sender.send_through(self._departing, [(first, end_of_group(HOST, group))], failed, beside)
        self._in_group = set()

    def _delete_scratch(self, space: str, steps: Steps, failed: Failures, beside: Errand) -> None:
        """Delete links through the scratch group; first move others out of it, or fail if one is foreign."""
        first, group = steps[0][0], steps[0][1].group
        meant = {op.link for _, op in steps}
        strays = [link for link in self._in_scratch if space == HOST and Name(HOST, link.name) not in meant]
        for link in strays:
            label = text(link.attrs.get(IFALIAS, b""))
            if label and not label.startswith("netfab:"):
                told = f"{link.name} is in the group of links to delete, and not ours: {label!r}"
                failed[first] = ForeignObject(told)
                return
        requests = [(first, _regroup(Name(HOST, link.name), group)) for link in strays]
        requests += [(number, _regroup(op.link, scratch_of(group))) for number, op in steps]
        self._sender.send(space, requests, failed)
        self._sender.send(space, [(first, end_of_group(space, scratch_of(group)))], failed, beside)


def end_of_group(space: str, group: int) -> Request:
    """The request that deletes all links of a group."""
    body = Body(IFINFO, (0, 0, 0, 0, 0), ((GROUP, u32(group)),))
    return Request(space, RTM_DELLINK, 0, body, doing="delete a group of links")


def _regroup(link: Name, group: int) -> Request:
    body = Body(IFINFO, (0, 0, link, 0, 0), ((GROUP, u32(group)),))
    return Request(link.space, RTM_NEWLINK, 0, body, doing=f"delete {link}", ends=True)
