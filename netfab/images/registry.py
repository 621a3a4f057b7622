"""Images of registries: pulled by way of mirrors, pushed, and searched for (OCI distribution-spec).

A mirror of docker.io is believed no more than anybody: what it gives is checked, and when it fails in any way
the next one is asked, which is said; the registry itself is the last.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote, urlsplit

from netfab.errors import NetfabError
from netfab.images.blobs import Part, WrongContent, digest_of
from netfab.images.config import BadImage
from netfab.images.http import BrokenOff, RegistryError, Response, Server, TooSlow
from netfab.images.layout import MOST, Layout
from netfab.images.manifests import INDEXES, MANIFESTS, Descriptor, Manifest, for_machine, parse
from netfab.images.settings import Settings
from netfab.topology.image import HUB, Reference

_PIECE = 1 << 20  # bytes
_ATTEMPTS = 3  # for a manifest, or for a blob without progress
_MOST_PAGES = 10_000  # of a catalog
_Got = TypeVar("_Got")
_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))


class Registry:
    """A Supply that pulls an image. `say` is called for each mirror that is given up."""

    def __init__(self, reference: Reference, settings: Settings, say: Callable[[str], None]) -> None:
        """Fetch the manifest. Raises NetfabError."""
        self._reference, self._say = reference, say
        self._servers = list(_servers(reference, settings, say))
        self._giving_up = threading.Lock()
        self.digest = ""  # of what the registry has by that name: an index, or the manifest itself
        self.manifest, self.text = self._from_first(self._manifest)

    def _from_first(self, get: Callable[[Server], _Got]) -> _Got:
        """Get it from the first server that has it. One that failed is not asked again."""
        while True:
            server = self._servers[0]
            try:
                return get(server)
            except (RegistryError, BadImage) as error:
                if isinstance(error, BadImage):
                    error.message = f"{server.registry}: {error.message}"
                if server is self._servers[-1]:
                    raise
                self._give_up(server, error.message)

    def _give_up(self, mirror: Server, why: str) -> None:
        """Stop using a mirror, unless another layer has done so already."""
        with self._giving_up:
            if self._servers[0] is mirror:
                self._say(f"mirror {why}; trying {self._servers[1].registry}")
                self._servers = self._servers[1:]

    def _manifest(self, server: Server) -> tuple[Manifest, bytes]:
        text, kind = self._document(server, self._reference.wanted, self._reference.digest)
        self.digest, found = digest_of(text), parse(text, kind)
        if not isinstance(found, Manifest):
            wanted = for_machine(found, os.uname().machine).digest
            text, kind = self._document(server, wanted, wanted)
            found = parse(text, kind)
        if not isinstance(found, Manifest):
            raise BadImage("an index leads to another index")
        return found, text

    def _document(self, server: Server, wanted: str, digest: str) -> tuple[bytes, str]:
        """A manifest or index, and its media type; checked against the digest, if one is given."""
        path = f"/v2/{self._reference.repository}/manifests/{wanted}"

        def get() -> tuple[bytes, str]:
            with server.ask("GET", path, {"Accept": _ACCEPT}) as response:
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
                return server.read(response, MOST), kind

        text, kind = _patiently(get)
        if digest and digest_of(text) != digest:
            raise WrongContent(f"what came as {digest} is {digest_of(text)}")
        return text, kind

    def close(self) -> None:
        """Close all connections."""
        for server in self._servers:
            server.close()

    def fetch(self, blob: Descriptor, part: Part, told: Callable[[int], None]) -> None:
        """Write the blob, resuming where it stopped. Raises NetfabError."""
        self._from_first(lambda server: self._fetch(server, blob, part, told))

    def _fetch(self, server: Server, blob: Descriptor, part: Part, told: Callable[[int], None]) -> None:
        left, begun = _ATTEMPTS, part.have > 0
        while not part.is_whole:
            had = part.have
            try:
                self._go_on(server, blob, part, told)
            except RegistryError as error:
                goes_on = part.have > had and not isinstance(error, TooSlow)
                left = _ATTEMPTS if goes_on else left - 1
                if error.status or not left:
                    raise
        try:
            part.finish()
        except WrongContent:
            if not begun:
                raise
            self._fetch(server, blob, part, told)  # what an earlier server sent was wrong, or this

    def _go_on(self, server: Server, blob: Descriptor, part: Part, told: Callable[[int], None]) -> None:
        path = f"/v2/{self._reference.repository}/blobs/{blob.digest}"
        wanted = {"Range": f"bytes={part.have}-"} if part.have else {}
        with server.ask("GET", path, wanted, fine=(200, 206, 416)) as response:
            if part.have and not _goes_on(response, part.have):
                part.restart()
                if response.status != 200:
                    raise RegistryError(f"{server.registry}: it can't resume")
            part.write(server.pieces(response, _PIECE), told)
        if not part.is_whole:
            raise RegistryError(f"{server.registry}: {blob.digest} ends after {part.have} bytes")


def _patiently(get: Callable[[], _Got]) -> _Got:
    """Retry after broken connections. Raises RegistryError."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(BrokenOff):
            return get()
    return get()


