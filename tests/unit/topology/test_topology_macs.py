"""MACs as people type them."""

import pytest

from netfab.topology.addresses import mac
from netfab.topology.grammar import Wrong


@pytest.mark.parametrize(
    "text", ["02:42:ac:11:00:02", "02-42-AC-11-00-02", "0242.ac11.0002", "0242AC110002"], ids=str
)
def test_every_usual_notation_is_the_same_mac(text: str) -> None:
    assert mac(text) == "02:42:ac:11:00:02"


@pytest.mark.parametrize("text", ["0242.ac11", "0242ac11000g", "1", "02:42:ac:11:00:02:03"])
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(Wrong, match="is not a MAC address"):
        mac(text)
