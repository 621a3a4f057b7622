"""`cp`: files of nodes' programs, read and written while these run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from netfab.errors import NetfabError
from netfab.nodes.by_name import node_of
from netfab.runtime.parts import Part, Writer, parts
from netfab.runtime.paths import Paths
from netfab.runtime.places import in_container, name_of, on_host, place_in_container, place_on_host
from netfab.runtime.record import read_record
from netfab.runtime.status import status_of
from netfab.where import HERE, Where, need_root

_ROOT = (0, 0)  # user and group


def copy_out(node: str, path: str, target: str, where: Where = HERE) -> list[str]:
    """Copy from the files of a node's program to this host, owned by the caller.

    Returns the names that were left out: no file, directory or link. Raises NetfabError.
    """
    with writer_on_host(target, name_of(path)) as writer:
        for part in read_in_node(node, path, where):
            writer.take(part)
        return writer.finish()


def copy_in(source: str, node: str, path: str, where: Where = HERE) -> list[str]:
    """Copy files of this host to those of a node's program, owned by its root.

    Returns the names that were left out. Raises NetfabError.
    """
    with writer_in_node(node, path, name_of(source), where) as writer:
        for part in read_on_host(source):
            writer.take(part)
        return writer.finish()


def read_in_node(node: str, path: str, where: Where = HERE) -> Iterator[Part]:
    """The parts of a copy from the files of a node's program. Raises NetfabError."""
    with ExitStack() as closing, _told(f"{node}:{path}"):
        yield from parts(in_container(_root_of(node, where, closing), path, closing))


def read_on_host(path: str) -> Iterator[Part]:
    """The parts of a copy from this host's files. Raises NetfabError."""
    with ExitStack() as closing, _told(path):
        yield from parts(on_host(path, closing))


@contextmanager
def writer_on_host(path: str, name: str) -> Iterator[Writer]:
    """A writer of parts to a path of this host, or, if that is a directory, to `name` in it."""
    with ExitStack() as closing, _told(path), Writer(place_on_host(path, name, closing), None) as writer:
        yield writer


@contextmanager
def writer_in_node(node: str, path: str, name: str, where: Where = HERE) -> Iterator[Writer]:
    """The same for the files of a node's program."""
    with ExitStack() as closing, _told(f"{node}:{path}"):
        place = place_in_container(_root_of(node, where, closing), path, name, closing)
        with Writer(place, _ROOT) as writer:
            yield writer


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Within this, errors are raised as NetfabError, in one sentence that begins with the place."""
    try:
        yield
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        name = getattr(error, "filename", None)
        about = f" ({name})" if isinstance(name, str) and name != place else ""
        raise NetfabError(f"{place}: {reason}{about}") from error


def _root_of(node: str, where: Where, closing: ExitStack) -> int:
    """A descriptor of the root directory of a node's running program."""
    need_root("cp")
    record, name, _ = node_of(node, where)
    paths = Paths(record.name, where.run, where.state)
    found = status_of(paths, name)
    if found is None or not found.pid:
        raise NetfabError(f"{node} does not run, so its files can't be accessed", hint=f"netfab start {node}")
    root = os.open(f"/proc/{found.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    closing.callback(os.close, root)
    known = read_record(paths.record(name))
    if known is None or known.pid != found.pid or not known.lives:
        raise NetfabError(f"{node} has just ended")
    return root
