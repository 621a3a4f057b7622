"""The containers of one fabric: started, restarted, adopted, stopped, and their outcome recorded.

Knows processes, not connections: supervisor.py tells it what was asked for and when a descriptor or a timer
fires. An end is written to the record before anybody is told.
"""

from __future__ import annotations

import _signal as signal  # `signal` takes 0.3 MB
import errno
import gc
import os
import select
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

from netfab import TYPE_CHECKING
from netfab.errors import ContainerFailed, NetfabError
from netfab.runtime import cgroups, pausing, record
from netfab.runtime.container import FIRST_DELAY, Container
from netfab.runtime.handled import handles, handling
from netfab.runtime.launcher import Launcher
from netfab.runtime.paths import Paths
from netfab.runtime.record import EXITED, RESTARTING, RUNNING, Record
from netfab.runtime.spawn import Prepared, Spawned, await_exec, permit, prepare, spawn
from netfab.runtime.spec import Restart
from netfab.runtime.terminals import Terminals
from netfab.runtime.timers import Timers
from netfab.system.proc import boot_id, start_ticks, zombie_status
from netfab.system.process import exit_status_of_stranger

if TYPE_CHECKING:
    from typing import TypeVar

    _Given = TypeVar("_Given")
    _Made = TypeVar("_Made")


_NEVER = Restart("no")  # until its policy is read
_IN_FLIGHT = 32  # processes that are cloned in one go
_LONGEST_DELAY = 60.0  # seconds before a restart: the first one doubled each time ...
_STEADY = 10.0  # ... until a process has run this long
_NEXT_TRY = 1.0  # seconds until a record that could not be written is tried again


