"""Sends images to remote hosts, so that all run the same: those that a plan needs and the host lacks.

They come from this host, by digest, over the existing conversation; remote hosts need no registry.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from netfab.errors import NetfabError, raise_all
from netfab.images.index import Known, read
from netfab.images.layout import Layout
from netfab.images.manifests import Descriptor, Manifest, parse
from netfab.objects.base import Fabric
from netfab.objects.container import Container
from netfab.plan.planner import Plan
from netfab.remote.answers import number, read_all, texts
from netfab.remote.party import Party
from netfab.where import Where

_PIECE = 1 << 20  # bytes of a blob in a message


def give(together: Party, plans: Mapping[str, Plan], where: Where) -> None:
    """Ensure that every host has the images of its containers. Raises NetfabError."""
    wanted = {host: ids for host, plan in plans.items() if (ids := _images_in(plan.fabric))}
    said = together.ask_all({host: {"verb": "lack", "images": ids} for host, ids in wanted.items()})
    lacking: dict[str, list[str]] = {}
    for host, lacks in read_all(said, lambda answer: texts(answer["images"])).items():
        for image in set(wanted[host]).intersection(lacks):  # a host gets only images that it is to run
            lacking.setdefault(image, []).append(host)
    if lacking:
        layout = Layout(where.state)
        index = read(layout)
        for image, hosts in lacking.items():
            known = index.images.get(image)
            if known is None:
                raise NetfabError(f"image {image} is neither here nor on {', '.join(hosts)}")
            _give(together, layout, known, hosts, index.names_of(image), where)


def _images_in(fabric: Fabric) -> list[str]:
    found = (thing.image for thing in fabric.values() if isinstance(thing, Container))
    return sorted({image for image in found if image.startswith("sha256:")})


def _give(
    together: Party, layout: Layout, known: Known, hosts: list[str], names: list[str], where: Where
) -> None:
    with open(layout.blob(known.manifest), "rb") as file:
        text = file.read()
    manifest = parse(text)
    assert isinstance(manifest, Manifest), "what is kept of an image is its manifest"
    blobs = (Descriptor(known.manifest, len(text)), manifest.config, *manifest.layers)
    total, done = sum(blob.size for blob in blobs), 0
    for blob in dict.fromkeys(blobs):
        _give_blob(together, layout, blob, hosts)
        done += blob.size
        where.progress(done >> 10, total >> 10, f"KiB of {names[0] if names else known.manifest}")
    unpack: dict[str, Any] = {"verb": "unpack", "manifest": known.manifest, "names": names}
    together.ask_all(dict.fromkeys(hosts, unpack))


def _give_blob(together: Party, layout: Layout, blob: Descriptor, hosts: list[str]) -> None:
    """Send a blob to all of these concurrently, to each from where its transfer stopped."""
    have = dict.fromkeys(hosts, 0)
    with open(layout.blob(blob.digest), "rb") as file:
        first = True
        while behind := [host for host in hosts if first or have[host] < blob.size]:
            pieces = {host: b"" if first else os.pread(file.fileno(), _PIECE, have[host]) for host in behind}
            said = together.ask_all(
                {
                    host: {
                        "verb": "take",
                        "digest": blob.digest,
                        "size": blob.size,
                        "start": have[host],
                        "data": b64encode(piece).decode(),
                    }
                    for host, piece in pieces.items()
                }
            )
            now = read_all(said, lambda answer: number(answer["have"]))
            raise_all(
                NetfabError(f"{host} has {there} of {blob.size} bytes of {blob.digest}, and takes no more")
                for host, there in now.items()
                if not have[host] + bool(pieces[host]) <= there <= blob.size
            )
            have |= now
            first = False
