"""A sandbox: network and mount namespaces with private /run and /var/lib, which look like a machine.

It can't touch the machine's network, its names can't collide, and it ends when its holder ends: nothing to
clean up. Root needs nothing else; an ordinary user gets a user namespace around it (user_namespaces(7)).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from netfab.hosts import labs
from netfab.hosts.helper import Beside, Helper
from netfab.kernel.netlink import Netlink
from netfab.kernel.userns import become_root
from netfab.objects.wire import IFF_UP, IFINFO, RTM_NEWLINK, Body, Request, encode
from netfab.runtime.cgroups import mounted, sweep_groups
from netfab.runtime.freezer import thaw_all
from netfab.system import linux
from netfab.system.poll import readable
from netfab.system.process import signal_with_parent

PRIVATE = ("/run", "/var/lib")
_PASSED = (signal.SIGINT, signal.SIGTERM)  # on, to who is in there


def enter() -> None:
    """This process (its one thread) in a new sandbox. lo is up; nothing else is there. Raises OSError."""
    linux.unshare(linux.CLONE_NEWNET)
    furnish()
    netlink = Netlink()
    up = Request("host", RTM_NEWLINK, 0, Body(IFINFO, (0, 0, 1, IFF_UP, IFF_UP), ()))
    netlink.batch([(1, encode(up, lambda name: 1, 1))])
    netlink.close()


def furnish() -> None:
    """This process in mounts of its own that fit the network that it is in. Raises OSError."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    for path in PRIVATE:
        linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755")
    _bridge_without_netfilter()


def _bridge_without_netfilter() -> None:
    """Where br_netfilter is loaded, a new namespace passes bridged frames through the IP hooks: not here.

    There DNAT happens before a bridge decides, so that a node would not reach its own published port
    (br_netfilter.c).
    """
    for family in ("iptables", "ip6tables", "arptables"):
        with suppress(OSError), open(f"/proc/sys/net/bridge/bridge-nf-call-{family}", "w") as file:
            file.write("0")


@contextmanager
def throwaway() -> Iterator[None]:
    """This thread in a new sandbox while it lasts, and back where it was afterwards."""
    with excursion():
        enter()
        yield


@contextmanager
def excursion() -> Iterator[None]:
    """This thread back in the network and mounts where it was, wherever it went meanwhile."""
    before = [
        (os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC), flag)
        for kind, flag in (("net", linux.CLONE_NEWNET), ("mnt", linux.CLONE_NEWNS))
    ]
    directory = os.open(".", os.O_PATH | os.O_CLOEXEC)  # its path may lead through what we may not read
    linux.unshare(linux.CLONE_FS)  # who shares root and directory with a thread can't leave its mounts
    try:
        yield
    finally:
        linux.unshare(linux.CLONE_FS)  # threads that were made meanwhile
        for fd, flag in before:
            linux.setns(fd, flag)
            os.close(fd)
        os.fchdir(directory)
        os.close(directory)


def run(inside: Callable[[], int], name: str = "", beside: Beside | None = None) -> int:
    """Call that in a sandbox of its own, with its own process ids, and return what it returns.

    Whatever it started is gone when this returns. `name`: under which `join` finds it meanwhile. `beside`:
    what lasts as long, outside of the sandbox; it is given the number of the sandbox's first process.
    """
    become_root()
    inside = _taking_signals(inside)
    helper = (
        Helper(beside) if beside else None
    )  # before its children are process 1 and those that end with it
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    held, holding = os.pipe()

    def first() -> int:
        os.close(holding)
        _take_signals(lambda number, _: os._exit(128 + number))  # nothing runs there yet
        _end_with_holder(held)
        return _first_process(inside, name, helper)

    child = _forked(first)
    _take_signals(lambda number, _: os.kill(child, number))
    try:
        if helper is not None:
            helper.begin(child)
    finally:
        _, status = os.waitpid(child, 0)
        if helper is not None:
            helper.end()
    sweep_groups(mounted())  # the machine's cgroups are the one thing that a sandbox shares
    return _exit_code(status)


def join(lab: labs.Lab, inside: Callable[[], int]) -> int:
    """Call that in a sandbox that runs, and return what it returns. Raises NetfabError."""
    directory = os.getcwd()
    labs.enter(lab)
    with suppress(OSError):  # it is private there: /run or /var/lib
        os.chdir(directory)
    child = _forked(_taking_signals(inside))
    _take_signals(lambda number, _: os.kill(child, number))
    return _exit_code(os.waitpid(child, 0)[1])


def _forked(inside: Callable[[], int]) -> int:
    """The number of a child that ends with what that returns. Raises OSError.

    Signals wait here and there until they are taken: from process 1 the kernel keeps those that it has no
    handler for and that do not wait (pid_namespaces(7)).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED)
    try:
        child = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    if child == 0:
        code = 1
        try:
            code = inside()
        finally:
            os._exit(code)  # whatever happened: this process must not go on as a second parent
    return child


def _end_with_holder(held: int) -> None:
    """Process 1 ends when its parent does, however. `held`: a pipe whose other end the parent has."""

    def end(*_: object) -> None:
        thaw_all(mounted())
        os._exit(128 + signal.SIGKILL)

    signal.signal(signal.SIGUSR1, end)
    signal_with_parent(signal.SIGUSR1)
    if readable([held], 0):  # it ended before we could be told
        end()


def _first_process(inside: Callable[[], int], name: str, helper: Helper | None) -> int:
    """Process 1 of the sandbox, whose end is everybody's there: collects those whose parents went."""
    door = labs.announced(name) if name else None
    enter()
    with suppress(OSError):  # a container with a masked /proc can't mount a new one; the old one serves
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    if helper is not None and not helper.await_begin():
        return 1
    if door is not None:
        door.listen()  # from here on it is found: what is entered is whole
    worker = _forked(inside)
    _take_signals(lambda number, _: os.kill(worker, number))
    if door is not None:
        labs.take_in(door)  # by a thread, so after the last fork
    while True:
        ended, status = os.wait()
        if ended == worker:
            thaw_all(mounted())
            return _exit_code(status)


def _take_signals(handler: Callable[[int, object], object]) -> None:
    for number in _PASSED:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)


def _taking_signals(inside: Callable[[], int]) -> Callable[[], int]:
    """That, in a child that handles signals as we do now."""
    handlers = [(number, signal.getsignal(number)) for number in _PASSED]

    def taking() -> int:
        for number, handler in handlers:
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)
        return inside()

    return taking


def _exit_code(status: int) -> int:
    """A wait status as a shell says it: 128 and the signal for who was killed."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
