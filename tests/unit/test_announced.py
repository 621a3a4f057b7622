"""Of which new addresses of guests the neighbours are told."""

from __future__ import annotations

from typing import Any

import pytest
from examples import BR0, FABRIC, GUEST_ETH1, TUNNEL, WEB_HOST, address, bridge, guest, port, uplink, veth

from netfab.engine.diff import Change
from netfab.hosts.announced import by_guests
from netfab.objects.base import Fabric
from netfab.objects.port import Port
from netfab.objects.veth import End

HELD = address("10.0.0.2/24", GUEST_ETH1)
THERE = (guest(), veth(b=End(GUEST_ETH1, "02:00:00:00:01:02", 1500)), port(link=WEB_HOST, bridge=BR0), HELD)
REMADE = (Change(bridge(), None), Change(None, bridge()))


@pytest.mark.parametrize(
    ("more", "changes", "told"),
    [
        ((), (), [HELD]),
        ((), (Change(None, bridge()),), []),
        ((), REMADE, [HELD]),
        ((uplink("eth9"),), (Change(None, bridge()),), [HELD]),
        ((Port(TUNNEL, BR0),), (Change(None, bridge()),), [HELD]),
    ],
    ids=["a bridge that was there", "a new one", "one made anew", "with an uplink", "with a tunnel"],
)
def test_nobody_is_told_on_a_new_bridge_that_leads_nowhere(
    more: tuple[Any, ...], changes: tuple[Change, ...], told: list[Any]
) -> None:
    fabric = Fabric(FABRIC, (bridge(), *THERE, *more))

    found = by_guests(fabric, (*changes, Change(None, HELD)))

    assert [one for _, _, addresses in found for one in addresses] == told
