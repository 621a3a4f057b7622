"""Images: a pull from a registry on loopback against skopeo's, and small files unpacked against GNU tar's.

skopeo's pull into an OCI layout only copies blobs; netfab's checks, unpacks and syncs the layers as well, and
keeps the blobs. skopeo's into containers-storage (with the vfs driver) unpacks, too.
"""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from shutil import rmtree

from frame import NETFAB, PYTHON, Row, Run, Samples, at_most, fresh_machine, main, progress, run

sys.path.insert(0, str(Path(__file__).parent.parent))

from made_images import file, image, layer, write_docker_archive
from registries import docker_registry

FILES = 20_000
LAYERS, LAYER = 4, 50 << 20  # 200 MB
_UNPACK = (
    "import sys\n"
    "from netfab.images.streams import Stream\n"
    "from netfab.images.unpack import unpack\n"
    "with open(sys.argv[1], 'rb', buffering=0) as file:\n"
    "    stream = Stream(file)\n"
    "    unpack(stream, sys.argv[2], lambda: None)\n"
    "    stream.digest()\n"
)


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of images."""
    return [*_pulls(directory, rounds), *_unpackings(directory, rounds)]


def _pulls(directory: Path, rounds: int) -> Iterator[Row]:
    samples, archive = Samples(), _large(directory / "large.tar")
    with fresh_machine():
        run("ip", "link", "set", "lo", "up")
        with docker_registry(directory / "registry", 5000) as host:
            run(NETFAB, "load", "-i", archive)
            run(NETFAB, "push", f"{host}/large:1")
            for number in range(rounds):
                progress(f"images: pull, round {number + 1} of {rounds}")
                run(NETFAB, "rmi", "--force", f"{host}/large:1")
                samples.add("netfab", run(NETFAB, "pull", f"{host}/large:1").seconds)
                with _removed(Path("/var/lib/layout")) as layout:
                    copy = f"oci:{layout}:large"
                    samples.add("copied", _skopeo(host, copy).seconds)
                with _removed(Path("/var/lib/storage")) as storage:
                    store = f"containers-storage:[vfs@{storage}+/run/storage]large:1"
                    samples.add("unpacked", _skopeo(host, store).seconds)
    detail = f"{samples.median('netfab'):.2f} s"
    yield at_most(
        "pull of 200 MB against skopeo, which unpacks it",
        samples.ratio("netfab", "unpacked"),
        1.2,
        detail=detail,
    )
    yield at_most(
        "the same against skopeo, which copies it only", samples.ratio("netfab", "copied"), 1.2, detail=detail
    )


def _skopeo(host: str, to: str) -> Run:
    return run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{host}/large:1", to)


def _large(path: Path) -> Path:
    """An archive of an image as large, half of which can be compressed."""
    layers = [
        layer(file(f"data{number}", os.urandom(LAYER // 2) + b"netfab " * (LAYER // 14)))
        for number in range(LAYERS)
    ]
    return write_docker_archive(path, [("127.0.0.1:5000/large:1", image(*layers))])


@contextmanager
def _removed(path: Path) -> Iterator[Path]:
    yield path
    rmtree(path, ignore_errors=True)


def _unpackings(directory: Path, rounds: int) -> Iterator[Row]:
    samples, archive = Samples(), _small_files(directory / "small.tar")
    for place in (directory, Path("/var/lib")):  # a disk and a tmpfs
        for number in range(rounds):
            progress(f"images: unpack, round {number + 1} of {rounds}")
            with fresh_machine():
                for name, *command in (
                    ("netfab", PYTHON, "-c", _UNPACK, archive),
                    ("tar", "tar", "-xpf", archive, "-C"),
                ):
                    with _removed(place / "root") as root:
                        os.mkdir(root)
                        samples.add(f"{name} {place}", run(*command, root).seconds)
        what = "disk" if place == directory else "tmpfs"
        yield at_most(
            f"unpack of {FILES} files on a {what} against tar",
            samples.ratio(f"netfab {place}", f"tar {place}"),
            3,
            detail=f"{samples.median(f'netfab {place}'):.2f} s",
        )


def _small_files(path: Path) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(FILES):
            info = tarfile.TarInfo(f"usr/lib/pkg{number // 50}/sub/f{number}.py")
            info.size = 64 * (1 + number % 50)
            tar.addfile(info, BytesIO(os.urandom(64) * (1 + number % 50)))
    return path


if __name__ == "__main__":
    main(measure, __doc__)
