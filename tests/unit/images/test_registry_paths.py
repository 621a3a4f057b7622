"""Where a registry sends us by a path: to itself, whatever the path is."""

from __future__ import annotations

import pytest

from netfab.images.http import Server
from netfab.images.settings import Settings


@pytest.mark.parametrize("path", ["/v2/x", "v2/x", "@other.example/x", ".other.example/x", ":80/x"])
def test_a_path_leads_to_no_other_host(path: str) -> None:
    assert Server("reg.example", Settings(), "").url(path).startswith("https://reg.example/")


def test_an_absolute_address_stays_what_it_is() -> None:
    assert (
        Server("reg.example", Settings(), "").url("https://cdn.example/x?a=b") == "https://cdn.example/x?a=b"
    )
