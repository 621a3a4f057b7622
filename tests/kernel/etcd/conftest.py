"""An etcd of three members on loopback addresses of a namespace of its own, for all tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import pytest
from etcd_cluster import Cluster, Place, cluster, wait_until_it_answers
from far import Far, lone_host

from netfab.store import etcd_lock
from netfab.store.book import Book
from netfab.store.etcd import Client
from netfab.store.shared import SharedBook
from netfab.topology.schema import Etcd

Open = Callable[..., AbstractContextManager[SharedBook]]
_prefixes = count()


@pytest.fixture(scope="module")
def net() -> Iterator[Far]:
    with lone_host() as made:
        yield made


@pytest.fixture(scope="module")
def members(net: Far) -> Iterator[Cluster]:
    with cluster(*(Place(f"127.0.0.{number}", net.enter) for number in (1, 2, 3))) as made:
        with net.inside():
            wait_until_it_answers(Client(made.store), made)
        yield made


@pytest.fixture
def store(sandbox: None, net: Far, members: Cluster) -> Iterator[Etcd]:
    """A part of it that is this test's, which is where the members are."""
    with net.inside():
        yield members.store._replace(prefix=f"/test{next(_prefixes)}")


@pytest.fixture
def client(store: Etcd) -> Iterator[Client]:
    made = Client(store)
    yield made
    made.close()


@pytest.fixture
def opened(store: Etcd, tmp_path: Path) -> Open:
    """What a controller has of a fabric when it may change it."""

    @contextmanager
    def open_(fabric: str, controller: str = "c1", timeout: float = 0) -> Iterator[SharedBook]:
        client = Client(store)
        key = f"{store.prefix}/locks/{fabric}"
        with etcd_lock.held(client, key, timeout, lambda _: None) as lock:
            yield SharedBook(client, Book(f"{tmp_path}/{controller}"), lock)
        client.close()

    return open_
