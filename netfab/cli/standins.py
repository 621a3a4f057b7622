"""Click and yaml, imported without what no command of ours has them do.

Click begins by importing `inspect`, `uuid` and `gettext`: to take the indent off help, for a type of
parameter, and for translations, of which it brings none. yaml compiles expressions that its parser in C does
without, and imports what reads base64, which no file of ours has. All that is a sixth of a small command.
While they are being imported, stand-ins are in the place of those modules. What one was not given it has from
the module itself, so everything works as ever; and nobody else meets one, as long as no other thread imports
at that time. docs/decisions/0027.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any


class StandIn(ModuleType):
    """Stands for a module of that name, with some of its content."""

    def __init__(self, name: str, **given: object) -> None:
        super().__init__(name)
        self._before = sys.modules.get(name)
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # `from … import` asks for this: it is no package
            raise AttributeError(name)
        self.leave()
        return getattr(import_module(self.__name__), name)

    def leave(self) -> None:
        """Make imports find the module itself again."""
        if sys.modules.get(self.__name__) is not self:
            return
        if self._before is None:
            del sys.modules[self.__name__]
        else:
            sys.modules[self.__name__] = self._before


class Pattern:
    """A regular expression that is compiled on first use."""

    def __init__(self, *asked: Any) -> None:
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        import re

        found = getattr(re.compile(*self._asked), name)
        setattr(self, name, found)
        return found


def import_click() -> None:
    """The command's first import of click."""
    uuid = StandIn("uuid", UUID="uuid.UUID")  # for an annotation, in which a type may be a text
    inspect = StandIn("inspect", cleandoc=_cleandoc, isfunction=_is_function)
    gettext = StandIn("gettext", gettext=_as_it_is, ngettext=_one_or_many)
    with _standing_in(uuid, inspect, gettext):
        import click as click
    del uuid.UUID  # later users get the class


def import_yaml() -> None:
    """To be called before a file is read."""
    import re

    expressions = StandIn("re", **{**vars(re), "compile": Pattern})
    with _standing_in(expressions, StandIn("base64"), StandIn("binascii")):
        import yaml as yaml


@contextmanager
def _standing_in(*modules: StandIn) -> Iterator[None]:
    sys.modules.update((each.__name__, each) for each in modules)
    try:
        yield
    finally:
        for each in modules:
            each.leave()


def _cleandoc(text: str) -> str:
    if text.isprintable() and text[:1] != " ":  # a line, as the help of an option is
        return text
    from inspect import cleandoc

    return cleandoc(text)


def _is_function(value: object) -> bool:
    return isinstance(value, FunctionType)


def _as_it_is(message: str) -> str:
    return message


def _one_or_many(one: str, many: str, count: int) -> str:
    return one if count == 1 else many
