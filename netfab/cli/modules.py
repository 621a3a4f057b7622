"""The package's own modules, found where they are and read at once.

A command imports a hundred and more of them. For each of these importlib asks its finders, and the kernel a
dozen questions about files: an eighth of what a command takes to start. Here the place is known. What is
compared is what importlib compares, and what is unusual is left to it: a module that has changed since it was
compiled, or was compiled elsewhere. docs/decisions/0027.
"""

from __future__ import annotations

import os
import sys
from importlib._bootstrap_external import MAGIC_NUMBER  # importing it from importlib.util loads more
from importlib.machinery import BYTECODE_SUFFIXES, SOURCE_SUFFIXES, ModuleSpec, SourceFileLoader
from marshal import loads

from netfab import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

_OURS = f"{__name__.partition('.')[0]}."
_SOURCE = SOURCE_SUFFIXES[0]
_COMPILED = f".{sys.implementation.cache_tag}{BYTECODE_SUFFIXES[0]}"
_BY_TIME = MAGIC_NUMBER + bytes(4)  # header of code that is validated by its source's time and size
_HEAD = len(_BY_TIME) + 8  # bytes, with these two
_MOST = 1 << 16  # bytes: larger files are left to importlib


def find_quickly() -> None:
    """Install the finder; not if code is cached elsewhere than beside its source, or in another form."""
    if sys.pycache_prefix is None and not sys.flags.optimize:
        sys.meta_path.insert(0, _Finder)


class _Finder:
    """The first finder on `sys.meta_path`."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for modules that are not ours, or not as usual."""
        if not path or not name.startswith(_OURS):
            return None
        directory, short = path[0], name.rpartition(".")[2]
        return _spec(name, directory, short) or _spec(name, f"{directory}/{short}", "__init__")


class _Loader(SourceFileLoader):
    """The loader of a module whose code was read when it was found."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def _spec(name: str, directory: str, short: str) -> ModuleSpec | None:
    source = f"{directory}/{short}{_SOURCE}"
    compiled = f"{directory}/__pycache__/{short}{_COMPILED}"
    code = _code(source, compiled)
    if code is None:
        return None
    spec = ModuleSpec(name, _Loader(name, source, code), origin=source)
    if short == "__init__":
        spec.submodule_search_locations = [directory]
    spec.cached, spec.has_location = compiled, True
    return spec


def _code(source: str, compiled: str) -> CodeType | None:
    """None if it is missing, or that of another source."""
    try:
        fd = os.open(compiled, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, _MOST)
        finally:
            os.close(fd)
        found = os.stat(source)
    except OSError:
        return None
    known_by = (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    head = _BY_TIME + b"".join(number.to_bytes(4, "little") for number in known_by)
    if len(data) == _MOST or data[:_HEAD] != head:
        return None
    code: CodeType = loads(memoryview(data)[_HEAD:])
    return code if code.co_filename == source else None
