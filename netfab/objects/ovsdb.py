"""What Open vSwitch keeps of its bridges (ovs-vswitchd.conf.db(5)), as ovs-vsctl prints it (RFC 7047)."""

from __future__ import annotations

import json
from typing import Any

from netfab.tuples import NamedTuple

FEATURE = "Open vSwitch"
MARK = "netfab"  # the key among a row's external_ids, whose value is the fabric's name
COLUMNS = {  # of each table, the columns to read
    "Bridge": ("name", "datapath_type", "external_ids", "ports"),
    "Port": ("_uuid", "name", "tag", "external_ids"),
}


class SwitchPort(NamedTuple):
    """A row of Port."""

    name: str
    tag: int  # 0: a trunk, of all VLANs
    fabric: str  # that created it; "": no fabric


class Switch(NamedTuple):
    """A row of Bridge, with its ports; one of them is its own and has its name."""

    name: str
    datapath: str  # system (in the kernel) or netdev (in a process)
    fabric: str
    ports: tuple[SwitchPort, ...]

    def others(self, fabric: str) -> tuple[SwitchPort, ...]:
        """Ports that the fabric did not create."""
        return tuple(port for port in self.ports if port.fabric != fabric and port.name != self.name)


def switches(printed: str) -> tuple[Switch, ...]:
    """Parse the tables of COLUMNS, one per line. Raises ValueError, LookupError for anything else."""
    bridges, ports = map(_rows, printed.splitlines())
    by_id = {
        str(row["_uuid"][1]): SwitchPort(row["name"], int(next(iter(_set(row["tag"])), 0)), _fabric(row))
        for row in ports
    }
    return tuple(
        Switch(
            row["name"],
            row["datapath_type"] or "system",
            _fabric(row),
            tuple(by_id[str(identity[1])] for identity in _set(row["ports"])),
        )
        for row in bridges
    )


def mark(fabric: str) -> str:
    """The argument for ovs-vsctl that marks a row as the fabric's."""
    return f'external_ids:{MARK}="{fabric}"'


def _rows(line: str) -> list[dict[str, Any]]:
    table = json.loads(line)
    return [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]


def _set(value: Any) -> list[Any]:
    """A set's elements; a set of one is printed as its element."""
    return list(value[1]) if isinstance(value, list) and value[0] == "set" else [value]


def _fabric(row: dict[str, Any]) -> str:
    return str(dict(row["external_ids"][1]).get(MARK, ""))
