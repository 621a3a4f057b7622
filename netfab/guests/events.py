"""That something happened to guests or links of this host; not what. Only listens.

Docker and Podman tell over their sockets, the runtimes by a directory for each container, processes by their
end, the kernel of links and addresses. What is lost (an overrun, a daemon that went away) only costs another
look.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress

from netfab.kernel.netlink import Monitor
from netfab.system.files import IN_CREATE, IN_DELETE, IN_MOVED_TO, watch, watch_init
from netfab.system.poll import readable

_QUESTION = b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n"  # the answer does not end
_SWALLOWED = 1 << 16  # bytes at a time: nobody reads them


class Events:
    """All event sources. No context manager: it lives as long as `netfab watch`."""

    def __init__(self, daemons: Iterable[str], directories: Iterable[str]) -> None:
        self._monitor = Monitor()
        self._streams: dict[str, socket.socket] = {}
        self._daemons = tuple(daemons)
        self._directories = tuple(directories)
        self._heard: set[str] = set()  # directories that are watched
        self._files = watch_init()

    def wait(self, seconds: float, ends: Iterable[int] = (), wake: int | None = None) -> bool:
        """Wait for an event, at most that long; whether `wake` became readable.

        `ends` are pidfds of processes whose end is an event.
        """
        self._listen()
        streams = (stream.fileno() for stream in self._streams.values())
        woken = () if wake is None else (wake,)
        ready = readable((self._monitor.fileno(), self._files, *ends, *streams, *woken), seconds)
        self._swallow()
        return wake in ready

    def _listen(self) -> None:
        """Listen to the sources that exist by now."""
        for path in self._daemons:
            if path not in self._streams:
                with suppress(OSError):
                    self._streams[path] = _stream(path)
        for directory in self._directories:
            if directory not in self._heard:
                with suppress(OSError):
                    watch(self._files, directory, IN_CREATE | IN_DELETE | IN_MOVED_TO)
                    self._heard.add(directory)

    def _swallow(self) -> None:
        """Discard everything received so far."""
        self._monitor.drain()
        with suppress(BlockingIOError):
            while os.read(self._files, _SWALLOWED):
                pass
        self._heard = {directory for directory in self._heard if os.path.isdir(directory)}
        for path, stream in list(self._streams.items()):
            if not _still_open(stream):
                self._streams.pop(path).close()


def _stream(path: str) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    try:
        door.settimeout(1)
        door.connect(path)
        door.sendall(_QUESTION)
        door.setblocking(False)
    except OSError:
        door.close()
        raise
    return door


def _still_open(stream: socket.socket) -> bool:
    try:
        while stream.recv(_SWALLOWED):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
