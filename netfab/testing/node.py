"""Node: what a test can do in a node of its fabric."""

from __future__ import annotations

import socket as sockets
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection
from ipaddress import ip_address
from typing import Any

from netfab.errors import NetfabError
from netfab.testing import inside
from netfab.testing.captured import Captured
from netfab.testing.connection import Connection
from netfab.testing.life import Life
from netfab.testing.link import Undo
from netfab.testing.programs import Failed, Program, Result
from netfab.tuples import NamedTuple


class Verdict:
    """The result of a check, true if it holds; if not, its text says why."""

    def __init__(self, sentence: str, holds: bool, reason: str) -> None:
        self.sentence, self.holds, self.reason = sentence, holds, reason

    def __bool__(self) -> bool:
        return self.holds

    def __repr__(self) -> str:
        """One line, for pytest's output; `reason` has all of them."""
        if self.holds:
            return self.sentence
        told = self.reason.partition("\nthe way")[0].splitlines()
        told = told[1:] or told  # the first line of `why` repeats the verdict
        return f"not so: {self.sentence}: {'; '.join(line.strip() for line in told)}"

    def __str__(self) -> str:
        return self.sentence if self.holds else f"not so: {self.sentence}\n{self.reason}"


class Response(NamedTuple):
    """A server's response."""

    status: int
    body: str
    headers: Mapping[str, str]


