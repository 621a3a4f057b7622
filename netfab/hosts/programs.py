"""Requests to a fabric's supervisor: run the nodes' programs, and hold published ports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from netfab.errors import NetfabError, raise_all
from netfab.kernel.netns import DIRECTORY, Namespaces
from netfab.kernel.steps import Failures, Handler, Steps
from netfab.objects.base import Fabric, Name
from netfab.objects.ops import (
    ChangeContainer,
    HaltContainer,
    HoldPorts,
    PauseContainer,
    ReleasePorts,
    StartContainer,
    StopContainer,
    WakeSupervisor,
)
from netfab.runtime.paths import Paths

if TYPE_CHECKING:
    from netfab.objects.container import Container
    from netfab.runtime.status import Status

_ONCE = ("no", "on-failure")  # restart policies that let a program end for good


class Programs:
    """One fabric's containers as objects of the engine."""

    def __init__(
        self,
        paths: Paths,
        namespaces: Namespaces,
        check: Callable[[], None],
        waiting_for: Callable[[str], None],
    ) -> None:
        self._paths = paths
        self._namespaces = namespaces
        self._check = check  # called while we wait; raises Interrupted after a signal
        self._waiting_for = waiting_for  # called with the reason of a longer wait
        self._begun = False  # whether we started a supervisor's interpreter, which waits
        self.handlers: dict[type[Any], Handler] = {
            StartContainer: self._start,
            ChangeContainer: self._change,
            HaltContainer: self._halt,
            PauseContainer: self._pause,
            StopContainer: self._stop,
            WakeSupervisor: self._wake,
            HoldPorts: self._hold,
            ReleasePorts: self._release,
        }

    def read(self, just_started: Set[str] = frozenset()) -> tuple[list[Container], bool]:
        """Every container of which anything exists, and whether all running ones are supervised.

        A container in `just_started` that has already ended by itself counts as running.
        """
        found = self._status()
        supervised = self._are_supervised(found)
        if not supervised:
            found = self._status()  # the supervisor ends with the last of them, maybe just now
            supervised = self._are_supervised(found)
        left = sorted({*_names(self._paths.layers), *_names(self._paths.records)} - set(found))
        if not (found or left):
            return [], False
        from netfab.objects.container import ENDED, Container

        containers = [_container(one, name in just_started) for name, one in found.items()]
        containers += [Container(self._paths.fabric, name, (), state=ENDED) for name in left]
        return containers, supervised and bool(found)

    def expect(self, things: Iterable[Any]) -> None:
        """Start a supervisor in the background if these need one that is missing; it waits invisibly."""
        # By name, so that the class is not imported without need.
        containers = [thing for thing in things if type(thing).__name__ == "Container"]
        if any(container.state == "running" for container in containers):
            from netfab.runtime import summons

            with suppress(OSError):  # started again when needed, which then reports the error
                self._begun = summons.begin(self._paths) or self._begun

    def close(self) -> None:
        """Dismiss a supervisor that was started but not needed."""
        if self._begun:
            from netfab.runtime import summons

            summons.dismiss(self._paths)

    def as_left(self, wanted: Fabric, ended: bool) -> Fabric:
        """That fabric, with programs that a user stopped or paused left in that state.

        `ended`: also programs that ended and that their restart policies do not restart.
        """
        from netfab.objects.container import ENDED, PAUSED, STOPPED

        left = {}
        for name, one in self._status().items():
            state = _state(one, just_started=False)
            if state in (PAUSED, STOPPED) or (ended and state == ENDED and _is_left_by_policy(one)):
                left[Name("container", name)] = state
        things = (
            thing._replace(state=left[name]) if name in left else thing for name, thing in wanted.items()
        )
        return Fabric(wanted.name, things)

    def held(self) -> tuple[str, ...] | None:
        """Ports of the host that the supervisor holds; None if there are none."""
        if not os.path.exists(self._paths.ports):
            return None
        from netfab.runtime.ports import held

        return held(self._paths)

    def without_images(self, things: Iterable[Any]) -> Iterator[NetfabError]:
        """An error for each of these containers whose image is missing here."""
        programs = (thing for thing in things if type(thing).__name__ == "Container")
        wanted = [thing for thing in programs if thing.image[:7] == "sha256:"]
        if not wanted:
            return
        from netfab.images.layout import image_of

        for one in wanted:
            if image_of(self._paths.state, one.image) is None:
                yield NetfabError(
                    f"image {one.image} of node {one.name} is not on this host",
                    hint="`netfab pull` or `netfab load` it there, or `netfab apply` the file again",
                )

    def _are_supervised(self, found: Mapping[str, Status]) -> bool:
        if all(one.over for one in found.values()):
            return True
        from netfab.runtime.status import supervisor_lives

        return supervisor_lives(self._paths)

    def _status(self) -> dict[str, Status]:
        """The status of every container. Most fabrics have none, and the runtime is then not imported."""
        if not os.path.exists(self._paths.records):
            return {}
        from netfab.runtime.status import status

        return status(self._paths)

    def wait_ready(self, containers: Iterable[Container]) -> None:
        """Return when all readiness probes of all of them succeed.

        Raises NotReady with the last output lines of the first one that is not ready.
        """
        wanted = [container for container in containers if container.ready]
        if not wanted:
            return
        from netfab.runtime import ready

        descriptors = [self._open(container) for container in wanted]
        try:
            nodes = [
                ready.Node(one.name, netns, tuple(ready.Probe(*probe) for probe in one.ready), one.addresses)
                for one, netns in zip(wanted, descriptors, strict=True)
            ]
            ready.wait_ready(self._paths, nodes, self._check, self._waiting_for)
        finally:
            for netns in descriptors:
                os.close(netns)

    def start_again(self, names: Sequence[str]) -> None:
        """Start these again as they were started before. Raises NetfabError."""
        found = self._status()
        raise_all(NetfabError(f"{name} was removed") for name in names if name not in found)
        self.start([_container(found[name], just_started=True) for name in names])

    def start(self, containers: Sequence[Container]) -> None:
        """Start them, and return when they are ready. Raises NetfabError."""
        from netfab.runtime import client

        descriptors = [self._open(container) for container in containers]
        try:
            specs = [_spec(container) for container in containers]
            client.start_all(self._paths, zip(specs, descriptors, strict=True))
        finally:
            for netns in descriptors:
                os.close(netns)
        self.wait_ready(containers)

    def _start(self, steps: Steps, failed: Failures) -> None:
        with _failing_together(steps, failed):
            self.start([op.container for _, op in steps])

    def _change(self, steps: Steps, failed: Failures) -> None:
        from netfab.runtime import client

        with _failing_together(steps, failed):
            for _, op in steps:
                client.update(self._paths, _spec(op.container))

    def _halt(self, steps: Steps, failed: Failures) -> None:
        from netfab.runtime import client

        with _failing_together(steps, failed):
            for _, op in steps:
                client.halt(self._paths, _spec(op.container))

    def _pause(self, steps: Steps, failed: Failures) -> None:
        from netfab.runtime import client

        with _failing_together(steps, failed):
            for _, op in steps:
                client.pause(self._paths, [op.name], op.paused)

    def _stop(self, steps: Steps, failed: Failures) -> None:
        from netfab.runtime import client

        with _failing_together(steps, failed):
            client.remove(self._paths, [op.name for _, op in steps])

    def _wake(self, steps: Steps, failed: Failures) -> None:
        from netfab.runtime import client
        from netfab.runtime.status import any_lives

        with _failing_together(steps, failed):
            if any_lives(self._paths):
                client.ensure_supervisor(self._paths)

    def _hold(self, steps: Steps, failed: Failures) -> None:
        from netfab.runtime import client

        with _failing_together(steps, failed):
            for _, op in steps:
                client.hold_ports(self._paths, op.ports)

    def _release(self, steps: Steps, failed: Failures) -> None:
        from netfab.runtime import client

        with _failing_together(steps, failed):
            client.release_ports(self._paths)

    def _open(self, container: Container) -> int:
        """Open the network namespace of a container: its node's, or the host's."""
        if container.netns:
            return self._namespaces.open(container.netns.removeprefix(f"{DIRECTORY}/"))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def _failing_together(steps: Steps, failed: Failures) -> Iterator[None]:
    """Within this, a failure of steps that are one request is recorded for the first of them."""
    try:
        yield
    except (NetfabError, OSError) as error:
        failed[steps[0][0]] = error


def _spec(container: Container) -> Any:
    from netfab.runtime.spec import File, Mount, Spec

    fields = container._asdict()
    del fields["state"]
    fields["mounts"] = tuple(Mount(*mount) for mount in container.mounts)
    fields["files"] = tuple(File(*file) for file in container.files)
    return Spec(**fields)


def _container(one: Status, just_started: bool) -> Container:
    """The object that a container was created from."""
    from netfab.objects.container import Container

    return Container(**one.spec._asdict(), state=_state(one, just_started))


def _state(one: Status, just_started: bool) -> str:
    """A container's state; one that was to run once and ended with 0 is as desired, so counts as running."""
    from netfab.objects.container import ENDED, PAUSED, RUNNING, STOPPED

    if one.state in (PAUSED, STOPPED):
        return one.state
    as_wanted = not one.over or (_is_left_by_policy(one) and one.exit_code == 0)
    return RUNNING if as_wanted or just_started else ENDED


def _is_left_by_policy(one: Status) -> bool:
    """Whether it ended for good: its exit status is known, and its policy does not restart it."""
    once = one.spec.restart.partition(":")[0] in _ONCE
    return once and one.exit_code is not None and not one.error
