"""five.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("five.yaml")


def test_the_server_behind_the_cable_is_lost_with_it(netfab: Fabric) -> None:
    netfab.check()
    with netfab.link("srv", "r").down():
        assert netfab["h1"].cannot_reach("srv")
        assert netfab["h1"].reaches("h2")
