"""System calls that are written down first and made later, by a process that has just been forked.

Such a process shares its memory with its parent, and copies each page that it writes to. Python code that
runs writes to hundreds, for it counts who refers to each object that it looks at. What is written down here
is numbers, densely: the loop that makes the calls looks at little else. Who is in no such hurry writes them
and has them made `at_once`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from struct import Struct

from netfab import TYPE_CHECKING
from netfab.system.libc import checked, libc
from netfab.tuples import NamedTuple

if TYPE_CHECKING:
    from typing import Concatenate, ParamSpec

    _Given = ParamSpec("_Given")

RESERVED = 9  # cells for registers that are known in advance

_MOST = 7  # arguments: those of a system call, and its number
_CALL = Struct(f"{2 + _MOST}H")  # cells: of the result, of its minimum, of each argument
_LAST_CELL = (1 << 16) - 1
_BLOCK = 1024  # bytes
_ALIGNED = 8

Instead = Callable[[OSError], int]


class Register(NamedTuple):
    """A cell that holds a call's result, for later calls."""

    cell: int


_IGNORED, _ZERO = Register(0), 1


class Calls:
    """A list of calls, and the memory that their arguments point to.

    Lists that are performed one after the other have their arguments in the same cells.
    """

    def __init__(self, cells: array[int] | None = None) -> None:
        self.step = ""  # the step that the next calls are part of, for error messages
        self.functions: list[Callable[..., int]] = []
        self.code = bytearray()
        self.cells = new_cells() if cells is None else cells
        self._steps: list[tuple[int, str]] = []  # at which call each begins
        self._paths: dict[int, str] = {}
        self._instead: dict[int, Instead] = {}
        self._blocks: list[ctypes.Array[ctypes.c_char]] = []
        self._free = _BLOCK  # offset of free memory in the last block

    def make(
        self,
        function: Callable[..., int],
        *arguments: int | Register,
        path: str = "",
        into: Register = _IGNORED,
        instead: Instead | None = None,
        least: int = 0,
    ) -> None:
        """Add a call of the C library. If it fails, `instead` is called for a result.

        It fails if its result is less than `least`. Raises OSError (E2BIG) for more than there are cells.
        """
        number = len(self.functions)
        if not self._steps or self._steps[-1][1] != self.step:
            self._steps.append((number, self.step))
        if path:
            self._paths[number] = path
        if instead is not None:
            self._instead[number] = instead
        given = [self._cell_of(argument) for argument in arguments]
        self.code += _CALL.pack(into.cell, self._cell_of(least), *given, *(_ZERO,) * (_MOST - len(given)))
        self.functions.append(function)

    def _cell_of(self, argument: int | Register) -> int:
        if isinstance(argument, Register):
            return argument.cell
        return self._new_cell(argument) if argument else _ZERO

    def _new_cell(self, content: int) -> int:
        if len(self.cells) > _LAST_CELL:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self.cells.append(content)
        return len(self.cells) - 1

    def opened(
        self,
        function: Callable[..., int],
        *arguments: int | Register,
        path: str = "",
        into: Register | None = None,
        instead: Instead | None = None,
    ) -> Register:
        """Add a call that returns a descriptor; the register that will hold it."""
        into = Register(self._new_cell(-1)) if into is None else into
        self.make(function, *arguments, path=path, into=into, instead=instead)
        return into

    def later(
        self, function: Callable[..., int | None], *arguments: object, into: Register = _IGNORED
    ) -> None:
        """Add a call of a Python function: it is passed the registers' values of then. Raises OSError."""

        def call(*_: int) -> int:
            given = (self.value(one) if isinstance(one, Register) else one for one in arguments)
            return function(*given) or 0

        self.make(call, into=into)

    def value(self, register: Register) -> int:
        """What it holds; for functions that run while the calls are made."""
        return self.cells[register.cell]

    def text(self, text: str) -> int:
        """The address of a text as a C string. Raises OSError for one with a NUL inside."""
        if "\0" in text:
            raise OSError(errno.EINVAL, "it holds a zero byte", text)
        return self.memory(os.fsencode(text) + b"\0")

    def memory(self, content: bytes) -> int:
        """The address of memory with that content, valid as long as this list."""
        size = (len(content) // _ALIGNED + 1) * _ALIGNED
        if self._free + size > _BLOCK:
            self._blocks.append(ctypes.create_string_buffer(max(_BLOCK, size)))
            self._free = 0
        address = ctypes.addressof(self._blocks[-1]) + self._free
        ctypes.memmove(address, content, len(content))
        self._free += size
        return address

    def step_of(self, number: int) -> str:
        """The step that a call is part of."""
        return next((step for first, step in reversed(self._steps) if first <= number), self.step)

    def answer(self, number: int, returned: int) -> int:
        """The result to use for a call that has failed. Raises OSError."""
        try:
            checked(returned, self._paths.get(number))
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        except OSError as error:
            if number not in self._instead:
                raise
            return self._instead[number](error)


def new_cells() -> array[int]:
    """Cells that belong to no list yet."""
    return array("q", bytes(8 * RESERVED))


def perform(*lists: Calls) -> Iterator[str]:
    """Make the calls of these, one after the other.

    Yields "" when everything is ready; then, if one fails, its step, and raises its error. Raises OSError.
    """
    cells, number = lists[0].cells, -1
    functions = chain(*[calls.functions for calls in lists])
    code = chain(*[_CALL.iter_unpack(calls.code) for calls in lists])
    todo = zip(count(), functions, code, strict=False)
    yield ""
    try:
        for number, function, (into, least, a, b, c, d, e, f, g) in todo:
            returned = function(cells[a], cells[b], cells[c], cells[d], cells[e], cells[f], cells[g])
            cells[into] = returned if returned >= cells[least] else _answer(lists, number, returned)
    except BaseException:
        yield _step(lists, number)
        raise


def _answer(lists: tuple[Calls, ...], number: int, returned: int) -> int:
    calls, place = _place(lists, number)
    return calls.answer(place, returned)


def _step(lists: tuple[Calls, ...], number: int) -> str:
    calls, place = _place(lists, number)
    return calls.step_of(place)


def _place(lists: tuple[Calls, ...], number: int) -> tuple[Calls, int]:
    for calls in lists:
        if number < len(calls.functions):
            break
        number -= len(calls.functions)
    return calls, number


def at_once(
    write: Callable[Concatenate[Calls, _Given], Register | None],
    *arguments: _Given.args,
    **named: _Given.kwargs,
) -> int:
    """Add calls and make them at once; the value of the register that was returned. Raises OSError."""
    calls = Calls()
    promised = write(calls, *arguments, **named)
    for _ in perform(calls):
        pass
    return 0 if promised is None else calls.value(promised)


def library(*names: str) -> Iterable[Callable[..., int]]:
    """Functions of the C library whose arguments are numbers and addresses."""
    for name in names:
        function = libc[name]  # a function object of its own
        function.argtypes = (ctypes.c_long,) * _MOST
        function.restype = ctypes.c_int
        yield function


(system_call,) = library("syscall")  # its first argument is the system call's number
