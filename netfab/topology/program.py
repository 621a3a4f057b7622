"""What an image says of how its program is started. Data alone: supervisors of containers import it, too."""

from __future__ import annotations

from netfab.tuples import NamedTuple


class Config(NamedTuple):
    """An image's defaults for its program; each applies unless overridden."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""  # user[:group], names or numbers of the image
    workdir: str = ""  # absolute; "": the root
    stop_signal: str = ""  # SIGQUIT, or a number; "": SIGTERM

    @property
    def argv(self) -> tuple[str, ...]:
        """Its program and arguments, if none are given."""
        return self.entrypoint + self.cmd
