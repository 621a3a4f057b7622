"""The way to a far host: OpenSSH, with its user's own configuration, agent and known hosts.

One process for each conversation. What ssh itself refuses (a host key that changed, a login) is told in its
words. `$NETFAB_SSH_COMMAND` is the ssh to be run, with options: `ssh -F FILE`.
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
_ALIVE = 5, 3  # seconds between signs of life, and how many may be missing
_NOISE = 1 << 16  # bytes that a far shell may print before the agent speaks
_NO_PYTHON = 127  # a shell's exit status for a program that isn't there
_DESTINATION = re.compile(r"(?:[^@\s]+@)?[^\s:]+|ssh://\S+")


def refuse_destination(text: str) -> None:
    """Raises NetfabError for what can be none."""
    if not _DESTINATION.fullmatch(text) or text.startswith("-"):
        raise NetfabError(
            f"{text!r} is not a destination for ssh", hint="root@ADDRESS, or a name of ~/.ssh/config"
        )


ANEW = ("ControlPath=none",)  # a connection of its own, whatever there is already


def command(
    destination: str, arguments: dict[str, Any], terminal: bool = False, more: Iterable[str] = ()
) -> list[str]:
    """The command line of ssh that makes an agent there. `more`: options, as in its configuration."""
    refuse_destination(destination)
    ssh = shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]
    options = ("BatchMode=yes", f"ConnectTimeout={CONNECT}", "ForwardAgent=no", "ForwardX11=no")
    alive = f"ServerAliveInterval={_ALIVE[0]}", f"ServerAliveCountMax={_ALIVE[1]}"
    words = [word for option in (*options, *alive, *more) for word in ("-o", option)]
    return [*ssh, *words, "-t" if terminal else "-T", "--", destination, _far_command(arguments)]


def _far_command(arguments: dict[str, Any]) -> str:
    """One word for the far shell, whichever it is: no quotes inside, no line's end.

    An agent hears later which modules it has to have: they are read here while ssh connects.
    """
    with open(bootstrap.__file__, encoding="utf-8") as file:
        text = file.read()
    sha = bundle().sha if arguments else ""
    call = f"go({sha!r}, {arguments!r})"
    inner = base64.b64encode(f"{text}\n\n{call}\n".encode()).decode()
    return f"exec python3 -I -S -c 'import base64;exec(base64.b64decode(\"{inner}\"))'"


class Ssh:
    """A Transport to an agent on a far host."""

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
                process_group=0,  # a Ctrl-C is for us, who then take back what was begun there
            )
        except OSError as error:
            raise NetfabError(f"can't run ssh: {error.strerror}", hint="install an OpenSSH client") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.writing, self.reading = self._process.stdin.fileno(), self._process.stdout.fileno()

    def opening(self) -> bytes:
        """Which modules the agent has to have."""
        return bundle().sha.encode()

    def greet(self, line: bytes) -> bytes | None:
        """What a far shell prints is passed over; the bootstrap gets what it needs."""
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
        """In ssh's own words, or the far shell's."""
        code = self._end()
        self._said.seek(0)
        words = self._said.read(1 << 16).decode(errors="replace").strip().splitlines()
        told = "; ".join(words[-3:]) or f"ssh ended with {code}"
        if code == _NO_PYTHON and not self._greeted:
            return NetfabError("there is no python3", hint="install python3 there: netfab needs nothing else")
        return NetfabError(told)

    def hang_up(self) -> None:
        """The far agent sees the end of its input, and ends; ssh with it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def wait(self) -> None:
        """For the end of ssh."""
        self._said.close()
        self._end()

    def _end(self) -> int:
        """Its exit status; not waited for for ever: what it runs may have closed its output and gone on."""
        try:
            return self._process.wait(CONNECT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
