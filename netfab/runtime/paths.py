"""Where a fabric's containers keep their files. Names only: nothing here opens one.

<run>/<fabric>/supervisor.sock, .lock, .log      the supervisor's door, life and last words
<run>/<fabric>/containers/<name>/spec.json       what was asked for
<run>/<fabric>/containers/<name>/record.json     what became of it
<state>/containers/<fabric>/<name>/log           its output; outlives everybody
<state>/containers/<fabric>/<name>/upper, work   its private layer
"""

from __future__ import annotations

from typing import NamedTuple


class Paths(NamedTuple):
    """The paths of one fabric. `run` is lost at reboot, `state` is on disk."""

    fabric: str
    run: str = "/run/netfab"
    state: str = "/var/lib/netfab"

    @property
    def fabric_run(self) -> str:
        return f"{self.run}/{self.fabric}"

    @property
    def records(self) -> str:
        return f"{self.fabric_run}/containers"

    @property
    def layers(self) -> str:
        return f"{self.state}/containers/{self.fabric}"

    @property
    def socket(self) -> str:
        return f"{self.fabric_run}/supervisor.sock"

    @property
    def lock(self) -> str:
        return f"{self.fabric_run}/supervisor.lock"

    @property
    def supervisor_log(self) -> str:
        return f"{self.fabric_run}/supervisor.log"

    def record(self, name: str) -> str:
        return f"{self.records}/{name}/record.json"

    def spec(self, name: str) -> str:
        return f"{self.records}/{name}/spec.json"

    def layer(self, name: str) -> str:
        return f"{self.layers}/{name}"

    def log(self, name: str) -> str:
        return f"{self.layers}/{name}/log"
