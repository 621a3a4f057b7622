"""`netfab watch`: repairs what others change, and reattaches restarted containers, as it happens.

Programs that end are left to their restart policies.

It checks after every event that may matter, and periodically, since events inside a node are not seen
outside. It has no state: the desired state is what was applied, and each repair is
a `reconcile`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from netfab.engine.diff import Change
from netfab.errors import Interrupted, NetfabError
from netfab.facts import guests
from netfab.imperative import adhoc
from netfab.objects.base import Fabric
from netfab.objects.guest import Guest
from netfab.objects.kinds import ASKED
from netfab.system.poll import readable
from netfab.topology.adhoc import NAME
from netfab.where import HERE, Where, need_root, records

SETTLE = 0.1  # seconds after an event during which related ones may follow
CALM = 4.0  # pause between checks, times a check's duration: at most a fifth of a processor
_DIRECTORIES = ("/run/netns", "/run/crun", "/run/runc")

Told = Callable[[str, tuple[Change, ...], NetfabError | None], None]  # fabric, repairs, failure


def watch(names: Iterable[str], told: Told, every: float = 10.0, where: Where = HERE) -> None:
    """Watch until SIGTERM or SIGINT. No names: every fabric of this host, and all attachments.

    `told` is called for each repair, and for each failure, which is retried on the next event.
    """
    need_root("watch")
    from netfab.guests.events import Events
    from netfab.guests.sources import sources_of

    sources = sources_of(os.environ)
    events = Events((*sources.docker, *sources.podman), _DIRECTORIES)
    wanted, where = tuple(names), where._replace(unattended=True)
    with _signals() as stop:
        while True:
            began = monotonic()
            for name in wanted or [one.name for one in records(where) if one.whole or one.name == NAME]:
                _look(name, told, where)
            took = monotonic() - began
            ends = list(_ends_of_guests(where))
            try:
                over = events.wait(every, ends, stop) or events.wait(0, (), stop)
            finally:
                for fd in ends:
                    os.close(fd)
            if over or _rest(max(SETTLE, CALM * took), stop):
                return


def _look(name: str, told: Told, where: Where) -> None:
    """Repair one fabric, if it needs it."""
    try:
        changes = adhoc.reconcile(name, where).changes if name == NAME or _can_be_mended(name, where) else ()
    except Interrupted:
        return  # the signal is handled in `watch`
    except NetfabError as error:
        told(name, (), error)
    else:
        if changes:
            told(name, changes, None)


def _can_be_mended(name: str, where: Where) -> bool:
    """Whether there is repairable drift; an ended guest can't be repaired."""
    return any(change.after or not isinstance(change.before, Guest) for change in adhoc.drift(name, where))


def _ends_of_guests(where: Where) -> Iterator[int]:
    """A pidfd for each running guest of any fabric."""
    for record in records(where):
        for guest in guests.guests_in(Fabric.from_json(record.desired, ASKED)).values():
            if guest.pid:
                with suppress(OSError):
                    yield os.pidfd_open(guest.pid)


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that becomes readable on a terminating signal, even while signals are deferred."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before: dict[int, Any] = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)
    }
    woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _rest(seconds: float, stop: int) -> bool:
    """Pause to let related events arrive; whether a signal came."""
    return bool(readable([stop], seconds))
