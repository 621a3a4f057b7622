"""A topology and the files that it names, read, so that planning needs no file.

fabric.py re-exports `load`. What the text means is topology/'s.
"""

from __future__ import annotations

import errno
import os
import stat
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence

from netfab.applying.seal import origin_of, with_origin
from netfab.errors import NetfabError, raise_all
from netfab.topology import MAX_BYTES
from netfab.topology.schema import FileSpec, Topology


def load(file: str, name: str | None = None, settings: Sequence[str] = ()) -> Topology:
    """Read and check a topology file, `-` for standard input. settings: PATH=VALUE of `--set`.

    Raises TopologyError, or Several of them; NetfabError if a file can't be read.
    """
    from netfab.topology.load import load as parse

    if file == "-":
        import sys

        text = sys.stdin.buffer.read(MAX_BYTES + 1)
        return _with_sources(parse(text, "-", os.getcwd(), os.environ, name, _read, settings))
    try:
        text = _read(file)
    except OSError as error:
        raise NetfabError(f"{file}: {error.strerror}") from error
    included: list[str] = []

    def include(path: str) -> bytes:
        included.append(path)
        return _read(path)

    directory = os.path.dirname(os.path.abspath(file))
    topology = parse(text, file, directory, os.environ, name, include, settings)
    if not included and not settings:
        topology = with_origin(topology, origin_of(text, file, name), text.removeprefix(BOM_UTF8).decode())
    return _with_sources(topology)


def _read(file: str) -> bytes:
    """At most so much as shows that it is too big. Raises OSError."""
    with open(file, "rb") as opened:
        return opened.read(MAX_BYTES + 1)


def read(text: bytes, file: str, directory: str, environ: Mapping[str, str]) -> Topology:
    """Check the text of a topology that is in no file. file: its name in errors; raises as `load` does."""
    from netfab.topology.load import load as parse

    return _with_sources(parse(text, file, directory, environ, read=_read))


def _content(file: str) -> str:
    """The content of a node's file. Raises OSError, also for pipes and devices, which may be endless."""
    mode = os.stat(file).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a directory fails by itself
        raise OSError(errno.EINVAL, "no regular file")
    with open(file, "rb") as opened:
        return opened.read().decode("utf-8", "surrogateescape")


def _with_sources(topology: Topology) -> Topology:
    """The topology with every `source` of `files` read, so that planning needs no file but this one."""
    errors: list[NetfabError] = []

    def read(spec: FileSpec) -> FileSpec:
        if spec.source is None:
            return spec
        try:
            return spec._replace(content=_content(spec.source))
        except OSError as error:
            errors.append(NetfabError(f"{spec.source}: {error.strerror}", at=spec.at))
        return spec

    if not any(file.source for node in topology.nodes.values() for file in node.files):
        return topology
    nodes = {name: node._replace(files=tuple(map(read, node.files))) for name, node in topology.nodes.items()}
    raise_all(errors)
    return topology._replace(nodes=nodes)
