"""Where a fabric's containers keep their files. Names only: nothing here opens one.

<run>/<fabric>/supervisor.sock, .lock, .log      the supervisor's door, life and last words
<run>/<fabric>/ports.json                        published ports of the host that the supervisor holds
<run>/<fabric>/containers/<name>/spec.json       what was asked for
<run>/<fabric>/containers/<name>/record.json     what became of it
<run>/<fabric>/containers/<name>/stdin           the pipe that it reads from, where it has one
<state>/containers/<fabric>/<name>/log           its output; outlives everybody
<state>/containers/<fabric>/<name>/errors        its standard error, where that is kept apart
<state>/containers/<fabric>/<name>/upper, work   its private layer
"""

from __future__ import annotations

from netfab.tuples import NamedTuple

RUN_DIRECTORY = "/run/netfab"
STATE_DIRECTORY = "/var/lib/netfab"
SIMULATED_HOSTS = "/run/netfab-hosts"  # in a sandbox: the mounts of each, by its name


class Paths(NamedTuple):
    """The paths of one fabric. `run` is lost at reboot, `state` persists."""

    fabric: str
    run: str = RUN_DIRECTORY
    state: str = STATE_DIRECTORY

    @property
    def fabric_run(self) -> str:
        """The directory of what is lost at reboot."""
        return f"{self.run}/{self.fabric}"

    @property
    def records(self) -> str:
        """The directory of all records and specs."""
        return f"{self.fabric_run}/containers"

    @property
    def layers(self) -> str:
        """The directory of what containers wrote."""
        return f"{self.state}/containers/{self.fabric}"

    @property
    def socket(self) -> str:
        """The supervisor's socket."""
        return f"{self.fabric_run}/supervisor.sock"

    @property
    def lock(self) -> str:
        """Locked while a supervisor lives."""
        return f"{self.fabric_run}/supervisor.lock"

    @property
    def supervisor_log(self) -> str:
        """The supervisor's log."""
        return f"{self.fabric_run}/supervisor.log"

    @property
    def ports(self) -> str:
        """The host's ports that the supervisor holds."""
        return f"{self.fabric_run}/ports.json"

    def record(self, name: str) -> str:
        """A container's record."""
        return f"{self.records}/{name}/record.json"

    def spec(self, name: str) -> str:
        """A container's spec."""
        return f"{self.records}/{name}/spec.json"

    def stdin(self, name: str) -> str:
        """The pipe that a container reads from."""
        return f"{self.records}/{name}/stdin"

    def layer(self, name: str) -> str:
        """A container's private layer and log."""
        return f"{self.layers}/{name}"

    def log(self, name: str) -> str:
        """A container's output."""
        return f"{self.layers}/{name}/log"

    def errors(self, name: str) -> str:
        """A container's standard error, if it is logged separately."""
        return f"{self.layers}/{name}/errors"
