"""quickstart.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("quickstart.yaml")


def test_the_client_gets_its_page_and_the_stranger_does_not(netfab: Fabric) -> None:
    assert netfab["client"].http("web").body == "hello from web\n"
    netfab.check()
