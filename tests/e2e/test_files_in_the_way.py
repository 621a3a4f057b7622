"""A file where netfab has a directory, or the reverse: it is named, all is as it was, and `destroy` works."""

from __future__ import annotations

import pytest
from lab import Lab
from machine import differences

TEXT = """\
name: pair
networks: {lan: {}}
nodes: {web: {networks: [lan], command: [sleep, "1000"]}}
"""
IN_PLACE_OF_DIRECTORIES = [
    "/run/netns",
    "/run/netfab/pair",
    "/run/netfab/pair/etc",
    "/run/netfab/pair/containers",
    "/var/lib/netfab/containers",
]


@pytest.mark.parametrize("path", IN_PLACE_OF_DIRECTORIES)
def test_a_file_in_the_place_of_a_directory_is_named_and_hinders_no_destroy(lab: Lab, path: str) -> None:
    lab.write(TEXT)
    lab.shell(f"mkdir -p -m 700 $(dirname {path}); echo mine > {path}")
    before = lab.state()

    applied = lab.netfab("apply", code=1)
    lab.netfab("plan")
    lab.netfab("status", "pair", code=1)
    lab.netfab("destroy", "pair")

    assert f"{path}" in applied.err
    assert "Not a directory" in applied.err
    assert "mistake" not in applied.err
    assert differences(before, lab.state()) == []
    assert lab.shell(f"cat {path}") == "mine\n"


def test_a_directory_in_the_place_of_what_is_published_is_named_and_hinders_no_destroy(lab: Lab) -> None:
    lab.write(TEXT)
    lab.shell("mkdir -p /run/netfab/pair.json")
    before = lab.state()

    applied = lab.netfab("apply", code=1)
    lab.netfab("destroy", "pair")

    assert "netfab: error: /run/netfab/pair.json: Is a directory" in applied.err
    assert differences(before, lab.state()) == []


def test_a_supervisor_that_does_not_start_leaves_nothing(lab: Lab) -> None:
    lab.write(TEXT)
    lab.shell("mkdir -p /run/netfab/pair; echo mine > /run/netfab/pair/layers")
    before = lab.state()

    applied = lab.netfab("apply", code=1)
    after = lab.state()

    assert "the supervisor of pair did not start" in applied.err
    assert [one for one in differences(before, after) if "store.sqlite" not in one] == []


def test_a_file_that_can_t_be_read_is_an_error_that_names_it(lab: Lab) -> None:
    lab.write(TEXT)
    lab.shell("echo mine > /var/lib/netfab")

    told = lab.netfab("recover", code=1).err

    assert told == "netfab: error: /var/lib/netfab/store.sqlite: Not a directory\n"


def test_a_file_whose_name_is_no_text_is_refused_by_its_name(lab: Lab) -> None:
    lab.write(TEXT, "pair\udcff.yaml")
    before = lab.state()

    told = lab.netfab("apply", "pair\udcff.yaml", code=1).err

    assert "/pair\\udcff.yaml' can't be kept: it is not UTF-8\n" in told
    assert differences(before, lab.state()) == []
