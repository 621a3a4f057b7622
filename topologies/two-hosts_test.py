"""two-hosts.yaml, as a user tests a file: both hosts are simulated."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("two-hosts.yaml")


def test_a_page_of_the_other_host_is_lost_with_it_and_comes_back(netfab: Fabric) -> None:
    assert netfab["client"].http("web").body == "hello from web\n"
    with netfab.isolate("h2"):
        assert netfab["client"].cannot_reach("web")
    netfab.check()