class Node(Life):
    """A node, by its name."""

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<node {self.name}>"

    def ip(self, network: str = "") -> str:
        """Its first address, on that network or link if one is named. Raises NetfabError."""
        addresses = self.fabric.summary["nodes"][self.name]["addresses"]
        found = (
            addresses.get(network, ()) if network else [each for all in addresses.values() for each in all]
        )
        if not found:
            known = ", ".join(addresses) or "none"
            raise NetfabError(f"{self.name} has no address on {network or 'any network'}; it is on {known}")
        return str(found[0])

    def routes(self) -> list[str]:
        """Its routes that netfab made: `default via 10.0.0.1 dev eth0`."""
        return self.fabric.sandbox.call(inside.routes, self.fabric.place(self.name))

    def popen(self, *argv: str, input: str = "", env: Mapping[str, str] | None = None) -> Program:
        """Start a program. It ends with the fabric, or at the end of a `with`."""
        self._note(" ".join(argv))
        program = Program(self.fabric.sandbox, self.fabric.place(self.name), argv, input, env or {})
        self.fabric.programs.append(program)
        return program

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout: float = 30,
        input: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a program to its end. Raises Failed on timeout, or with `check` if it fails."""
        __tracebackhide__ = True
        result = self._ended(self.popen(*argv, input=input, env=env), timeout)
        if check and result.rc:
            raise Failed(self.name, argv, f"exit status {result.rc}", result)
        return result

    def _ended(self, program: Program, timeout: float) -> Result:
        __tracebackhide__ = True
        result = program.wait(timeout)
        self._note(f"{program.argv[0]} ended after {result.seconds:.3f} s, exit status {result.rc}")
        return result

    def fails(self, *argv: str, timeout: float = 30) -> Result:
        """Run a program that is expected to fail. Raises Failed if it does not."""
        __tracebackhide__ = True
        result = self.run(*argv, check=False, timeout=timeout)
        if not result.rc:
            raise Failed(self.name, argv, "succeeded, and was expected to fail", result)
        return result

    def until(self, *argv: str, within: float = 10) -> Result:
        """Run a program repeatedly until it succeeds. Raises Failed after `within` seconds."""
        __tracebackhide__ = True
        deadline = time.monotonic() + within
        while True:
            program = self.popen(*argv)
            result = self._ended(program, within)
            if not result.rc:
                return result
            if time.monotonic() >= deadline:
                raise Failed(self.name, argv, f"failed for {within:g} s, exit status {result.rc}", result)
            self.fabric.programs.remove(program)  # its output would hold two descriptors for nothing

    def ping(self, target: Node | str, within: float = 1) -> float:
        """Seconds until an echo request is answered. Raises AssertionError if none is within that time."""
        __tracebackhide__ = True
        address = self.address_of(target)
        seconds = self.fabric.sandbox.call(inside.ping, self.fabric.place(self.name), address, within)
        self._note(f"ping {target}: {'no answer' if seconds is None else f'{seconds * 1000:.3f} ms'}")
        if seconds is None:
            self._unanswered(target)
            raise AssertionError(f"{target} ({address}) did not answer {self.name} within {within:g} s")
        return seconds

    def reaches(self, target: Node | str, port: str = "", via: str = "", within: float = 0) -> Verdict:
        """Whether it reaches the target: by ping, or a port, `tcp/80`; via a node; within so many seconds."""
        __tracebackhide__ = True
        return self._tried("reaches", target, port, via, within)

    def cannot_reach(self, target: Node | str, port: str = "", within: float = 0) -> Verdict:
        """Whether the target can't be reached; silence counts as such after one second."""
        __tracebackhide__ = True
        return self._tried("does not reach", target, port, "", within)

    def _tried(self, verb: str, target: Node | str, port: str, via: str, within: float) -> Verdict:
        __tracebackhide__ = True
        sentence = f"{self.name} {verb} {target}"
        sentence += f" on {port}" * bool(port) + f" via {via}" * bool(via)
        sentence += f" within {round(within * 1000)}ms" * bool(within)
        return self.fabric.tried(sentence)

    def socket(
        self, family: int = sockets.AF_INET, kind: int = sockets.SOCK_STREAM, protocol: int = 0
    ) -> sockets.socket:
        """A real socket of this process, created in the node: it sends and receives there."""
        place = self.fabric.place(self.name)
        line, _, fds = self.fabric.sandbox.talk(inside.new_socket, (), place, family, kind, protocol)
        line.close()
        return sockets.socket(fileno=fds[0])

    def tcp(self, target: Node | str, port: int, within: float = 5) -> Connection:
        """An open connection. Raises OSError if it is refused, or not open within so many seconds."""
        __tracebackhide__ = True
        return self._connected(target, port, sockets.SOCK_STREAM, within)

    def udp(self, target: Node | str, port: int) -> Connection:
        """A socket connected to the target: it receives from nobody else."""
        __tracebackhide__ = True
        return self._connected(target, port, sockets.SOCK_DGRAM, 5)

    def _connected(self, target: Node | str, port: int, kind: int, within: float) -> Connection:
        __tracebackhide__ = True
        protocol = "tcp" if kind == sockets.SOCK_STREAM else "udp"
        self._note(f"{protocol}/{port} of {target}")
        address = self.address_of(target)
        opened = self.socket(sockets.AF_INET6 if ":" in address else sockets.AF_INET, kind)
        opened.settimeout(within)
        try:
            opened.connect((address, port))
        except OSError as error:
            opened.close()
            self._note(f"{protocol}/{port} of {target}: {error}")
            self._unanswered(target, f" on {protocol}/{port}")
            error.add_note(f"from {self.name} to {target}, {address}, port {port}")
            raise
        return Connection(opened)

    def _note(self, what: str) -> None:
        self.fabric.note(f"{self.name}: {what}")

    def _unanswered(self, target: Node | str, port: str = "") -> None:
        """If the test fails, the cause of this missing answer is looked for."""
        if str(target) in self.fabric.summary["nodes"]:
            self.fabric.unanswered[f"{self.name} reaches {target}{port}"] = None

    def http(self, target: Node | str, path: str = "/", port: int = 80, within: float = 5) -> Response:
        """GET a page. Raises OSError if nobody answers."""
        __tracebackhide__ = True
        with self.tcp(target, port, within) as connection:
            client = HTTPConnection(str(target), port)
            client.sock = connection.socket
            client.request("GET", path)
            answer = client.getresponse()
            self._note(f"GET {path} of {target}: {answer.status} {answer.reason}")
            return Response(answer.status, answer.read().decode(errors="replace"), dict(answer.getheaders()))

    def serve_echo(self, port: int) -> Undo:
        """Echo what arrives at a port, over TCP and UDP; until the fabric ends, or a `with`."""
        from netfab.testing import servers

        self._note(f"serves an echo at port {port}")
        line, _, (process,) = self.fabric.sandbox.talk(servers.echo, (), self.fabric.place(self.name), port)
        return self.fabric.serving(line, process)

    def serve_http(self, port: int = 80, pages: Mapping[str, str | bytes] | str = "hello\n") -> Undo:
        """Serve these pages by path, or a single one at /; until the fabric ends, or a `with`."""
        from netfab.testing import servers

        given = {"/": pages} if isinstance(pages, str) else pages
        self._note(f"serves {', '.join(given)} over HTTP at port {port}")
        content = {path: page.encode() if isinstance(page, str) else page for path, page in given.items()}
        place = self.fabric.place(self.name)
        line, _, (process,) = self.fabric.sandbox.talk(servers.http, (), place, port, content)
        return self.fabric.serving(line, process)

    def capture(self, interface: str = "", filter: str = "") -> Captured:
        """Capture every frame from now on, at one interface or all, until the end of the `with`.

        filter: tcpdump's (pcap-filter(7)); needs libpcap. Raises NetfabError.
        """
        return Captured(self.fabric.sandbox, self.fabric.place(self.name), interface, filter)

    def send(self, packet: Any, interface: str = "") -> None:
        """Send scapy packets: IP() as the node's kernel routes it, Ether() by that interface."""
        from netfab.testing import packets

        self._note(f"sends {packet.summary()}")
        packets.send(self, packet, interface)

    def sr1(self, packet: Any, interface: str = "", within: float = 1) -> Any:
        """Send it and return the packet that answers it, or None if none does within so many seconds."""
        from netfab.testing import packets

        self._note(f"sends {packet.summary()}")
        found = packets.answer(self, packet, interface, within)
        self._note("is not answered" if found is None else f"is answered {found.summary()}")
        return found

    def address_of(self, target: Node | str) -> str:
        """The target's address, by this node's hosts file. Raises NetfabError."""
        __tracebackhide__ = True
        text = str(target)
        with suppress(ValueError):
            return str(ip_address(text))
        names = self.fabric.names_in(self.name)
        if text not in names:
            raise NetfabError(f"{self.name} knows no {text}; it knows {', '.join(names)}")
        return names[text][0]
