"""What `run` and `exec` are sure to need, begun before click is there to read their words.

An interpreter takes as long to start as most of a command. Which one it is for is guessed from the words; one
that was begun in vain ends before the command does, and has touched nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

_endings: list[Callable[[], None]] = []  # of what was begun


def begin(words: Sequence[str]) -> None:
    """Begin what a command line will need. If options precede the command, nothing is begun."""
    if os.geteuid() != 0 or "--help" in words or "_NETFAB_COMPLETE" in os.environ:
        return
    if None in (sys.stdin, sys.stdout, sys.stderr):  # descriptors opened now would become one of these
        return
    with suppress(OSError):  # it is begun again when needed, which reports the error
        if words[:1] == ["run"]:
            _begin_supervisor()
        elif words[:1] == ["exec"] and any(_is_program(word) for word in _plain(words)[1:3]):
            from netfab.runtime import helper

            helper.begin()
            _endings.append(helper.dismiss)


def end() -> None:
    """End what was begun but not used."""
    for ending in _endings:
        ending()


def _begin_supervisor() -> None:
    from netfab.runtime import summons
    from netfab.runtime.paths import STATE_DIRECTORY, Paths
    from netfab.topology import DEFAULT

    state = os.environ.get("NETFAB_STATE_DIR", STATE_DIRECTORY)
    paths = Paths(DEFAULT, _run_directory(), state)
    if summons.begin(paths):
        _endings.append(partial(summons.dismiss, paths))


def _run_directory() -> str:
    from netfab.runtime.paths import RUN_DIRECTORY

    return os.environ.get("NETFAB_RUN_DIR", RUN_DIRECTORY)


def _plain(words: Sequence[str]) -> list[str]:
    """The words that are not options; may include an option's value."""
    return [word for word in words if word[:1] != "-"]


def _is_program(node: str) -> bool:
    """Whether a node of that name has a program."""
    from netfab.runtime.paths import Paths

    run = _run_directory()
    fabric, _, name = node.rpartition("/")
    fabrics = [fabric] if fabric else os.listdir(run)
    return any(os.path.exists(Paths(each, run).record(name)) for each in fabrics)
