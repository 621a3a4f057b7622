"""A topology with `hosts` in a sandbox: each of them is a simulated host.

across.py then treats them like other hosts; remote/party.py finds them.
"""

from __future__ import annotations

from netfab.engine import apply as engine
from netfab.hosts import simulated
from netfab.hosts.local import LocalHost
from netfab.plan.underlay import NAME, underlay_of
from netfab.topology.schema import Topology


def begin(topology: Topology) -> list[int]:
    """Create the topology's hosts, and the network between them; they last until these descriptors close.

    Raises NetfabError.
    """
    with LocalHost(NAME) as host:
        engine.apply(underlay_of(topology), host)
    return [simulated.begin(name) for name in topology.hosts]
