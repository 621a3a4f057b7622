"""Standard output, which may be a full disk, or a pipe that nobody reads: what is lost there is told."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from errno import EPIPE
from typing import Any

from netfab.errors import NetfabError

# The output of these reports what they have done: they continue, and the loss is reported on stderr.
THAT_CHANGE = frozenset({
    "apply", "attach", "bridge", "destroy", "detach", "kill", "pause", "reconcile", "recover", "restart",
    "rm", "start", "stop", "unpause", "uplink", "confirm", "pull", "push", "tag", "rmi", "prune", "import",
    "load",
})  # fmt: skip


class Output(io.FileIO):
    """The file behind sys.stdout; `lost` is why it could not be written to."""

    lost: OSError | None = None
    diverts = False  # to stderr, once stdout is lost; otherwise write raises
    muted = False

    def write(self, data: Any, /) -> int:  # anything with bytes: a type for that came with Python 3.12
        """As for any file, except as said above."""
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
                if not self.diverts:
                    raise
        if not self.muted:
            with suppress(OSError):
                os.write(2, data)
        return len(data)


def standard_output() -> Output:
    """Make that sys.stdout."""
    _open_what_is_closed()
    output = Output(sys.stdout.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output),
        sys.stdout.encoding,
        sys.stdout.errors,
        line_buffering=bool(sys.stdout.line_buffering),
    )
    return output


def _open_what_is_closed() -> None:
    """Open descriptors 0, 1 and 2 if closed, or the next file opened would become one, and be written to."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest free one
            os.set_inheritable(fd, True)
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def error_of(lost: OSError, done: bool) -> NetfabError | None:
    """The error to report; None for a pipe without readers, when nothing is to be reported."""
    if lost.errno == EPIPE and not done:
        return None
    told = "; what was done is above" if done else ""
    return NetfabError(f"can't write to standard output: {lost.strerror}{told}")
