"""Files with a few words put where they do not belong."""

from __future__ import annotations

import random

_SPICE = (
    "null",
    "[]",
    "{}",
    "[[a]]",
    "&a",
    "*a",
    "{n}",
    "{ip:x}",
    "${",
    "'",
    "[0]=",
    ":",
    "\xff",
    "\n",
    "::1",
)


def damaged(text: str, seed: int) -> bytes:
    """The text with up to four words of its own, or odd ones, somewhere in it."""
    chance = random.Random(seed)
    found = bytearray(text.encode())
    words = [*text.split(), *_SPICE]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found))
        found[at : at + chance.choice((0, 1, 9))] = chance.choice(words).encode("latin-1")
    return bytes(found)
