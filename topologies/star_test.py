"""star.yaml, as a user tests a file."""

import pytest

from netfab.testing import Fabric

pytestmark = pytest.mark.netfab("star.yaml")


def test_the_first_and_the_last_of_two_hundred_reach_each_other(netfab: Fabric) -> None:
    netfab.check()
