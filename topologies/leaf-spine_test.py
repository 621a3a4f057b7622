"""leaf-spine.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("leaf-spine.yaml")


def test_there_are_four_ways_between_two_racks(netfab: Fabric) -> None:
    (route,) = (route for route in netfab["leaf1"].routes() if route.startswith(netfab["host2"].ip()[:-2]))

    assert route.count("via") == 4
    netfab.check()
