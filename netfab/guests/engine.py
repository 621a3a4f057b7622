"""Docker, and Podman where its API service runs: asked over a unix socket. Engine API, /containers.

A word never becomes part of a question: containers are listed, then one is asked about by its full id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netfab.errors import NoAnswer, NoGuest
from netfab.guests.guest import Candidate, Guest, guest_of_manager, is_full_id, names_in
from netfab.kernel import daemon
from netfab.tuples import NamedTuple


class Engine(NamedTuple):
    """The daemon that listens on a socket."""

    kind: str  # "docker" or "podman"
    socket: str

    def candidates(self) -> Iterator[Candidate]:
        """Its containers, also the stopped ones. Raises NoAnswer, OSError."""
        listed = daemon.get(self.socket, "/containers/json?all=1")
        if not isinstance(listed, list):
            raise NoAnswer(self.socket, "answers with something else than a list of containers")
        for entry in listed:
            id = entry.get("Id") if isinstance(entry, dict) else None
            if not isinstance(id, str) or not is_full_id(id):
                raise NoAnswer(self.socket, "lists what is not a container")
            yield Candidate(self, id, names_in(entry.get("Names")), _state_in(entry.get("State")))

    def guest(self, candidate: Candidate) -> Guest:
        """Raises NoGuest, GuestGone, NoAnswer, OSError."""
        if not daemon.numbers_processes_as_we_do(self.socket):
            raise NoGuest(
                f"{candidate}: {self.socket} is answered from another process namespace, whose numbers mean"
                " nothing here",
                hint="run netfab where the daemon runs; in a container, with --pid=host",
            )
        return guest_of_manager(candidate, lambda: self._pid(candidate.id))

    def _pid(self, id: str) -> Any:
        try:
            container = daemon.get(self.socket, f"/containers/{id}/json")
        except NoAnswer as error:
            if error.status == 404:  # removed since it was listed
                return None
            raise
        state = container.get("State") if isinstance(container, dict) else None
        if not isinstance(state, dict) or "Pid" not in state:
            raise NoAnswer(self.socket, "does not say which process a container is")
        return state["Pid"]


def _state_in(value: Any) -> str:
    """Docker's word for the state; "" if invalid."""
    return value if isinstance(value, str) and value.isalpha() and len(value) < 32 else ""
