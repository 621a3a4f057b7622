"""`store: etcd://…`, as it is written and read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from netfab.errors import NetfabError
from netfab.topology.config import config
from netfab.topology.load import load
from netfab.topology.schema import Etcd

WHOLE = "etcds://bob@h1:2379,[fd00::1]:1234/lab/one?ca=/etc/ca.pem&cert=/etc/c.pem&key=/etc/c.key&password-file=/pw"


def store_of(url: str) -> Etcd | None:
    return load(f'{{name: lab, store: "{url}"}}'.encode(), "lab.yaml", "/", {}).store


def test_a_store_is_its_members_below_a_prefix() -> None:
    assert store_of("etcd://h1,h2:99") == Etcd(("h1:2379", "h2:99"), "/netfab")
    assert store_of("etcd://h1:2379/lab/") == Etcd(("h1:2379",), "/lab")


def test_all_that_can_be_said_of_a_store() -> None:
    assert store_of(WHOLE) == Etcd(
        ("h1:2379", "[fd00::1]:1234"),
        "/lab/one",
        True,
        "bob",
        "/pw",
        "/etc/ca.pem",
        "/etc/c.pem",
        "/etc/c.key",
    )


@pytest.mark.parametrize("url", ["etcd://h1:2379,h2:2379", "etcd://h1:2379/lab", WHOLE])
def test_a_store_is_printed_as_it_was_written(url: str) -> None:
    assert str(store_of(url)) == url
    assert f'store: "{url}"' in config(load(f"{{name: a, store: '{url}'}}".encode(), "a.yaml", "/", {}))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("etcd://", "is neither `sqlite` nor `etcd://HOST:PORT,HOST:PORT`"),
        ("etcd:h:2379", "or `etcds://…` with TLS; write `etcd://h:2379`"),
        ("etcds:/h1:2379,h2", "; write `etcds://h1:2379,h2`"),
        ("h1:2379", "; write `etcd://h1:2379`"),
        ("redis://h:1", "is neither `sqlite` nor `etcd://HOST:PORT,HOST:PORT`"),
        ("etcd://h:99999", "`h:99999` is not HOST:PORT"),
        ("etcd://h1,,h2", "`` is not HOST:PORT"),
        ("etcd://bob:secret@h", "the user of a store is `USER@`, without a password"),
        ("etcd://bob@h", "a store's user and its password go together"),
        ("etcd://h?password-file=/pw", "a store's user and its password go together"),
        ("etcd://h?ca=/ca.pem", "mean TLS: write `etcds://`"),
        ("etcds://h?cert=/c.pem", "`cert` and `key` of a store go together"),
        ("etcds://h?ca=ca.pem", "`ca` of a store is an absolute path, not `ca.pem`"),
        ("etcd://h?timeout=3", "a store has no option `timeout`; it has ca, cert, key, password-file"),
    ],
)
def test_what_is_wrong_with_a_store_is_said_at_its_place(url: str, told: str) -> None:
    with pytest.raises(NetfabError) as caught:
        store_of(url)

    assert str(caught.value).startswith("lab.yaml:1:20: store: ")
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_fabric_in_a_shared_store_says_its_name() -> None:
    with pytest.raises(NetfabError, match=r"1:9: store: fabrics in a shared store say their names"):
        load(b"{store: 'etcd://h'}", "lab.yaml", "/", {})

    assert load(b"{store: 'etcd://h'}", "lab.yaml", "/", {}, "shop").name == "shop"


def test_without_it_nothing_is_loaded_that_speaks_to_an_etcd() -> None:
    script = """
import sys
import netfab.multihost.across, netfab.cli.apply, netfab.cli.destroy, netfab.fabric
from netfab.topology.load import load
load(b"{name: lab, store: sqlite, networks: {lan: {}}}", "lab.yaml", "/", {})
unwanted = {"netfab.topology.etcd", "netfab.store.etcd", "netfab.store.shared", "http.client", "ssl"}
print(sorted(unwanted & {*sys.modules}))
"""

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"
