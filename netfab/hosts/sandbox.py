"""A sandbox: network and mount namespaces with private /run and /var/lib, which look like a machine.

It can't touch the machine's network, its names can't collide, and it ends with its holder: nothing to
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
_PASSED = (signal.SIGINT, signal.SIGTERM)  # signals passed on into the sandbox


def enter() -> None:
    """Move this single-threaded process into a new sandbox, which has only lo, up. Raises OSError."""
    linux.unshare(linux.CLONE_NEWNET)
    furnish()
    netlink = Netlink()
    up = Request("host", RTM_NEWLINK, 0, Body(IFINFO, (0, 0, 1, IFF_UP, IFF_UP), ()))
    netlink.batch([(1, encode(up, lambda name: 1, 1))])
    netlink.close()


def furnish() -> None:
    """Give this process a mount namespace that fits its network namespace. Raises OSError."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    for path in PRIVATE:
        linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755")
    _bridge_without_netfilter()


def _bridge_without_netfilter() -> None:
    """Turn off what a loaded br_netfilter does in new namespaces: pass bridged frames through the IP hooks.

    DNAT would then happen before the bridge's decision, and a node could not reach its own published port
    (br_netfilter.c).
    """
    for family in ("iptables", "ip6tables", "arptables"):
        with suppress(OSError), open(f"/proc/sys/net/bridge/bridge-nf-call-{family}", "w") as file:
            file.write("0")


@contextmanager
def throwaway() -> Iterator[None]:
    """Within this, the thread is in a new sandbox; afterwards it is back where it was."""
    with excursion():
        enter()
        yield


@contextmanager
def excursion() -> Iterator[None]:
    """Afterwards, the thread is back in its network and mount namespaces, wherever it went within this."""
    before = [
        (os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC), flag)
        for kind, flag in (("net", linux.CLONE_NEWNET), ("mnt", linux.CLONE_NEWNS))
    ]
    directory = os.open(".", os.O_PATH | os.O_CLOEXEC)  # its path may have unreadable components
    linux.unshare(linux.CLONE_FS)  # setns(2): no mount namespace change while sharing root and directory
    try:
        yield
    finally:
        linux.unshare(linux.CLONE_FS)  # from threads created meanwhile
        for fd, flag in before:
            linux.setns(fd, flag)
            os.close(fd)
        os.fchdir(directory)
        os.close(directory)


def run(inside: Callable[[], int], name: str = "", beside: Beside | None = None) -> int:
    """Call `inside` in a new sandbox with a PID namespace, and return its result.

    All its processes are gone when this returns. `name`: by which `join` finds it meanwhile. `beside`: runs
    outside of the sandbox for as long; it gets the PID of the sandbox's first process.
    """
    become_root()
    inside = _taking_signals(inside)
    helper = Helper(beside) if beside else None  # before our children become process 1 and its descendants
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    held, holding = os.pipe()

    def first() -> int:
        os.close(holding)
        _take_signals(lambda number, _: os._exit(128 + number))  # nothing runs in the sandbox yet
        _end_with_holder(held)
        return _first_process(inside, name, helper)

    child = _forked(first)
    _take_signals(_passing_to(child))
    try:
        if helper is not None:
            helper.begin(child)
    finally:
        _, status = os.waitpid(child, 0)
        if helper is not None:
            helper.end()
    sweep_groups(mounted())  # cgroups are the only thing that a sandbox shares with the machine
    return _exit_code(status)


def join(lab: labs.Lab, inside: Callable[[], int]) -> int:
    """Call `inside` in a running lab, and return its result. Raises NetfabError."""
    directory = os.getcwd()
    labs.enter(lab)
    with suppress(OSError):  # in /run or /var/lib, which are private there
        os.chdir(directory)
    child = _forked(_taking_signals(inside))
    _take_signals(_passing_to(child))
    return _exit_code(os.waitpid(child, 0)[1])


def _forked(inside: Callable[[], int]) -> int:
    """Fork a child that exits with the result of `inside`; its PID. Raises OSError.

    Signals stay blocked in both until handled: for process 1, the kernel discards signals that have no
    handler and are not blocked (pid_namespaces(7)).
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
            os._exit(code)  # whatever happened: it must not run on as a second parent
    return child


def _end_with_holder(held: int) -> None:
    """End process 1 however its parent ends. `held`: a pipe whose other end the parent has."""

    def end(*_: object) -> None:
        thaw_all(mounted())
        os._exit(128 + signal.SIGKILL)

    signal.signal(signal.SIGUSR1, end)
    signal_with_parent(signal.SIGUSR1)
    if readable([held], 0):  # it ended before we asked for the signal
        end()


def _first_process(inside: Callable[[], int], name: str, helper: Helper | None) -> int:
    """Process 1 of the sandbox: reaps orphans; its end is the end of all processes there."""
    door = labs.announced(name) if name else None
    enter()
    with suppress(OSError):  # impossible in a container with a masked /proc; the old one will do
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    if helper is not None and not helper.await_begin():
        return 1
    if door is not None:
        door.listen()  # it can be found only now that it is complete
    worker = _forked(inside)
    _take_signals(_passing_to(worker))
    if door is not None:
        labs.take_in(door)  # starts a thread, so after the last fork
    while True:
        ended, status = os.wait()
        if ended == worker:
            thaw_all(mounted())
            return _exit_code(status)


def _passing_to(child: int) -> Callable[[int, object], object]:
    def pass_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):  # it has ended, and we are cleaning up
            os.kill(child, number)

    return pass_on


def _take_signals(handler: Callable[[int, object], object]) -> None:
    for number in _PASSED:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)


def _taking_signals(inside: Callable[[], int]) -> Callable[[], int]:
    """Wrap `inside` for a child, with the signal handlers that this process has now."""
    handlers = [(number, signal.getsignal(number)) for number in _PASSED]

    def taking() -> int:
        for number, handler in handlers:
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED)
        return inside()

    return taking


def _exit_code(status: int) -> int:
    """The exit code that a shell gives a wait status: 128 plus the signal for a killed process."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
