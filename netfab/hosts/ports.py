"""Whether a port of the host is in use already: checked before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from errno import EADDRINUSE

from netfab.errors import PortBusy, raise_all
from netfab.runtime.ports import bound
from netfab.topology.schema import Publish


def refuse_busy(published: Iterable[Publish], held: Iterable[str]) -> None:
    """Raises PortBusy for every port that a program on this host uses.

    `held`: ports that the fabric itself holds already, as PROTOCOL/ADDRESS/NUMBER.
    """
    own = {(protocol, number) for protocol, _, number in (port.split("/") for port in held)}
    raise_all(
        PortBusy(publish.host_port, publish.protocol, at=publish.at)
        for publish in published
        if (publish.protocol, str(publish.host_port)) not in own and _busy(publish)
    )


def _busy(publish: Publish) -> bool:
    for address in ("0.0.0.0", "::") if publish.host_address is None else (publish.host_address,):
        try:
            bound(f"{publish.protocol}/{address}/{publish.host_port}").close()
        except OSError as error:
            if error.errno == EADDRINUSE:
                return True
    return False
