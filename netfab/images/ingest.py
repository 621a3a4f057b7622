"""Adding an image to the store: its manifest and config, its layers in parallel, its names when all is there.

It comes from a Supply: a registry or an archive. What that delivers is verified by digest; an interrupted
download resumes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from netfab.errors import NetfabError
from netfab.images import layers
from netfab.images.blobs import Part, incoming, keep
from netfab.images.config import BadImage, config_of, diff_ids_of
from netfab.images.index import Known, changing, read
from netfab.images.layout import MOST, Layout
from netfab.images.manifests import Descriptor, Manifest

if TYPE_CHECKING:
    from netfab.images import Place

_AT_ONCE = 3  # layers; Docker's number
_TELL_EVERY = 0.1  # seconds


class Supply(Protocol):
    """A source of an image."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the image for this machine."""

    @property
    def text(self) -> bytes:
        """The manifest as it came."""

    def fetch(self, blob: Descriptor, part: Part, told: Callable[[int], None]) -> None:
        """Write the blob, and finish it. `told` is called with byte counts; may raise. Raises NetfabError."""


class Stopped(NetfabError):
    """Another layer of the image failed."""


class Meter:
    """Progress of an image, from several threads, reported a few times a second."""

    def __init__(self, place: Place, what: str, total: int) -> None:
        self._tell, self._what, self._total = place.progress, what, total
        self._done, self._last = 0, 0.0
        self._lock = threading.Lock()
        self.stopping = False

    def add(self, size: int) -> None:
        """Count received bytes. Raises Stopped."""
        self.check()
        with self._lock:
            self._done += size
            if self._done >= self._total or time.monotonic() - self._last > _TELL_EVERY:
                self._last = time.monotonic()
                self._tell(self._done >> 10, self._total >> 10, f"KiB of {self._what}")

    def check(self) -> None:
        """Raises Stopped if another layer has failed."""
        if self.stopping:
            raise Stopped("stopped")


def take(place: Place, layout: Layout, supply: Supply, names: Iterable[str], what: str) -> str:
    """Bring the image here under these names; its id. Raises NetfabError."""
    manifest = supply.manifest
    meter = Meter(place, what, sum(blob.size for blob in (manifest.config, *manifest.layers)))
    config = _config(layout, supply, manifest, meter)
    config_of(config)  # refused here, not at its first run
    diff_ids = diff_ids_of(config)
    if len(diff_ids) != len(manifest.layers):
        told = f"{len(manifest.layers)} layers, and its config {len(diff_ids)}"
        raise BadImage(f"this image's manifest has {told}")
    keep(layout, supply.text)
    wanted = tuple(zip(manifest.layers, diff_ids, strict=True))
    sizes = _bring_layers(layout, supply, wanted, meter)
    _note(layout, manifest, diff_ids, sizes, str(config.get("created") or ""), names)
    return manifest.config.digest


@contextmanager
def about(what: str) -> Iterator[None]:
    """Make errors in the block say which image they are about."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename not in (None, what) else ""
        raise NetfabError(f"{what}: {place}{error.strerror}") from error
    except NetfabError as error:
        if not error.message.startswith(f"{what}: "):
            error.message = f"{what}: {error.message}"
        raise


def _config(layout: Layout, supply: Supply, manifest: Manifest, meter: Meter) -> dict[str, Any]:
    if manifest.config.size > MOST:
        raise BadImage(f"this image's config has {manifest.config.size} bytes")
    _bring(layout, supply, manifest.config, meter)
    with open(layout.blob(manifest.config.digest), "rb") as file:
        try:
            config = json.load(file)
        except (ValueError, RecursionError) as error:
            raise BadImage(f"this image's config is invalid: {error}") from error
    if not isinstance(config, dict):
        raise BadImage("this image's config is invalid")
    return config


def _bring(layout: Layout, supply: Supply, blob: Descriptor, meter: Meter) -> None:
    """Fetch the blob, unless it is here."""
    with incoming(layout, blob.digest, blob.size, meter.check) as part:
        if part is None:
            meter.add(blob.size)
        else:
            meter.add(part.have)
            supply.fetch(blob, part, meter.add)


def _bring_layers(
    layout: Layout, supply: Supply, wanted: tuple[tuple[Descriptor, str], ...], meter: Meter
) -> dict[str, int]:
    """Fetch all, some in parallel; while some are unpacked, the next ones come. The first error stops all.

    The tar sizes of those that were unpacked, by digest.
    """

    def unpack(blob: Descriptor, diff_id: str, coming: Future[None]) -> tuple[str, int]:
        coming.result()
        return blob.digest, layers.install(layout, blob.digest, diff_id, meter.check)

    with ThreadPoolExecutor(_AT_ONCE) as bringing, ThreadPoolExecutor(_AT_ONCE) as unpacking:
        jobs = list[Future[Any]]()
        unpacked = list[Future[tuple[str, int]]]()
        for blob, diff_id in dict.fromkeys(wanted):
            coming = bringing.submit(_bring, layout, supply, blob, meter)
            unpacked.append(unpacking.submit(unpack, blob, diff_id, coming))
            jobs += coming, unpacked[-1]
        try:
            return dict(job.result() for job in unpacked)
        except BaseException:
            meter.stopping = True
            for job in jobs:
                job.cancel()
            bringing.shutdown()
            unpacking.shutdown()
            raise _first_error(jobs) from None


def _first_error(jobs: Iterable[Any]) -> BaseException:
    """The error of a job that was not stopped because of another; KeyboardInterrupt if all were."""
    errors = [error for job in jobs if not job.cancelled() and (error := job.exception())]
    real = [error for error in errors if not isinstance(error, (Stopped, CancelledError))]
    return real[0] if real else KeyboardInterrupt()


def _note(
    layout: Layout,
    manifest: Manifest,
    diff_ids: tuple[str, ...],
    sizes: Mapping[str, int],
    created: str,
    names: Iterable[str],
) -> None:
    known = read(layout).images.get(manifest.config.digest)
    blobs = [blob.digest for blob in manifest.layers]
    size = known.size if known else sum(sizes[blob] or layers.tar_size(layout, blob) for blob in blobs)
    with changing(layout) as index:
        index.images[manifest.config.digest] = Known(manifest.digest, diff_ids, size, created)
        index.names.update(dict.fromkeys(names, manifest.config.digest))
