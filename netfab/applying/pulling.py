"""The images of a topology's nodes: pulled before anything is changed, or only looked up by `plan`.

Turns the names in a file into ids, which everything after this plans and runs by. Also knows which images of
this host are in use by applied fabrics.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from netfab.errors import NetfabError, PlanError, raise_all
from netfab.plan.images import Meant, wanted, with_images, without_any_program
from netfab.topology.schema import Node, Topology
from netfab.where import Where, need_root, records

if TYPE_CHECKING:
    from netfab.images import Image


@contextmanager
def with_its_images(topology: Topology, where: Where, only: Collection[str] = ()) -> Iterator[Topology]:
    """The topology with images by digest, all present here and protected from removal within this context.

    Raises NetfabError, for all that can't be obtained.
    """
    images = _of_files_and_registries(topology, only)
    if not images:
        yield topology
        return
    from netfab.images import resolve  # most nodes run from the host's own files
    from netfab.images.locks import using

    need_root("apply")
    with using(where):
        known = dict(_each(images, lambda name, beside: resolve(where, name, beside)))
        raise_all(without_any_program(topology, known))
        yield with_images(topology, known)


def as_far_as_they_are_here(
    topology: Topology, where: Where, only: Collection[str] = ()
) -> tuple[Topology, list[str]]:
    """The topology with images by digest as far as they are here, and a note on each of the others."""
    images = _of_files_and_registries(topology, only)
    if not images:
        return topology, []
    if os.geteuid() != 0:
        return with_images(topology, dict.fromkeys(images)), [
            "what images say of programs is known to root only"
        ]
    from netfab.images import find

    known = dict(_each(images, lambda name, beside: find(where, name, beside)))
    raise_all(without_any_program(topology, known))
    told = [f"image {name} is not here: `apply` brings it" for name, meant in known.items() if meant is None]
    return with_images(topology, known), told


def _of_files_and_registries(topology: Topology, only: Collection[str]) -> dict[str, Node]:
    """All but directories, which need no resolving."""
    images = {name: node for name, node in wanted(topology).items() if not _is_root(name)}
    if images and only:
        from netfab.plan.part import nodes_of

        with suppress(PlanError):  # a node that is no longer in the file
            nodes = nodes_of(topology, only)
            named = {node.image for node in topology.nodes.values() if node.name in nodes}
            return {name: node for name, node in images.items() if name in named}
    return images


def _is_root(name: str) -> bool:
    """Whether it is a root file system's directory, or a path that does not exist."""
    return name.startswith("/") and not os.path.isfile(name) and not os.path.isfile(f"{name}/oci-layout")


def _each(
    images: Mapping[str, Node], get: Callable[[str, str], Image | None]
) -> Iterator[tuple[str, Meant | None]]:
    """The meaning of each name. `get` gets its location. Raises all errors at once, each at its place."""
    errors: list[NetfabError] = []
    for name, node in images.items():
        try:
            found = get(name, os.path.dirname(node.at.of("image").file) or ".")
        except NetfabError as error:
            error.at = error.at or node.at.of("image")
            errors.append(error)
        else:
            yield name, Meant(found.digest, found.config) if found else None
    raise_all(errors)


def used(where: Where) -> frozenset[str]:
    """The ids of all images that fabrics of this host were applied with. Raises StoreError."""
    from netfab.topology.image import ID

    return frozenset(image for record in records(where) for image in re.findall(ID, record.desired))
