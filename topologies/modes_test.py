"""modes.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("modes.yaml")


def test_a_sidecar_is_in_the_network_of_its_node(netfab: Fabric) -> None:
    with netfab["sidecar"].serve_http(80, "hello"):
        assert netfab["alias"].http(netfab["bridged"].ip()).body == "hello"
    netfab.check()
