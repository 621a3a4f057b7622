"""`capture`: the frames that pass the interfaces of a node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from netfab.cli import complete
from netfab.cli.context import where_of
from netfab.cli.files import far_nodes
from netfab.diagnose.frames import one_line
from netfab.diagnose.pcapng import Pcapng
from netfab.errors import Interrupted, NetfabError

if TYPE_CHECKING:
    from netfab.nodes.by_name import Heard


class _Enough(Exception):
    """The requested number of frames was reached."""


@click.command("capture")
@click.option("-c", "--count", type=click.IntRange(min=1), help="Stop after this many frames.")
@click.option(
    "-w", "--write", "path", metavar="F", help="Write them to a pcapng file; `-`: to standard output."
)
@click.argument("place", metavar="NODE[:IF]", shell_complete=complete.nodes)
@click.argument("filter", nargs=-1)
@click.pass_context
def capture_command(
    ctx: click.Context, count: int | None, path: str | None, place: str, filter: tuple[str, ...]
) -> None:
    """Print the frames that pass NODE's interfaces, or IF; FILTER is as tcpdump's. NODE may be `host`.

    Ends with a signal. To look at them as they come: netfab capture NODE -w - | wireshark -k -i -
    """
    node, _, interface = place.partition(":")
    shown = _Shown(
        path, count, "" if ctx.obj["quiet"] else f"capturing at {interface or 'all interfaces'} of {node}"
    )
    with suppress(_Enough, Interrupted):
        _capture(node, interface, " ".join(filter), where_of(ctx), shown.tell)
    shown.close()
    if not ctx.obj["quiet"]:
        lost = f", and {shown.lost} more for which there was no room" if shown.lost else ""
        click.echo(f"{'1 frame' if shown.seen == 1 else f'{shown.seen} frames'}{lost}", err=True)


def _capture(node: str, interface: str, filter: str, where: Any, tell: Callable[[Heard], None]) -> None:
    if far := far_nodes([node], where):
        from netfab.remote.nodes import capture

        capture(far[node], interface, filter, where, tell)
        return
    from netfab import fabric

    for heard in fabric.capture(node, interface, filter, where):
        tell(heard)


class _Shown:
    """The output of frames: a line each, or a file."""

    def __init__(self, path: str | None, count: int | None, greeting: str) -> None:
        self.seen = self.lost = 0
        self._count, self._greeting = count, greeting
        self._path = path
        self._file: BinaryIO | None = None
        self._blocks = Pcapng()
        if path is not None:
            with self._about_the_file():
                self._file = sys.stdout.buffer if path == "-" else open(path, "wb")  # noqa: SIM115  # `close` does
                self._file.write(self._blocks.head())

    @contextmanager
    def _about_the_file(self) -> Iterator[None]:
        """Name the file in errors; those of standard output are output.py's."""
        try:
            yield
        except OSError as error:
            if self._path in (None, "-"):
                raise
            raise NetfabError(f"{self._path}: {error.strerror}") from error

    def tell(self, heard: Heard) -> None:
        """Show frames and flush, for readers of a pipe. Raises _Enough, NetfabError."""
        with self._about_the_file():
            self._show(heard)

    def _show(self, heard: Heard) -> None:
        if self._greeting:
            click.echo(self._greeting, err=True)
            self._greeting = ""
        self.lost = heard.lost
        for frame in heard.frames:
            if self._file is not None:
                self._file.write(self._blocks.frame(*frame))
            else:
                time = datetime.fromtimestamp(frame.time / 1e9).strftime("%H:%M:%S.%f")
                way = "out" if frame.outgoing else "in"
                click.echo(f"{time} {frame.interface} {way:3} {one_line(frame.data)}")
            self.seen += 1
            if self.seen == self._count:
                raise _Enough
        (self._file or sys.stdout).flush()

    def close(self) -> None:
        """No more frames follow. Raises NetfabError."""
        with self._about_the_file():
            if self._file is not None:
                self._file.flush()
                if self._file is not sys.stdout.buffer:
                    self._file.close()
