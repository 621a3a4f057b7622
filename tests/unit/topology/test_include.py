"""`include`: several files are one topology, and every place is named by its own file."""

from __future__ import annotations

import pytest

from netfab.errors import NetfabError
from netfab.topology.config import config
from netfab.topology.load import load
from netfab.topology.schema import Topology


def included(main: str, **others: str) -> Topology:
    """/lab/main.yaml with files beside it that are called as the keywords, `sub_b` being sub/b.yaml."""
    files = {f"/lab/{name.replace('_', '/')}.yaml": text for name, text in others.items()}

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path].encode()

    return load(main.encode(), "main.yaml", "/lab", {"SIZE": "9m"}, None, read)


def errors(main: str, **others: str) -> list[str]:
    with pytest.raises(NetfabError) as caught:
        included(main, **others)
    return str(caught.value).splitlines()


def test_entries_and_lists_of_all_files_are_one_topology() -> None:
    found = included(
        "include: [base.yaml]\nnodes: {web: {networks: [lan], kind: small}}\nlinks: [[web, db]]",
        base="""
networks: {lan: {}}
kinds: {small: {memory: '${SIZE}'}}
nodes: {db: {networks: [lan]}, r: {}}
links: [[r, db]]
checks: [db reaches web]
""",
    )

    assert list(found.nodes) == ["db", "r", "web"]
    assert [[end.node for end in link.ends] for link in found.links] == [["r", "db"], ["web", "db"]]
    assert found.nodes["web"].memory == 9 << 20
    assert len(found.checks) == 1
    assert found.name == "main"


def test_what_is_included_is_printed_as_one_file() -> None:
    found = included("include: [base.yaml]", base="nodes: {a: {}}")

    assert list(load(config(found).encode(), "-", "/", {}, None).nodes) == ["a"]
    assert "include" not in config(found)


def test_an_error_names_the_file_that_it_is_in() -> None:
    told = errors("include: [sub/b.yaml]\nnodes: {a: {memory: lots}}", sub_b="nodes:\n  b: {memory: more}")

    assert [line.split(": ")[0] for line in told] == ["main.yaml:2:21", "sub/b.yaml:2:15"]


def test_a_reference_to_nothing_is_placed_in_the_included_file() -> None:
    assert errors("include: [b.yaml]", b="nodes:\n\n  b: {networks: [gone]}")[0].startswith("b.yaml:3:18: ")


def test_a_relative_path_is_taken_from_the_file_that_names_it() -> None:
    found = included(
        "include: [sub/b.yaml]\nnodes: {a: {kind: k, mounts: ['./y:/y'], command: x}}",
        sub_b="include: [../c.yaml]\nkinds: {k: {files: {/f: {source: ./f}}, image: ./root}}",
        c="nodes: {c: {mounts: ['./z:/z'], command: x}}",
    )

    assert found.nodes["a"].files[0].source == "/lab/sub/f"
    assert found.nodes["a"].image == "/lab/sub/root"
    assert found.nodes["a"].mounts[0].source == "/lab/y"
    assert found.nodes["c"].mounts[0].source == "/lab/z"


@pytest.mark.parametrize(
    ("main", "other", "said"),
    [
        (
            "nodes: {a: {}}",
            "nodes: {a: {}}",
            "main.yaml:2:9: nodes.a: the key stands twice, first at b.yaml:1:9",
        ),
        (
            "defaults: {mtu: 1400}",
            "defaults: {mtu: 1500}",
            "main.yaml:2:12: defaults.mtu: the key stands twice, first at b.yaml:1:12",
        ),
        (
            "pools: [10.0.0.0/8]",
            "pools: [10.0.0.0/8]",
            "main.yaml:2:1: pools: the key stands twice, first at b.yaml:1:1",
        ),
        ("", "name: b", "b.yaml:1:1: name: the file that includes this one gives the fabric its name"),
        ("", "nodes: [a]", "b.yaml:1:8: nodes: a map is expected: `{key: value}`, not a list"),
        ("nodes: {b: {}}", "nodes: [a]", "b.yaml:1:8: nodes: a map is expected: `{key: value}`, not a list"),
        ("", "[a]", "b.yaml:1:1: a map is expected: `{key: value}`, not a list"),
        ("", "nodes: {", "b.yaml:2:1: nodes: while parsing a flow node, did not find expected node content"),
        ("", "", "b.yaml:1:1: the file is empty; `nodes:` and `networks:` are expected"),
    ],
)
def test_what_does_not_fit_together_is_an_error_with_its_places(main: str, other: str, said: str) -> None:
    assert errors(f"include: [b.yaml]\n{main}", b=other) == [said]


def test_a_file_that_is_not_there_is_named_where_it_is_included() -> None:
    assert errors("include: [b.yaml]", b="include:\n  - c.yaml") == [
        "b.yaml:2:5: include[0]: c.yaml: No such file or directory"
    ]


def test_files_that_include_each_other_are_refused() -> None:
    assert errors("include: [b.yaml]", b="include: [main.yaml]") == [
        "b.yaml:1:11: include[0]: main.yaml includes b.yaml includes main.yaml: no file can include itself"
    ]


def test_a_file_that_two_others_include_is_read_once() -> None:
    found = included(
        "include: [a.yaml, b.yaml]", a="include: [c.yaml]", b="include: [c.yaml]", c="nodes: {c: {}}"
    )

    assert list(found.nodes) == ["c"]


def test_aliases_are_of_one_file_and_their_limit_is_of_all() -> None:
    laughs = (
        "x-0: &a0 ["
        + "a, " * 50
        + "a]\n"
        + "".join(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 5))
    )
    several = {f"b{n}": laughs for n in range(3)}

    assert errors("include: [b.yaml]\nnodes: {a: *there}", b="x-a: &there {}")[0].startswith(
        "main.yaml:2:12: "
    )
    assert included("include: [b0.yaml]", **several)
    assert "more than 500000 values" in errors("include: [b0.yaml, b1.yaml, b2.yaml]", **several)[0]
