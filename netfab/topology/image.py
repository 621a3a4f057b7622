"""What a word for an image means: a registry's name, an archive, a directory, an image that is here.

Pure text. Whether there is such an image, and what is in it, is images/' business.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from netfab.topology import phrases
from netfab.topology.grammar import Wrong, quoted
from netfab.tuples import NamedTuple

Kind = Literal["host", "path", "docker-archive", "oci-archive", "oci", "id", "name"]

HUB: Final = "docker.io"
ID: Final = "sha256:[0-9a-f]{64}"  # of an image: the digest of its config
_ARCHIVES: Final[dict[str, Kind]] = {
    "docker-archive": "docker-archive",
    "oci-archive": "oci-archive",
    "oci": "oci",
}
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\]"
_TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
MAX_REPOSITORY: Final = 255


class Reference(NamedTuple):
    """An image in a registry: docker.io/library/alpine:3.20, or by the digest of its manifest."""

    registry: str  # HOST or HOST:PORT
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def repository_name(self) -> str:
        """Without tag and digest, as Docker's users write it: `alpine`, `localhost:5000/web`."""
        if self.registry != HUB:
            return f"{self.registry}/{self.repository}"
        return self.repository.removeprefix("library/")

    @property
    def wanted(self) -> str:
        """What to request from a registry: the digest rather than the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return (
            self.repository_name
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.digest}" if self.digest else "")
        )


def reference(text: str) -> Reference:
    """`alpine`, `alpine:3.20`, `localhost:5000/web@sha256:…`; without tag and digest it is `latest`.

    The grammar is that of Docker (github.com/distribution/reference). Raises Wrong.
    """
    rest, at, digest = text.partition("@")
    if at and not re.fullmatch(ID, digest):
        raise Wrong(f"{quoted(text)}: a digest is `sha256:` and 64 digits 0-9a-f")
    head, slash, tail = rest.partition("/")
    hosted = slash and (head == "localhost" or "." in head or ":" in head)
    registry, path = (head, tail) if hosted else (HUB, rest)
    path, colon, tag = path.partition(":")
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = HUB
    if registry == HUB and "/" not in path:
        path = f"library/{path}"
    if not re.fullmatch(rf"(?:{_HOST})(?::[0-9]{{1,5}})?", registry):
        raise Wrong(f"{quoted(text)}: {quoted(registry)} is not a registry; write `HOST` or `HOST:PORT`")
    if not re.fullmatch(rf"{_COMPONENT}(?:/{_COMPONENT})*", path) or len(path) > MAX_REPOSITORY:
        raise Wrong(
            f"{quoted(text)} is not an image; write `alpine:3.20`, `HOST/NAME:TAG` or a path `./root`"
        )
    if colon and not re.fullmatch(_TAG, tag):
        raise Wrong(f"{quoted(text)}: {quoted(tag)} is not a tag")
    return Reference(registry, path, tag or ("" if digest else "latest"), digest)


class Source(NamedTuple):
    """Where an image comes from."""

    kind: Kind
    place: str  # the absolute path of a file or directory; the id of an image that is here; else the name
    which: str = ""  # the name of one of several in an archive

    def __str__(self) -> str:
        if self.kind in _ARCHIVES:
            return f"{self.kind}:{self.place}" + (f":{self.which}" if self.which else "")
        return self.place

    @property
    def is_file(self) -> bool:
        """Whether it is on this host's disk, not in a registry."""
        return self.kind in (*_ARCHIVES, "path")


def source(text: str, directory: str) -> Source:
    """Parse a source; a relative path is taken from `directory`. Raises Wrong."""
    if text == "host":
        return Source("host", "host")
    if phrases.is_path(text):
        return Source("path", phrases.path(text, directory))
    kind, colon, rest = text.partition(":")
    if colon and kind in _ARCHIVES:
        path, _, which = rest.partition(":")
        if not path:
            raise Wrong(f"{quoted(text)}: a path is expected after `{kind}:`")
        place = path if phrases.is_path(path) else f"./{path}"
        return Source(_ARCHIVES[kind], phrases.path(place, directory), which)
    if re.fullmatch(ID, text):
        return Source("id", text)
    return Source("name", str(reference(text)))
