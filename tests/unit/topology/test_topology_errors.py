"""Each rule and each error's whole line once: what, which value, what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_samples import load_text

from netfab.errors import NetfabError


def wrong_files() -> list[tuple[str, list[str]]]:
    """The entries of wrong_files.txt: a file's lines, each after `> `, and its errors."""
    blocks = (Path(__file__).parent / "wrong_files.txt").read_text().split("\n\n")
    entries = []
    for lines in (block.splitlines() for block in blocks if block.startswith(">")):
        file = [line[2:] for line in lines if line.startswith("> ")]
        entries.append(("\n".join(file), lines[len(file) :]))
    return entries


@pytest.mark.parametrize(("text", "errors"), [pytest.param(*entry, id=entry[0]) for entry in wrong_files()])
def test_what_is_wrong_is_said_with_its_place(text: str, errors: list[str]) -> None:
    with pytest.raises(NetfabError) as caught:
        load_text(text)

    assert [line.removeprefix("t.yaml:") for line in str(caught.value).splitlines()] == errors


def test_all_errors_of_a_file_come_in_one_run_and_in_its_order() -> None:
    text = """
nodes:
  web: {ports: ["8080:80"], networks: [front]}
  web_2: {}
networks:
  back: {subnet: 10.0.0.1/24}
name: Shop
"""

    with pytest.raises(NetfabError) as caught:
        load_text(text)

    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        "t.yaml:3:9",
        "t.yaml:3:40",
        "t.yaml:4:3",
        "t.yaml:6:18",
        "t.yaml:7:7",
    ]


def test_what_a_range_repeats_is_said_once() -> None:
    with pytest.raises(NetfabError) as caught:
        load_text("nodes: {leaf1..4: {memory: lots}}")

    assert str(caught.value).count("lots") == 1


def test_an_entry_that_could_not_be_read_gives_no_errors_that_only_follow_from_it() -> None:
    with pytest.raises(NetfabError) as caught:
        load_text("networks: {a: {subnet: 10.0.0.0/33}}\nnodes: {b: {networks: {a: {ip: 192.168.0.1}}}}")

    assert "192.168.0.1" not in str(caught.value)


def test_nobody_reads_a_million_errors() -> None:
    text = "nodes:\n" + "".join(f"  n{n}: {{typo{n}: x}}\n" for n in range(20_000))

    with pytest.raises(NetfabError) as caught:
        load_text(text)

    assert len(str(caught.value).splitlines()) == 501


@pytest.mark.parametrize("size", ["nodes: {n1..9999999: {}}", "links: [{between: [a1..5000, b1..5000]}]"])
def test_ranges_that_grow_a_small_file_into_a_huge_one_are_refused(size: str) -> None:
    with pytest.raises(NetfabError, match="ranges and kinds make more than 1000000 values"):
        load_text(size)
