"""chain.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("chain.yaml")


def test_a_packet_passes_fifty_routers(netfab: Fabric) -> None:
    netfab.check()
