"""published.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("published.yaml")


def test_nodes_are_reached_by_their_names(netfab: Fabric) -> None:
    netfab.check()
    assert netfab["web"].http("worker-3").status == 200
    assert netfab["web"].udp("echo", 7).echo(b"hello")