class Keeper:
    """Holds every container that has not ended. `on_end` is called with the name of one that has."""

    def __init__(
        self, paths: Paths, poll: select.epoll, timers: Timers, on_end: Callable[[str], None]
    ) -> None:
        self._paths, self._poll, self._timers, self._on_end = paths, poll, timers, on_end
        self._by_pidfd: dict[int, Container] = {}
        self.terminals = Terminals(poll)
        self.containers: dict[str, Container] = {}
        self.launcher: Launcher  # once the mount namespace is ready, which is after adopt()

    def adopt(self) -> None:
        """Take over the containers of a dead supervisor, while paths in /run/netns can still be opened."""
        for name in os.listdir(self._paths.records):
            known = record.read_record(self._paths.record(name))
            if known is None or known.state == EXITED:
                continue
            try:
                spec = record.read_spec(self._paths.spec(name))
            except (FileNotFoundError, ValueError, TypeError):  # its spec is lost: it can't be supervised
                continue
            container = Container(name, Restart.parse(spec.restart), None, known)
            container.is_child = False
            self.containers[name] = container
            if not self._adopt_living(container):
                container.netns = _open_or_none(spec.netns)
                self._timers.after(0.0, partial(self._adopt_ended, container))

    def _adopt_living(self, container: Container) -> bool:
        known = container.record
        if known.state != RUNNING or not known.lives:
            return False
        try:
            pidfd = os.pidfd_open(known.pid)
        except ProcessLookupError:
            return False
        container.netns = _open_or_none(f"/proc/{known.pid}/ns/net")
        if not known.lives:  # it ended, or the number was another's by the time it was opened
            os.close(pidfd)
            return False
        self._watch(container, pidfd)
        return True

    def _adopt_ended(self, container: Container) -> None:
        if container.record.state == RESTARTING:
            self._restart(container)
        else:
            status = zombie_status(container.record.pid, container.record.start_ticks)
            self._conclude(container, None if status is None else record.exit_code_of(status))

    def start(self, wanted: Mapping[str, int]) -> dict[str, NetfabError]:
        """Start these, each in the network namespace that is open as that number (ours from now on).

        What runs already is left alone. Returns the errors of those that failed.
        """
        fresh = []
        for name, netns in wanted.items():
            if name in self.containers:
                os.close(netns)
                continue
            self.containers[name] = Container(name, _NEVER, netns, Record(EXITED))
            fresh.append(self.containers[name])
        failed = self._launch(fresh)
        gc.collect()  # Python keeps two thousand tuples of each size, for the next ones
        return failed

    def _launch(self, containers: Iterable[Container]) -> dict[str, NetfabError]:
        """Start them in groups: a group's processes run up to exec while the next group is prepared."""
        failed: dict[str, NetfabError] = {}
        waiting, before = list(containers), list[tuple[Container, Spawned]]()
        while waiting:
            prepared, unprepared = _attempt(self._prepare, [(one, one) for one in waiting[:_IN_FLIGHT]])
            results = spawn([launch for _, launch in prepared])
            spawned, unspawned = _attempt(
                _unless_failed, zip((one for one, _ in prepared), results, strict=True)
            )
            for _, launch in prepared:
                launch.close()
            unrecorded = [found for found in (self._take_charge(*each) for each in spawned) if found]
            failed |= self._await(before)
            errors = (*unprepared, *unspawned, *unrecorded)
            failed |= {one.name: self._fail(one, error) for one, error in errors}
            before = [each for each in spawned if each[0].pidfd != -1]
            del waiting[:_IN_FLIGHT]
        return failed | self._await(before)

    def _prepare(self, container: Container) -> Prepared:
        if container.netns is None:
            raise ContainerFailed(container.name, "open its network namespace", errno.ENOENT)
        spec = record.read_spec(self._paths.spec(container.name))
        container.restart = Restart.parse(spec.restart)
        return prepare(self.launcher.prepare(spec, container.netns))

    def _take_charge(self, container: Container, spawned: Spawned) -> tuple[Container, OSError] | None:
        """Write its record and permit it to run; if that fails, end it, and return the error."""
        container.record = Record(
            RUNNING,
            pid=spawned.pid,
            start_ticks=start_ticks(spawned.pid) or 0,
            boot_id=boot_id(),
            started=time.time(),
            restarts=container.record.restarts,
        )
        container.is_child, container.since = True, time.monotonic()
        # Before its program runs: if this supervisor is killed now, no unknown process stays behind.
        try:
            record.write_record(self._paths.record(container.name), container.record)
        except OSError as error:
            spawned.channel.close()
            os.waitpid(spawned.pid, 0)
            os.close(spawned.pidfd)
            return container, error
        self._watch(container, spawned.pidfd)
        permit(spawned)
        return None

    def _await(self, spawned: Iterable[tuple[Container, Spawned]]) -> dict[str, NetfabError]:
        failed: dict[str, NetfabError] = {}
        for container, each in spawned:
            try:
                terminal = await_exec(each)
            except ContainerFailed as error:
                self._unwatch(container)
                os.waitpid(each.pid, 0)
                failed[container.name] = self._fail(container, error)
            else:
                if terminal is not None:
                    self.terminals.add(container.name, terminal, self._paths.log(container.name))
        return failed

    def _fail(self, container: Container, error: OSError | NetfabError) -> NetfabError:
        """Record a failed start; no restart policy applies."""
        if isinstance(error, OSError):
            error = ContainerFailed(
                container.name, "prepare", error.errno or errno.EIO, str(error.filename or "")
            )
        container.stopping = True
        container.record = container.record._replace(error=str(error))
        self._conclude(container, error.exit_code if isinstance(error, ContainerFailed) else 126)
        return error

    def _watch(self, container: Container, pidfd: int) -> None:
        container.pidfd = pidfd
        self._by_pidfd[pidfd] = container
        self._poll.register(pidfd, select.EPOLLIN)

    def _unwatch(self, container: Container) -> None:
        self._poll.unregister(container.pidfd)
        del self._by_pidfd[container.pidfd]
        os.close(container.pidfd)
        container.pidfd = -1

    def owns(self, fd: int) -> bool:
        """Whether a descriptor that epoll names is a container's process."""
        return fd in self._by_pidfd

    def ended(self, pidfd: int) -> None:
        """A process has ended: record how, and restart it if that is its policy."""
        container = self._by_pidfd[pidfd]
        code = self._exit_code(container)
        self.terminals.finish(container.name)
        self._unwatch(container)
        self._conclude(container, code)

    def _exit_code(self, container: Container) -> int | None:
        known = container.record
        if container.is_child:
            return record.exit_code_of(os.waitpid(known.pid, 0)[1])
        status = zombie_status(known.pid, known.start_ticks)
        if status is None:  # somebody else has waited for it
            status = exit_status_of_stranger(container.pidfd)
        return None if status is None else record.exit_code_of(status)

    def _conclude(self, container: Container, code: int | None) -> None:
        known, ran = container.record, time.monotonic() - container.since
        leaves = cgroups.existing_leaves(container.name, self.launcher.hierarchies)
        oom = cgroups.was_oom_killed(leaves)
        cgroups.remove_leaves(leaves)
        again = not container.stopping and container.restart.wants(code, known.restarts)
        container.record = known._replace(
            state=RESTARTING if again else EXITED,
            pid=0,
            exit_code=code,
            oom=oom,
            ended=time.time(),
            paused=False,
        )
        self._write(container)
        if not again:
            self._over(container)
            return
        delay = FIRST_DELAY if ran >= _STEADY else container.delay
        container.delay = min(delay * 2, _LONGEST_DELAY)
        self._timers.after(delay, lambda: self._restart(container))

    def _over(self, container: Container) -> None:
        if container.netns is not None:
            os.close(container.netns)
        del self.containers[container.name]
        self._on_end(container.name)

    def _restart(self, container: Container) -> None:
        if container.record.state != RESTARTING or self.containers.get(container.name) is not container:
            return  # it was stopped meanwhile
        container.record = container.record._replace(restarts=container.record.restarts + 1)
        self._launch([container])

    def stop(self, names: Iterable[str], timeout: float) -> None:
        """Stop these for good. One that handles its signal gets `timeout` seconds, others are killed at once.

        One that has ended already is no error.
        """
        running: list[Container] = []
        for container in [self.containers[name] for name in names if name in self.containers]:
            self._mark_stopped(container)
            if container.record.state == RESTARTING:
                container.record = container.record._replace(state=EXITED)
                self._write(container)
                self._over(container)
            elif container.pidfd != -1:
                running.append(container)
        self._end_processes(running, timeout)

    def _mark_stopped(self, container: Container) -> None:
        """Recorded before it is stopped, so that no later supervisor restarts it."""
        container.stopping = True
        container.record = container.record._replace(stopped=True)
        self._write(container)

    def _end_processes(self, containers: Iterable[Container], timeout: float) -> None:
        signals = {
            one: stop_signal(record.read_spec(self._paths.spec(one.name)).stop_signal) for one in containers
        }
        heeded = (
            handling({one.record.pid: number for one, number in signals.items()}) if timeout > 0 else set()
        )
        for container, number in signals.items():
            if container.record.pid in heeded:
                _signal(container, number)
                self._timers.after(timeout, partial(self._kill_if_running, container))
            else:
                _signal(container, signal.SIGKILL)
            if container.record.paused:  # a frozen process handles no signal
                self._thaw(container)

    def _kill_if_running(self, container: Container) -> None:
        if container.pidfd != -1:
            _signal(container, signal.SIGKILL)

    def send(self, names: Iterable[str], number: int) -> dict[str, NetfabError]:
        """Send a signal to the first process of each. Returns the errors.

        One that ends it counts as a stop, as in docker: no restart policy applies.
        """
        return self._attempt_each(names, partial(self._send, number=number))

    def _send(self, container: Container, number: int) -> None:
        ends = number == signal.SIGKILL or (
            number == signal.SIGTERM and handles(container.record.pid, signal.SIGTERM)
        )
        if ends:
            self._mark_stopped(container)
        signal.pidfd_send_signal(container.pidfd, number)
        if ends and container.record.paused:
            self._thaw(container)

    def pause(self, names: Iterable[str], paused: bool) -> dict[str, NetfabError]:
        """Freeze all processes of each, or thaw them. Returns the errors."""
        step = pausing.pause if paused else pausing.unpause
        return self._attempt_each(
            names, lambda container: step(container, self.launcher.hierarchies, self._write)
        )

    def _thaw(self, container: Container) -> None:
        pausing.thaw(container, self.launcher.hierarchies, self._write)

    def _attempt_each(
        self, names: Iterable[str], step: Callable[[Container], None]
    ) -> dict[str, NetfabError]:
        """Take a step for each that runs. Returns the errors."""
        failed: dict[str, NetfabError] = {}
        for name in names:
            container = self.containers.get(name)
            try:
                if container is None or container.pidfd == -1:
                    raise NetfabError(f"{name} does not run")
                step(container)
            except OSError as error:
                failed[name] = NetfabError(f"{name}: {error.strerror}")
            except NetfabError as error:
                failed[name] = error
        return failed

    def update(self, name: str) -> None:
        """Take limits and restart policy from the current spec; one that has ended does at its next start.

        Raises OSError, Unsupported.
        """
        if (container := self.containers.get(name)) is None:
            return
        spec = record.read_spec(self._paths.spec(name))
        if container.record.state == RUNNING:
            cgroups.make_leaves(spec, self.launcher.hierarchies)
            leaves = cgroups.existing_leaves(name, self.launcher.hierarchies)
            cgroups.attach_all(leaves)
            cgroups.write_limits(spec, leaves)
        container.restart = Restart.parse(spec.restart)

    def _write(self, container: Container) -> None:
        """Write its record; while the disk is full, retry."""
        if self.containers.get(container.name, container) is not container:
            return  # a new container has that name
        try:
            record.write_record(self._paths.record(container.name), container.record)
        except FileNotFoundError:  # removed behind our back
            return
        except OSError:
            self._timers.after(_NEXT_TRY, partial(self._write, container))


