"""What a controller remembers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netfab.errors import StoreError
from netfab.plan.leases import Lease
from netfab.store.book import Book, Entry

SHOP = Entry(
    "shop",
    "/srv/shop.yaml",
    1000,
    {"h1": "root@192.0.2.1", "h2": ""},
    3,
    "a1b2",
    {"nodes": {"web": {"host": "h1"}}},
    frozenset({Lease("subnet", "lan/4", "10.0.0.0/24")}),
)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    book = Book(f"{tmp_path}/controller")

    book.keep(SHOP)

    assert book.entry("shop") == SHOP
    assert book.entries() == [SHOP]
    assert (tmp_path / "controller").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "controller/shop.json").stat().st_mode & 0o777 == 0o600


def test_what_was_never_kept_is_nothing(tmp_path: Path) -> None:
    book = Book(f"{tmp_path}/controller")

    assert book.entry("shop") is None
    assert book.entries() == []
    book.forget("shop")


def test_the_last_that_is_forgotten_leaves_nothing(tmp_path: Path) -> None:
    book = Book(f"{tmp_path}/controller")
    book.keep(SHOP)

    book.forget("shop")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"leases": 3}', '{"leases": [], "name": "shop"}'])
def test_a_broken_entry_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop.json").write_text(text)

    with pytest.raises(StoreError, match=r"shop\.json: "):
        Book(str(tmp_path)).entry("shop")


def test_a_directory_that_went_with_the_last_entry_of_another_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, book = os.makedirs, Book(f"{tmp_path}/controller")
    others = [lambda: os.rmdir(f"{tmp_path}/controller"), lambda: None]

    def makedirs(path: str, *mode: int, **options: bool) -> None:
        make(path, *mode, **options)
        others.pop(0)()

    monkeypatch.setattr(os, "makedirs", makedirs)

    book.keep(SHOP)

    assert book.entry("shop") == SHOP


def test_two_controllers_may_write_at_once(tmp_path: Path) -> None:
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(100):
                    Book(str(tmp_path)).keep(SHOP)
                code = 0
            finally:
                os._exit(code)
        children.append(child)

    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert os.listdir(tmp_path) == [f"{SHOP.name}.json"]
