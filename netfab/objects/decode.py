"""Values of netfab's own types as JSON has them, and back, by their type hints. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from ipaddress import ip_address, ip_network
from sys import modules
from typing import Any, get_args, get_origin

Decoder = Callable[[Any], Any]

_DECODERS: dict[Any, Decoder] = {}


def plain(value: Any) -> Any:
    """The value in JSON types: arrays for tuples and sets, text for addresses and prefixes."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(map(plain, value))
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value)


def decoder(hint: Any) -> Decoder:
    """A function from a JSON value to a value of that type; supports only the types that netfab uses.

    It raises ValueError, TypeError, LookupError or AttributeError for an invalid value.
    """
    if hint not in _DECODERS:
        _DECODERS[hint] = _made_decoder(hint)
    return _DECODERS[hint]


def _made_decoder(hint: Any) -> Decoder:
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        if arguments[-1] is Ellipsis:
            item = decoder(arguments[0])
            return lambda value: tuple(map(item, value))
        items = [decoder(argument) for argument in arguments]
        return lambda value: tuple(item(part) for item, part in zip(items, value, strict=True))
    if get_origin(hint) is frozenset:
        item = decoder(arguments[0])
        return lambda value: frozenset(map(item, value))
    if get_origin(hint) is Mapping:
        key, item = int if arguments[0] is int else decoder(arguments[0]), decoder(arguments[1])
        return lambda value: {key(name): item(part) for name, part in value.items()}
    some = [argument for argument in arguments or (hint,) if argument is not type(None)]
    if some and all(getattr(argument, "__module__", "") == "ipaddress" for argument in some):
        parse = ip_network if "Network" in some[0].__name__ else ip_address
        if len(some) == len(arguments or (hint,)):
            return parse
        return lambda value: None if value is None else parse(value)
    if len(some) < len(arguments):
        (only,) = map(decoder, some)
        return lambda value: None if value is None else only(value)
    if hasattr(hint, "_fields"):
        fields = [decoder(field) for field in _hints(hint)]
        return lambda value: hint(*(field(part) for field, part in zip(fields, value, strict=False)))
    return _EXACT.get(hint, _same)


def decoder_by_name(kind: type[Any]) -> Decoder:
    """A function from a JSON object with a tuple's fields by name, and maybe others, to that tuple."""
    fields = dict(zip(kind._fields, map(decoder, _hints(kind)), strict=True))
    return lambda value: kind(**{name: read(value[name]) for name, read in fields.items() if name in value})


def _hints(kind: type[Any]) -> list[Any]:
    """The types of a tuple's fields, all compiled at once: `typing.get_type_hints` takes five times as long.

    They are source text of our own modules; some modules have the types themselves.
    """
    hints: list[Any] = list(kind.__annotations__.values())
    if hints and isinstance(hints[0], str):
        hints = eval(f"[{', '.join(hints)}]", vars(modules[kind.__module__]))
    return hints


def _same(value: Any) -> Any:
    return value


def _float(value: Any) -> float:
    """JSON has only one type of numbers."""
    if type(value) not in (int, float):
        raise TypeError(f"{value!r:.60} is not a number")
    number: float = value
    return number


# Functions in C that accept a value of that type and raise TypeError for any other.
_EXACT: dict[Any, Decoder] = {str: str.__str__, int: int.__index__, bool: int.__bool__, float: _float}
