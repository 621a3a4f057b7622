"""Links that are being deleted: the caller goes on as soon as nobody can see them any more.

The kernel is not done with them by then. To end a bridge it waits for two grace periods (rcu_barrier in
br_multicast_dev_del and in netdev_run_todo, some 15 ms each): the links have no name before the first, are in
no dump after it, and their memory is free after the second.

Notifications about links do not tell: for each port the kernel sends five before that, and takes a tenth
longer when somebody listens; the one for a bridge comes after the first grace period. That a link's settings
are gone is notified as soon as none has a name (inetdev_destroy).
"""

from __future__ import annotations

from _socket import if_indextoname
from collections.abc import Callable, Iterable

from netfab.kernel.netlink import Monitor, Netlink, Sending
from netfab.system.poll import readable


class Departing(Netlink):
    """A socket for the request that deletes these links, given by their ifindexes in this network namespace.

    `batch` returns when they are gone or their deletion was refused; `close`, when the kernel is done, too.
    """

    def __init__(self, links: Iterable[int]) -> None:
        super().__init__()
        self._left = list(links)
        self._sending: Sending | None = None

    def _send_beside(self, data: bytes, errand: Callable[[], None]) -> None:
        heard = Monitor(Monitor.CONFIGURATIONS)
        try:
            self._sending = Sending(self._socket, data)
            try:
                errand()
            finally:  # also on failure: an undo has to see the outcome
                self._wait(heard, self._sending)
        finally:
            heard.close()

    def _wait(self, heard: Monitor, sending: Sending) -> None:
        while not sending.done and self._any_is_there():
            readable([heard.fileno(), sending.fileno()], None)
            heard.drain()
        if sending.done:
            sending.finish()

    def _any_is_there(self) -> bool:
        """Whether any of them still exists; each is looked up until it is gone."""
        while self._left:
            try:
                if_indextoname(self._left[-1])
            except OSError:
                self._left.pop()
            else:
                return True
        return False

    def close(self) -> None:
        """Wait until the kernel is done; `batch` reported what it refused."""
        if self._sending is not None:
            self._sending.finish()
        super().close()
