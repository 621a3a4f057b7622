"""A daemon behind a unix socket that answers as it is told, however badly."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from netfab.errors import NetfabError

ID = "3f2a" + "0" * 60
OTHER = "3f2b" + "1" * 60

Answer = Callable[[str], Iterable[bytes]]  # from what is asked for to pieces of the answer


def http(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    """As Go's server answers HTTP/1.0."""
    return f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n{head}\r\n".encode() + body


def api(answers: Mapping[str, Any]) -> Answer:
    """An API that knows these targets."""

    def answer(target: str) -> Iterable[bytes]:
        if target in answers:
            return [http(json.dumps(answers[target]).encode())]
        return [http(b'{"message":"No such container"}', "404 Not Found")]

    return answer


def containers(*listed: dict[str, Any], **pids: Any) -> Answer:
    """Docker's API with these containers in its list; pids by the first letters of their ids."""
    one = {
        f"/containers/{entry['Id']}/json": {"State": {"Pid": pids.get(entry["Names"][0].strip("/"), 0)}}
        for entry in listed
    }
    return api({"/containers/json?all=1": list(listed), **one})


def container(id: str = ID, name: str = "web", state: str = "running") -> dict[str, Any]:
    """An entry of the list, with what we read of it."""
    return {"Id": id, "Names": [f"/{name}"], "State": state}


@contextmanager
def serving(path: Path, answer: Answer) -> Iterator[str]:
    """The socket's path, while it is answered."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        thread = threading.Thread(target=_serve, args=(door, answer), daemon=True)
        thread.start()
        try:
            yield str(path)
        finally:
            door.shutdown(socket.SHUT_RDWR)  # wakes accept
            thread.join()


def outcome(ask: Callable[[], Any]) -> str:
    """What came of it, be it an error that netfab means; any other error is raised."""
    try:
        return repr(ask())
    except NetfabError as error:
        return str(error)


def _serve(door: socket.socket, answer: Answer) -> None:
    while True:
        try:
            caller, _ = door.accept()
        except OSError:
            return
        with caller, suppress(OSError):  # the caller may have had enough
            asked = caller.recv(1 << 16).decode()
            for piece in answer(asked.split()[1]) if asked else ():
                caller.sendall(piece)
