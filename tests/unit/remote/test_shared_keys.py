"""What controllers read of a store that they share: as somebody wrote it, or refused by its key."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from random import Random
from typing import Any

import pytest

from netfab.errors import StoreError
from netfab.plan.leases import Lease
from netfab.store.book import Entry
from netfab.store.etcd import Found, Json, Reply
from netfab.store.shared_keys import Keys, others
from netfab.topology.schema import Etcd

KEYS = Keys(Etcd(("h1:2379",)))
LAN = Lease("subnet", "lan/4", "10.1.0.0/24")
SHOP = Entry(
    "shop",
    "/srv/shop.yaml",
    0,
    {"h1": "root@h1"},
    3,
    "a1",
    {"nodes": {"web": {"host": "h1"}}},
    frozenset({LAN}),
)


def found(write: Json) -> Found:
    """What a write is read as."""
    key, value = (b64decode(write["request_put"][part]).decode() for part in ("key", "value"))
    return Found(key, value, 1, 1)


def test_an_entry_reads_back_as_it_was_written() -> None:
    assert KEYS.read_entry(found(KEYS.put_entry(SHOP))) == SHOP


def test_what_is_held_reads_back_as_it_was_written() -> None:
    reply = Reply(True, 1, (found(KEYS.put_held("shop", SHOP.leases)),))

    assert KEYS.read_held(reply) == {"shop": {LAN}}


def packed(said: Any) -> Found:
    text = b64encode(zlib.compress(json.dumps(said).encode())).decode()
    return Found(KEYS.entry("shop"), json.dumps({"version": 1, "packed": text}), 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc/x"},
        {"hosts": {"h1": 7}},
        {"hosts": []},
        {"generation": "3"},
        {"summary": {}},
        {"summary": {"nodes": {"web": {}}}},
        {"leases": [["subnet", "lan/4", 7]]},
        {"transaction": None},
        {"unheard of": 1},
    ],
    ids=str,
)
def test_an_entry_of_no_sense_is_refused_by_its_key(change: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=r"/netfab/fabrics/shop in etcd://h1:2379 is damaged"):
        KEYS.read_entry(packed({**SHOP.plain(), **change}))


def test_what_is_packed_larger_than_any_entry_is_refused() -> None:
    with pytest.raises(StoreError, match="it does not end"):
        KEYS.read_entry(packed("x" * (65 << 20)))


def test_values_with_any_byte_changed_are_read_or_refused() -> None:
    random, told = Random(1), 0
    whole = [found(KEYS.put_entry(SHOP)), found(KEYS.put_held("shop", SHOP.leases))]

    for _ in range(3000):
        each = random.choice(whole)
        text = list(each.value)
        for _ in range(random.randint(1, 3)):
            text[random.randrange(len(text))] = chr(random.randrange(32, 127))
        broken = each._replace(value="".join(text))
        try:
            if each is whole[0]:
                KEYS.read_entry(broken)
            else:
                others(KEYS.read_held(Reply(True, 1, (broken,))), "")
        except StoreError:
            told += 1

    assert told > 2000
