"""YAML with places: what is read, what is refused, and that a small file costs little."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from netfab.errors import TopologyError
from netfab.topology import MAX_BYTES
from netfab.topology.source import Source
from netfab.topology.tree import Map, Scalar, Sequence, Tree, weight


def read(text: str | bytes, **environ: str) -> Tree:
    source = Source(text.encode() if isinstance(text, str) else text, "t.yaml", environ)
    assert source.errors == []
    return source.tree


def plain(tree: Tree) -> object:
    if isinstance(tree, Scalar):
        return tree.text
    if isinstance(tree, Sequence):
        return [plain(item) for item in tree.items]
    return {key: plain(value) for key, value in tree.values.items()}


def scalars(tree: Tree) -> Iterator[tuple[str, bool, int, int]]:
    """All of a tree, with what tells them from null, and their places."""
    if isinstance(tree, Scalar):
        yield tree.text, tree.plain, tree.line, tree.column
        return
    for each in tree.items if isinstance(tree, Sequence) else (*tree.keys.values(), *tree.values.values()):
        yield from scalars(each)


def test_scalars_are_what_was_typed() -> None:
    assert plain(read("[12:34:56:11:22:33, 22:22, no, 010, 1.10, 1e3, 2024-01-01, ~]")) == [
        "12:34:56:11:22:33", "22:22", "no", "010", "1.10", "1e3", "2024-01-01", "~",
    ]  # fmt: skip


def test_every_value_has_its_line_and_column() -> None:
    tree = read("a: 1\nbb:\n  - x\n  - {c: y}\n")

    assert isinstance(tree, Map)
    items = tree.values["bb"]
    assert isinstance(items, Sequence)
    assert [(item.line, item.column) for item in items.items] == [(3, 5), (4, 5)]
    assert (tree.keys["bb"].line, tree.keys["bb"].column) == (2, 1)


def test_a_yaml_that_was_built_without_libyaml_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &a {x: ~, y: '~'}\nb:\n  - *a\n  - |\n    é\nc: [1.10, {<<: *a}]\n"
    by_libyaml = read(text)
    monkeypatch.setitem(sys.modules, "yaml._yaml", None)
    by_itself = read(text)

    assert plain(by_itself) == plain(by_libyaml)
    assert [*scalars(by_itself)] == [*scalars(by_libyaml)]
    with pytest.raises(TopologyError, match=r"^t\.yaml:1:4: a: "):
        read("a: @x")


def test_anchors_and_merges_work_and_the_maps_own_keys_win() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {<<: *b, y: 4}\ne: *a\n"

    assert plain(read(text)) == {
        "a": {"x": "1", "y": "1"},
        "b": {"y": "2", "z": "2"},
        "c": {"x": "1", "y": "1", "z": "3"},
        "d": {"y": "4", "z": "2"},
        "e": {"x": "1", "y": "1"},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "web"),
        ("a-${HOST}-${PORT:-80}", "a-web-80"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("$HOME $$ $${X}", "$HOME $ ${X}"),
        ("${HOST:?needed}", "web"),
    ],
)
def test_variables(text: str, value: str) -> None:
    assert plain(read(f"[{text!r}]", HOST="web", EMPTY="")) == [value]


def test_a_variables_value_is_never_structure() -> None:
    tree = read("a: ${X}\nb: ${NULL}", X="{c: 1}", NULL="null")

    assert plain(tree) == {"a": "{c: 1}", "b": "null"}
    assert isinstance(tree, Map)
    null = tree.values["b"]
    assert isinstance(null, Scalar)
    assert not null.is_null


def test_an_aliased_value_is_read_for_variables_once() -> None:
    assert plain(read("[&a '$$${X}', *a, *a]", X="$$")) == ["$$$"] * 3


def test_keys_are_not_interpolated() -> None:
    assert plain(read("${X}: 1")) == {"${X}": "1"}


def test_a_billion_laughs_cost_nothing() -> None:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 9) + "]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]

    with pytest.raises(TopologyError, match="more than 500000 values, aliases expanded") as caught:
        read("\n".join(lines))

    assert caught.value.at is not None
    assert caught.value.at.line == 6


def test_what_aliases_expand_to_is_counted_and_what_stays_below_the_limit_is_read() -> None:
    assert weight(read("a: &a [1, 2, 3]\nb: [*a, *a]\n")) == 1 + 4 + 1 + 8


def test_merges_count_too() -> None:
    big = ", ".join(f"k{n}: v" for n in range(1000))
    uses = "".join(f"u{n}: {{<<: *b}}\n" for n in range(300))

    with pytest.raises(TopologyError, match="more than 500000 values"):
        read(f"b: &b {{{big}}}\n{uses}")


def test_depth_is_limited_also_through_aliases() -> None:
    inner = "[" * 20 + "]" * 20

    with pytest.raises(TopologyError, match="nested more than 32 deep, aliases expanded"):
        read(f"a: &a {inner}\nb: {'[' * 20}*a{']' * 20}\n")
    with pytest.raises(TopologyError, match="nested more than 32 deep"):
        read("[" * 100)
    with pytest.raises(TopologyError, match=r"nested more than 32 deep|exceeded maximum nesting depth"):
        read("[" * 100_000)  # libyaml has a limit of its own, or has not


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"a: 1\nb: \xff", "t.yaml:2:4: the byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbfa: \xff", "t.yaml:1:4: the byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "t.yaml:1:1: the byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb: \x07", "t.yaml:2:4: the character U+0007 is not allowed in YAML"),
        (b"", "t.yaml:1:1: the file is empty; `nodes:` and `networks:` are expected"),
        (b"# nothing\n", "t.yaml:1:1: the file is empty; `nodes:` and `networks:` are expected"),
        (b" " * (MAX_BYTES + 1), "t.yaml:1:1: the file has 4194305 bytes; 4194304 (4 MiB) is the limit"),
    ],
)
def test_what_is_no_text_is_refused(text: bytes, error: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read(text)

    assert str(caught.value) == error


def test_a_byte_order_mark_is_no_matter() -> None:
    assert plain(read(b"\xef\xbb\xbfa: 1")) == {"a": "1"}


def test_an_errors_path_shows_no_control_character() -> None:
    source = Source(b'"a\\e[31m": {b: 1, b: 2}', "t.yaml", {})

    assert [str(error) for error in source.errors] == [
        "t.yaml:1:19: a\\x1b[31m.b: the key stands twice, first at t.yaml:1:13"
    ]
