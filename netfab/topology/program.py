"""What an image says of how its program is started. Data alone: supervisors of containers import it, too."""

from __future__ import annotations

from netfab.tuples import NamedTuple


class Config(NamedTuple):
    """What an image says of its program; all of it only where nobody else says otherwise."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""  # user[:group], names or numbers of the image
    workdir: str = ""  # absolute; "": the root
    stop_signal: str = ""  # SIGQUIT, or a number; "": SIGTERM

    @property
    def argv(self) -> tuple[str, ...]:
        """Its program, when nothing else is asked for."""
        return self.entrypoint + self.cmd
