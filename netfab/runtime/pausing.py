"""Pausing and resuming containers, and their records of it. freezer.py stops the processes."""

from __future__ import annotations

from netfab import TYPE_CHECKING
from netfab.errors import NetfabError
from netfab.runtime import freezer

if TYPE_CHECKING:
    from collections.abc import Callable

    from netfab.runtime.cgroups import Hierarchies
    from netfab.runtime.container import Container

    Write = Callable[[Container], None]  # writes its record


def pause(container: Container, hierarchies: Hierarchies, write: Write) -> None:
    """Freeze all of its processes. Raises NetfabError, OSError."""
    if container.record.paused:
        raise NetfabError(f"{container.name} is paused already")
    _refuse_stopping(container)
    # Recorded first: a later supervisor then knows what to undo.
    _mark(container, True, write)
    try:
        freezer.freeze(container.name, container.record.pid, hierarchies)
    except (NetfabError, OSError):
        _mark(container, False, write)
        raise


def unpause(container: Container, hierarchies: Hierarchies, write: Write) -> None:
    """Thaw its processes. Raises NetfabError, OSError."""
    if not container.record.paused:
        raise NetfabError(f"{container.name} is not paused")
    _refuse_stopping(container)
    thaw(container, hierarchies, write)


def thaw(container: Container, hierarchies: Hierarchies, write: Write) -> None:
    """Thaw its processes, whatever else is to happen to it."""
    freezer.thaw(container.name, hierarchies)
    _mark(container, False, write)


def _refuse_stopping(container: Container) -> None:
    if container.stopping:
        raise NetfabError(f"{container.name} is being stopped")


def _mark(container: Container, paused: bool, write: Write) -> None:
    container.record = container.record._replace(paused=paused)
    write(container)