def _attempt(
    step: Callable[[_Given], _Made], wanted: Iterable[tuple[Container, _Given]]
) -> tuple[list[tuple[Container, _Made]], list[tuple[Container, OSError | NetfabError]]]:
    """Take a step for each. Returns results and errors."""
    made: list[tuple[Container, _Made]] = []
    wrong: list[tuple[Container, OSError | NetfabError]] = []
    for container, given in wanted:
        try:
            made.append((container, step(given)))
        except (OSError, NetfabError) as error:
            wrong.append((container, error))
    return made, wrong


def _unless_failed(result: Spawned | OSError) -> Spawned:
    if isinstance(result, OSError):
        raise result
    return result


def _signal(container: Container, number: int) -> None:
    """An adopted process may have been reaped by somebody else; its pidfd will tell us."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(container.pidfd, number)


def stop_signal(text: str) -> int:
    """The number of a signal as images write it: SIGQUIT, QUIT, 3 or RTMIN+3; SIGTERM for anything else."""
    name = text.upper().removeprefix("SIG")
    first, digits = (signal.SIGRTMIN, name[6:]) if name.startswith("RTMIN+") else (0, name)
    if digits.isdecimal() and len(digits) <= 2 and 0 < first + int(digits) <= signal.SIGRTMAX:
        return first + int(digits)
    named = f"SIG{name}" if name[:1] != "_" else ""  # SIG_IGN is no signal
    number: int = getattr(signal, named, signal.SIGTERM)
    return number


def _open_or_none(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else None
    except OSError:
        return None
