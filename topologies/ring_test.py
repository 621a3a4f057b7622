"""ring.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("ring.yaml")


def test_the_way_is_the_shorter_one_round(netfab: Fabric) -> None:
    netfab.check()
