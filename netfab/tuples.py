"""NamedTuple, as typing has it, in a tenth of the time that typing takes to make one.

A command defines some hundred of them at its start. typing compiles the type of each field, and each
`__new__`; here types stay text, as `typing.get_type_hints` reads it, and a `__new__` is compiled once for
each number of fields. What a tuple does later is the same, and as fast. docs/decisions/0016.
"""

from __future__ import annotations

from netfab import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from _collections import _tuplegetter  # CPython's, from which collections.namedtuple makes its fields
    from functools import cache
    from types import CodeType, FunctionType

    _NEW = {"__builtins__": {}, "_new": tuple.__new__}  # all that a `__new__` sees

    @cache
    def _code(count: int) -> CodeType:
        """The code of a `__new__` with that many arguments."""
        arguments = "".join(f"_{number}, " for number in range(count))
        made = eval(f"lambda _cls, {arguments}: _new(_cls, ({arguments}))", _NEW)
        return made.__code__

    class _Tuple(tuple):
        """What all these classes share. Names as in collections.namedtuple."""

        __slots__ = ()
        _fields = ()

        @classmethod
        def _make(cls, values):
            return cls(*values)

        def _replace(self, /, **changes):
            made = tuple.__new__(type(self), map(changes.pop, self._fields, self))
            if changes:
                raise TypeError(f"{type(self).__name__} has no field {', '.join(changes)}")
            return made

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({fields})"

        def __getnewargs__(self):
            return tuple(self)

    class _Maker(type):
        """Turns a class statement with NamedTuple as its base into a class of tuples with its fields."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = tuple(body.get("__annotations__", ()))
            defaults = tuple(body.pop(field) for field in fields if field in body)
            label = f"{body['__qualname__']}.__new__"
            code = _code(len(fields)).replace(
                co_varnames=("_cls", *fields), co_name="__new__", co_qualname=label
            )
            getters = {field: _tuplegetter(place, "") for place, field in enumerate(fields)}
            made = FunctionType(code, _NEW, "__new__", defaults)
            own = {"__slots__": (), "__new__": made, "__match_args__": fields, "_fields": fields}
            return type(name, (_Tuple,), body | getters | own)

    class NamedTuple(metaclass=_Maker):
        """The base to name; no class has it in its MRO."""
