"""A fabric that is applied and destroyed over and over leaves nothing that grows, here or on the host."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import NamedTuple

from shop import topology

from netfab import fabric

ROUNDS = int(os.environ.get("NETFAB_TEST_ROUNDS", "200"))
WARM = 20  # rounds until what is kept for later is there
DIRECTORIES = "/run/netfab", "/var/lib/netfab", "/run/netns"
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Held(NamedTuple):
    """What could grow."""

    descriptors: int
    files: frozenset[str]
    on_disk: int  # bytes


def held() -> Held:
    gc.collect()  # what earlier tests let go of
    files = [path for directory in DIRECTORIES for path in Path(directory).rglob("*")]
    size = sum(path.stat().st_size for path in files)
    return Held(len(os.listdir("/proc/self/fd")), frozenset(map(str, files)), size)


def resident() -> int:
    """Bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def test_nothing_grows_with_what_is_applied_and_destroyed(tmp_path: Path) -> None:
    shop = topology(tmp_path)

    def rounds(count: int) -> tuple[Held, int]:
        for _ in range(count):
            fabric.apply(*shop)
            fabric.destroy("shop")
        return held(), resident()

    before, memory = rounds(WARM)
    after, then = rounds(ROUNDS)

    assert after == before
    assert then - memory < 4096 * ROUNDS + (1 << 20)
