"""Images handed to another host: what it takes, and from whom."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_images import Made, file, image, layer

from netfab.errors import NetfabError, Unsupported
from netfab.images import find
from netfab.images.blobs import digest_of, keep
from netfab.images.config import BadImage
from netfab.images.layout import Layout
from netfab.images.locks import alone_at_once, using
from netfab.images.manifests import Descriptor
from netfab.images.naming import images
from netfab.images.receive import lacking, receive, unpack_received
from netfab.images.removal import leaving_nothing
from netfab.remote.agent import Agent
from netfab.where import Where

MADE = image(layer(file("a", b"x" * 1000)), compressed=False)


def hand(where: Where, made: Made) -> None:
    for digest, data in {made.digest: made.manifest, **made.blobs}.items():
        have = receive(where, Descriptor(digest, len(data)), 0, b"")
        while have < len(data):
            have = receive(where, Descriptor(digest, len(data)), have, data[have : have + 700])


def test_an_image_that_came_in_pieces_is_here_by_its_names(where: Where) -> None:
    assert lacking(where, [MADE.id]) == [MADE.id]

    hand(where, MADE)
    assert unpack_received(where, MADE.digest, ["a:1", "no name!"]) == MADE.id

    assert lacking(where, [MADE.id]) == []
    found = find(where, "a:1")
    assert found is not None
    assert [line.repository for line in images(where)] == ["a"]


def test_what_has_come_of_an_image_stays_though_another_is_refused_meanwhile(where: Where) -> None:
    agent = Agent(where)
    assert list(agent.answers({"verb": "lack", "images": [MADE.id]})) == [
        {"verb": "lacks", "images": [MADE.id]}
    ]

    def refuse() -> None:
        with leaving_nothing(where):
            hand(where, MADE)
            raise BadImage("of another command")

    with pytest.raises(BadImage, match="of another"):
        refuse()
    unpacked = list(agent.answers({"verb": "unpack", "manifest": MADE.digest, "names": ["a:1"]}))

    assert unpacked == [{"verb": "unpacked", "image": MADE.id}]
    with alone_at_once(where) as layout:
        assert layout is not None


def test_why_it_was_refused_is_told_where_what_came_of_it_can_not_be_removed(where: Where) -> None:
    layout = Layout(where.state)

    def refuse(data: bytes) -> None:
        with leaving_nothing(where), using(where):
            keep(layout, data)
            raise Unsupported("of zstd")

    with pytest.raises(Unsupported, match="of zstd"):
        refuse(b"a layer")
    assert os.listdir(layout.blobs) == []

    Path(layout.index_file).write_text("damaged")
    with pytest.raises(Unsupported, match="of zstd"):
        refuse(b"another")


def test_a_piece_that_is_not_due_is_not_taken(where: Where) -> None:
    (digest, data), *_ = MADE.blobs.items()
    blob = Descriptor(digest, len(data))

    assert receive(where, blob, 0, data[:100]) == 100
    assert receive(where, blob, 50, data[50:150]) == 100
    assert receive(where, blob, 100, data[100:]) == len(data)


def test_of_the_pieces_that_came_before_none_is_read_again(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    (digest, data), *_ = MADE.blobs.items()
    blob = Descriptor(digest, len(data))
    receive(where, blob, 0, data[:100])

    with monkeypatch.context() as patched:
        patched.delattr(os, "pread")
        assert receive(where, blob, 100, data[100:200]) == 200

    assert receive(where, blob, 200, data[200:]) == len(data)


def test_a_blob_that_is_another_is_refused_and_begins_anew(where: Where) -> None:
    (digest, data), *_ = MADE.blobs.items()
    blob = Descriptor(digest, len(data))

    with pytest.raises(NetfabError, match="what came as"):
        receive(where, blob, 0, b"y" * len(data))
    with pytest.raises(NetfabError, match="larger than"):
        receive(where, blob, 0, data + b"y")
    assert receive(where, blob, 0, b"") == 0


def test_an_image_of_which_something_did_not_come_is_refused(where: Where) -> None:
    receive(where, Descriptor(MADE.digest, len(MADE.manifest)), 0, MADE.manifest)

    with pytest.raises(NetfabError, match="did not come"):
        unpack_received(where, MADE.digest, [])
    assert images(where) == []


def test_an_image_for_another_machine_is_refused(where: Where) -> None:
    config = json.dumps({**json.loads(MADE.blobs[MADE.id]), "architecture": "s390x"}).encode()
    said = {**json.loads(MADE.manifest), "config": {"digest": digest_of(config), "size": len(config)}}
    made = Made(json.dumps(said).encode(), {**MADE.blobs, digest_of(config): config}, digest_of(config))
    hand(where, made)

    with pytest.raises(NetfabError, match="for s390x"):
        unpack_received(where, made.digest, [])
