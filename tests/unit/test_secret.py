"""The secret that keys of encrypted networks are derived from: whole, and for its owner only."""

from __future__ import annotations

import os
from errno import ENOSPC
from pathlib import Path

import pytest

from netfab.errors import NetfabError, StoreError
from netfab.multihost.secret import secret_alone, secret_of
from netfab.store.book import Book
from netfab.topology.load import load
from netfab.topology.schema import Topology
from netfab.where import Where, opened_book

SECRET, OTHER = bytes(range(32)), bytes(32)


def topology(encrypt: bool) -> Topology:
    text = f"""
name: lab
hosts: {{h1: {{address: 192.0.2.1}}}}
networks: {{lan: {{encrypt: {str(encrypt).lower()}}}}}
nodes: {{n: {{networks: [lan], runs_on: h1}}}}
"""
    return load(text.encode(), "lab.yaml", "/lab", {}, None)


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Where:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return Where(state=str(tmp_path), run=str(tmp_path))


@pytest.fixture
def book(where: Where) -> Book:
    return opened_book(where)


def test_it_is_kept_for_its_owner_only(book: Book) -> None:
    book.keep_secret("lab", SECRET)

    found = os.stat(book.path_of_secret("lab"))
    assert found.st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(book.path_of_secret("lab"))).st_mode & 0o777 == 0o700
    assert book.secret("lab") == SECRET
    assert os.listdir(os.path.dirname(book.path_of_secret("lab"))) == ["lab.key"]


def test_of_one_that_a_full_disk_stops_nothing_is_left(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(StoreError, match="No space left"):
        book.keep_secret("lab", SECRET)

    assert os.listdir(os.path.dirname(book.path_of_secret("lab"))) == []


def test_one_that_is_there_is_not_replaced(book: Book) -> None:
    book.keep_secret("lab", SECRET)
    book.keep_secret("lab", SECRET)

    with pytest.raises(StoreError, match="was made by another command meanwhile"):
        book.keep_secret("lab", OTHER)

    assert book.secret("lab") == SECRET


def test_it_goes_with_the_fabric(book: Book) -> None:
    book.keep_secret("lab", SECRET)

    book.forget("lab")

    assert book.secret("lab") is None
    assert not os.path.exists(os.path.dirname(book.path_of_secret("lab")))


def test_with_it_goes_what_a_killed_command_had_written_beside_it(book: Book) -> None:
    for fabric in ("lab", "lab2"):
        book.keep_secret(fabric, SECRET)
        Path(f"{book.path_of_secret(fabric)}.4711").write_text(SECRET.hex())

    book.forget_secret("lab")

    assert sorted(os.listdir(os.path.dirname(book.path_of_secret("lab")))) == ["lab2.key", "lab2.key.4711"]


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (SECRET.hex(), 0o640, "can be read by others"),
        (SECRET.hex()[:-2], 0o600, "has 31 bytes, not 32"),
        ("no digits", 0o600, "non-hexadecimal"),
    ],
)
def test_one_that_can_not_be_meant_is_refused_and_never_shown(
    book: Book, text: str, mode: int, message: str
) -> None:
    book.keep_secret("lab", SECRET)
    path = Path(book.path_of_secret("lab"))
    path.write_text(text)
    path.chmod(mode)

    with pytest.raises(StoreError, match=message) as caught:
        book.secret("lab")

    assert SECRET.hex()[:-2] not in str(caught.value)


def test_nothing_is_kept_before_something_is_applied(where: Where, book: Book) -> None:
    assert len(secret_of(topology(encrypt=True), where)) == 32
    assert book.secret("lab") is None


def test_what_is_not_encrypted_needs_none(where: Where) -> None:
    assert secret_of(topology(encrypt=False), where) == secret_alone(topology(encrypt=False), where) == b""


def test_a_host_alone_makes_none_up(where: Where, book: Book) -> None:
    with pytest.raises(NetfabError, match=r"there is no .*lab\.key, which keys between the hosts"):
        secret_alone(topology(encrypt=True), where)

    book.keep_secret("lab", SECRET)
    assert secret_alone(topology(encrypt=True), where) == SECRET
