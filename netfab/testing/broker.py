"""The broker: a single-threaded process, one for each pytest process, from which sandboxes are forked.

pytest's own process may have threads, which can't make a user namespace (unshare(2)), and must not change its
namespaces. In each sandbox one process waits for calls (made by `netfab.testing.sandboxes`) and forks for
each of them: what a call does to its process ends with it. A sandbox ends with its caller, and all of
them with the broker, which ends when pytest does, even if pytest is killed.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module

from netfab.errors import NetfabError
from netfab.hosts import sandbox
from netfab.kernel.userns import become_root
from netfab.system.poll import readable
from netfab.system.process import signal_with_parent
from netfab.testing.line import Line, failure

_USED = (  # by nearly every sandbox: imported once, before any of them is forked
    "netfab.fabric",
    "netfab.diagnose.checks",
    "netfab.diagnose.this_host",
    "netfab.store.sqlite",
    "netfab.topology.load",
    "netfab.runtime.exec",
    "netfab.testing.asked",
    "netfab.testing.captured",
    "netfab.testing.impaired",
    "netfab.testing.recorder",
    "netfab.testing.split",
    "netfab.testing.whole",
    "netfab.testing.servers",
)
_REHEARSAL = """
name: rehearsal
networks: {one: {gateway: r}, other: {}}
nodes: {r: {}, a: {networks: [one]}, b: {networks: [other]}}
links: [[r, b]]
"""


def main(door: int, parent: int) -> None:
    """Give a sandbox to each client of the socket `door`, until the process that opened it is gone."""
    opener = os.pidfd_open(parent)
    callers = socket.socket(fileno=door)
    line = Line(callers)
    try:
        become_root()
        sandbox.enter()
    except (NetfabError, OSError) as error:
        line.tell(failure(error))
        return
    _rehearse()
    gc.freeze()  # garbage collection in a fork would copy every page it visits
    gc.disable()
    line.tell(None)
    while True:
        ready = _forked_sandbox(callers)  # ahead of the request: it gets ready while a test runs
        if opener in readable([door, opener], None) or not callers.recv(1):
            return
        socket.send_fds(callers, [b"+"], [ready.fileno()])
        ready.close()
        with suppress(ChildProcessError):  # no child, not even the spare sandbox: it could not be made
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                pass


def _rehearse() -> None:
    """Import, compile and cache up front what every sandbox would have to: half of the time of its apply."""
    for module in _USED:
        import_module(module)
    from netfab import fabric
    from netfab.testing import whole

    with suppress(NetfabError):  # the first test reports what is wrong with this host
        fabric.destroy(whole.apply(_REHEARSAL, "rehearsal", "/", {}).fabric)


def _warm_up() -> None:
    """Plan something before anybody waits: pages that a fork writes to first, the kernel copies.

    This takes 12 ms, and saves 9 of the 47 ms that ten nodes take.
    """
    from netfab.testing import whole

    with suppress(Exception):  # the first call reports what is wrong with this host
        whole.plan(_REHEARSAL, "rehearsal", "/", {})


def _forked_sandbox(callers: socket.socket) -> socket.socket:
    """The client's end of the socket of a fresh sandbox."""
    broker = os.getpid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        return ours
    code = 1
    try:
        callers.close()
        ours.close()
        signal_with_parent(signal.SIGTERM)
        if os.getppid() == broker:
            code = sandbox.run(lambda: _serve(theirs))
    finally:
        os._exit(code)


def _serve(calls: socket.socket) -> int:
    """In the sandbox: answer calls until the caller is gone. The first is answered here, not in a fork."""
    _warm_up()
    first = True
    while True:
        data, fds, _, _ = socket.recv_fds(calls, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return 0
        line = Line(socket.socket(fileno=fds[0]))
        if first:
            _answer(line)
            first = False
            gc.enable()  # forks from here on may last as long as a session
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
        elif os.fork() == 0:
            calls.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(line)
            os._exit(0)
        line.close()


def _answer(line: Line) -> None:
    """One call: (function, arguments). One that `talks` gets the line, and the call's descriptors."""
    try:
        (function, arguments, talks), fds = line.hear()
        if talks:
            function(line, fds, *arguments)
        else:
            line.tell(function(*arguments))
    except (BrokenPipeError, ConnectionResetError, EOFError):  # the caller is gone
        return
    except BaseException as error:
        line.tell(failure(error))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
