"""The transport to a remote host: OpenSSH, with the user's own configuration, agent and known hosts.

One process per conversation. ssh's own errors (a changed host key, a failed login) are reported in its
words. `$NETFAB_SSH_COMMAND` is the command to run instead of `ssh`, with options: `ssh -F FILE`.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterable
from typing import Any

from netfab.errors import NetfabError
from netfab.remote import bootstrap
from netfab.remote.bundle import bundle, packed
from netfab.remote.messages import BadMessage, decode, excerpt

COMMAND = "NETFAB_SSH_COMMAND"
CONNECT = 10  # seconds that a connection may take
_ALIVE = 5, 3  # ServerAlive: seconds between two, and how many may be missing
_NOISE = 1 << 16  # bytes that a remote shell may print before the agent's first
_NO_PYTHON = 127  # a shell's exit status if the program is missing
_DESTINATION = re.compile(r"(?:[^@\s]+@)?[^\s:]+|ssh://\S+")


def refuse_destination(text: str) -> None:
    """Raises NetfabError if the text can't be a destination."""
    if not _DESTINATION.fullmatch(text) or text.startswith("-"):
        raise NetfabError(
            f"{text!r} is not a destination for ssh", hint="root@ADDRESS, or a name of ~/.ssh/config"
        )


ANEW = ("ControlPath=none",)  # a connection of its own, not an existing shared one


def command(
    destination: str, arguments: dict[str, Any], terminal: bool = False, more: Iterable[str] = ()
) -> list[str]:
    """The ssh command line that starts an agent there. `more`: options, as in ssh_config(5)."""
    refuse_destination(destination)
    ssh = shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]
    options = ("BatchMode=yes", f"ConnectTimeout={CONNECT}", "ForwardAgent=no", "ForwardX11=no")
    alive = f"ServerAliveInterval={_ALIVE[0]}", f"ServerAliveCountMax={_ALIVE[1]}"
    words = [word for option in (*options, *alive, *more) for word in ("-o", option)]
    return [*ssh, *words, "-t" if terminal else "-T", "--", destination, _far_command(arguments)]


def _far_command(arguments: dict[str, Any]) -> str:
    """A command that any remote shell takes as is: no quotes inside the word, no newline.

    The agent is told later which modules it must have: they are read here while ssh connects.
    """
    with open(bootstrap.__file__, encoding="utf-8") as file:
        text = file.read()
    sha = bundle().sha if arguments else ""
    call = f"go({sha!r}, {arguments!r})"
    inner = base64.b64encode(f"{text}\n\n{call}\n".encode()).decode()
    return f"exec python3 -I -S -c 'import base64;exec(base64.b64decode(\"{inner}\"))'"


class Ssh:
    """A Transport to an agent on a remote host."""

    def __init__(self, destination: str, more: Iterable[str] = ()) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # `wait` closes it
        self._noise = 0
        self._greeted = False
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command(destination, {}, more=more),
                stdin=pipe,
                stdout=pipe,
                stderr=self._said,
                process_group=0,  # Ctrl-C is for us only: we then roll back what was begun there
            )
        except OSError as error:
            raise NetfabError(f"can't run ssh: {error.strerror}", hint="install an OpenSSH client") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.writing, self.reading = self._process.stdin.fileno(), self._process.stdout.fileno()

    def opening(self) -> bytes:
        """The bundle that the agent must have."""
        return bundle().sha.encode()

    def greet(self, line: bytes) -> bytes | None:
        """Skip what a remote shell prints; answer the bootstrap's requests."""
        try:
            message = decode(line)
        except BadMessage as error:
            self._noise += len(line)
            if self._noise > _NOISE:
                raise NetfabError(f"its shell prints unexpected output: {excerpt(line)}") from error
            return b""
        if message["verb"] == "need":
            return packed(bundle())
        if message["verb"] == "unfit":
            raise NetfabError(str(message.get("why")), hint=str(message.get("hint", "")))
        self._greeted = message["verb"] == "agent"
        return None if self._greeted else b""

    def last_words(self) -> NetfabError:
        """The error, in ssh's own words or the remote shell's."""
        code = self._end()
        self._said.seek(0)
        words = self._said.read(1 << 16).decode(errors="replace").strip().splitlines()
        told = "; ".join(words[-3:]) or f"ssh ended with {code}"
        if code == _NO_PYTHON and not self._greeted:
            return NetfabError("there is no python3", hint="install python3 there: netfab needs nothing else")
        return NetfabError(told)

    def hang_up(self) -> None:
        """Close the agent's input: it ends, and ssh with it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def wait(self) -> None:
        """Wait for ssh to end."""
        self._said.close()
        self._end()

    def _end(self) -> int:
        """Its exit status, with a time limit: its child may have closed the output and run on."""
        try:
            return self._process.wait(CONNECT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
