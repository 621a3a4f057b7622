"""The command, from its first import to its end; what it does is cli/'s."""

from __future__ import annotations

import gc
import os
import sys
from _signal import SIG_DFL, SIGCHLD, signal  # importing `signal` takes 0.5 ms

from netfab import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, NoReturn


def main() -> NoReturn:
    """Entry point. A command is short-lived: no garbage collection, the kernel frees everything at exit.

    With 25,000 objects the collector would take four fifths of a command's time, of `--help` an eighth.
    """
    gc.disable()
    signal(SIGCHLD, SIG_DFL)  # a process that ignores it, as some callers do, can't wait for its children
    left: dict[str, Any] = {}
    try:
        from netfab.cli import modules

        modules.find_quickly()
        from netfab.cli import early, standins

        try:
            early.begin(sys.argv[1:])
            standins.import_click()
            from netfab.cli.main import main as command

            code = command(left)
        finally:
            early.end()
    except KeyboardInterrupt:  # before the command began: later ones are handled by its `main`
        code = 130
    os._exit(code)


if __name__ == "__main__":
    main()