def _goes_on(response: Response, start: int) -> bool:
    """Whether the answer is the rest from `start`."""
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _servers(reference: Reference, settings: Settings, say: Callable[[str], None]) -> Iterator[Server]:
    """The servers to ask, in order: mirrors, then the registry itself."""
    scope = f"repository:{reference.repository}:pull"
    for mirror in settings.mirrors if reference.registry == HUB else ():
        parts = urlsplit(mirror if "://" in mirror else f"https://{mirror}")
        insecure = settings.may_be_insecure(parts.netloc)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
            say(f"mirror {mirror} is left out: it is not a URL like https://HOST[:PORT]")
        elif parts.scheme == "http" and not insecure:
            say(f"mirror {mirror} is left out: it is without TLS, and not in `insecure-registries`")
        else:
            yield Server(parts.netloc, settings, scope, (parts.scheme,))
    yield Server(reference.registry, settings, scope)


def push(
    reference: Reference,
    manifest: Manifest,
    layout: Layout,
    settings: Settings,
    told: Callable[[Descriptor, bool], None],
) -> int:
    """Push the image to the registry; the size of its manifest, in bytes.

    `told` is called for each blob with whether it was there already. Raises NetfabError.
    """
    scope = f"repository:{reference.repository}:pull,push"
    server = Server(reference.registry, settings, scope)
    for blob in dict.fromkeys((*manifest.layers, manifest.config)):
        there = _has(server, reference, blob)
        if not there:
            _upload(server, reference, blob, layout)
        told(blob, there)
    with open(layout.blob(manifest.digest), "rb") as file:
        text = file.read()
    path = f"/v2/{reference.repository}/manifests/{reference.wanted}"
    with server.ask("PUT", path, {"Content-Type": manifest.media_type}, text, fine=(200, 201, 202)):
        return len(text)


def _has(server: Server, reference: Reference, blob: Descriptor) -> bool:
    path = f"/v2/{reference.repository}/blobs/{blob.digest}"
    with server.ask("HEAD", path, fine=(200, 404)) as response:
        return response.status == 200


def _upload(server: Server, reference: Reference, blob: Descriptor, layout: Layout) -> None:
    with server.ask("POST", f"/v2/{reference.repository}/blobs/uploads/", body=b"", fine=(202,)) as response:
        location = response.headers.get("Location", "")
    if not location:
        raise RegistryError(f"{server.registry}: it names no place to upload a blob to")
    mark = "&" if "?" in location else "?"
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
    with (
        open(layout.blob(blob.digest), "rb") as file,
        server.ask("PUT", f"{location}{mark}digest={quote(blob.digest)}", headers, file, fine=(201, 204)),
    ):
        pass


def search(registry: str, term: str, settings: Settings, page: int = 100) -> Iterator[str]:
    """Names of the registry's repositories that contain the term, fetched page by page.

    Raises NetfabError.
    """
    if registry == HUB:
        raise NetfabError(
            "docker.io does not list its images",
            hint="a registry of your own: `netfab search HOST[/TERM]`",
        )
    server = Server(registry, settings, "registry:catalog:*")
    path: str | None = f"/v2/_catalog?n={page}"
    for _ in range(_MOST_PAGES):
        if path is None:
            return
        with server.ask("GET", path) as response:
            text, link = server.read(response, MOST), response.headers.get("Link", "")
        try:
            names = [str(name) for name in json.loads(text)["repositories"] or ()]
        except (ValueError, LookupError, TypeError) as error:
            raise RegistryError(f"{registry}: this is not a list of repositories") from error
        yield from (name for name in names if term in name)
        path = _next_page(link)
    raise RegistryError(f"{registry}: its list of repositories has no end")


def _next_page(link: str) -> str | None:
    """Path and query of `Link: </v2/_catalog?last=b&n=100>; rel="next"` (RFC 8288), on the same host."""
    found = re.match(r'\s*<([^>]*)>\s*;\s*rel="?next"?', link)
    if not found:
        return None
    parts = urlsplit(found[1])
    return f"/{parts.path.lstrip('/')}?{parts.query}"
