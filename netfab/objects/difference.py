"""How two states of an object differ, in the words of people: `mtu 1500 -> 1400, down -> up`.

Field by field, unless the kind has a `differs_from` that says it better. Knows no kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netfab.objects.base import Name

_READABLE = 120  # characters of two values that a person can still compare in one line

# A field's name for people; for a flag with a word for each of its values: ("lo", "down", "up").
Words = Mapping[str, str | tuple[str, str, str]]
UP = ("", "down", "up")
_NONE: Words = {}


def difference(before: Any, after: Any) -> str:
    """The difference in one line. Values too long to read there are only named."""
    if type(before) is not type(after):
        return f"{type(before).__name__} -> {type(after).__name__}".lower()
    return ", ".join(phrases(before, after))


def phrases(before: Any, after: Any) -> Iterator[str]:
    """One for each difference, in the kind's own words."""
    tell = getattr(after, "differs_from", None)
    yield from tell(before) if tell else fields(before, after)


def fields(before: Any, after: Any, words: Words = _NONE) -> Iterator[str]:
    """One for each field that differs, with the field's name or the word given for it."""
    for field, old, new in zip(before._fields, before, after, strict=True):
        if old == new:
            continue
        word = words.get(field, field)
        if isinstance(word, tuple):
            yield changed(word[0], word[1 + old], word[1 + new])
        elif hasattr(old, "_fields") and type(old) is type(new) and not isinstance(old, Name):
            yield from phrases(old, new)
        else:
            yield changed(word, _text(old), _text(new))


def changed(what: str, old: str, new: str) -> str:
    """`what old -> new`; only `what` if the two can't be compared in a line."""
    if not old or not new or old == new or "\n" in old + new or len(old + new) > _READABLE:
        return what or "changed"
    return f"{what} {old} -> {new}".lstrip()


def _text(value: Any) -> str:
    """A value as people read it; "" if it is not a single line of words."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == ():
        return "none"
    if _says_itself(value):
        return str(value) or "nothing"
    return " and ".join(map(str, value)) if all(map(_says_itself, value)) else ""


def _says_itself(value: Any) -> bool:
    return not isinstance(value, tuple) or type(value).__str__ is not object.__str__
