"""A project whose own fixture has the name of one of the plugin's."""

from types import SimpleNamespace

from netfab.testing.plugin import _fabrics


def test_a_fixture_of_the_projects_own_is_no_fabric_of_a_test() -> None:
    item = SimpleNamespace(funcargs={"netfab": print, "netfab_module": None}, stash={})

    assert _fabrics(item) == []  # type: ignore[arg-type]
