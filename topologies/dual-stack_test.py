"""dual-stack.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("dual-stack.yaml")


def test_both_families_lead_to_the_other_network(netfab: Fabric) -> None:
    netfab.check()
