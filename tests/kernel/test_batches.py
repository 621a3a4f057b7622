"""The kernel says no: to message k of a batch, to a send, in the middle of an answer; and a signal says stop.

Whatever is refused, the state is the one before or the one after, and what apply says about it is true.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EBUSY, EEXIST, ENOBUFS, ENOMEM
from typing import Any

import pytest
from examples import BR1, FABRIC, address, bridge, fabric, namespace, port, veth, vxlan
from pyroute2 import IPRoute
from test_damage import WHOLE

from netfab.engine.apply import apply
from netfab.errors import Interrupted, KernelRefused, NetfabError
from netfab.hosts.interrupt import deferred
from netfab.hosts.local import LocalHost
from netfab.hosts.sandbox import throwaway
from netfab.kernel.dumps import links
from netfab.kernel.execute import RACES
from netfab.kernel.netlink import NLM_F_DUMP_INTR, Netlink
from netfab.objects.base import Fabric, Hook, Name, Op
from netfab.objects.wire import NLM_F_CREATE, RTM_NEWLINK

OTHER = fabric(
    namespace(),
    bridge(BR1, mac="02:00:00:00:00:02", mtu=1400),
    veth(b=veth().b._replace(mtu=1400)),
    port(bridge=BR1),
    address("10.0.0.7/24"),
)
NOTHING = fabric()
WAYS = [(NOTHING, WHOLE), (WHOLE, OTHER), (OTHER, WHOLE), (WHOLE, NOTHING)]
ways = pytest.mark.parametrize(
    ("before", "after"), WAYS, ids=["made", "changed", "changed back", "destroyed"]
)
every_way = pytest.mark.parametrize(
    ("before", "after"), WAYS[:2] + WAYS[3:], ids=["made", "changed", "destroyed"]
)


def _go(before: Fabric, after: Fabric, hook: Hook) -> tuple[NetfabError | None, Fabric]:
    """From one to the other in a new throw-away host: what it failed with, and what is there afterwards."""
    failure = None
    with throwaway():
        with LocalHost(FABRIC) as host:
            apply(before, host)
        with deferred() as interrupts, LocalHost(FABRIC, hook=hook) as host:
            host.interrupts = interrupts
            try:
                apply(after, host, [before])
            except NetfabError as error:
                failure = error
        with LocalHost(FABRIC) as host:
            return failure, host.observe(FABRIC, [before if failure else after]).own


class Counted:
    """A hook that acts before the step of one number, and counts all."""

    def __init__(self, number: int = 0, act: Callable[[], bool] = lambda: True) -> None:
        self.count = 0
        self.number = number
        self.act = act

    def __call__(self, op: Op) -> bool:
        self.count += 1
        return self.act() if self.count == self.number else False


def _signalled(number: int) -> bool:
    os.kill(os.getpid(), number)
    return False


def _steps(before: Fabric, after: Fabric) -> int:
    counted = Counted()
    failure, _ = _go(before, after, counted)
    assert failure is None
    return counted.count


@ways
def test_a_batch_whose_message_k_is_refused_leaves_the_state_before_for_every_k(
    before: Fabric, after: Fabric, record_property: Callable[[str, object], None]
) -> None:
    steps = _steps(before, after)

    for step in range(1, steps + 1):
        failure, found = _go(before, after, Counted(step))
        assert failure is not None, step
        assert found == before, (step, str(failure))
    record_property("faults", steps)


@every_way
def test_a_signal_at_any_step_undoes_what_was_begun(
    before: Fabric, after: Fabric, record_property: Callable[[str, object], None]
) -> None:
    steps = _steps(before, after)

    for step in range(1, steps + 1):
        number = (signal.SIGINT, signal.SIGTERM)[step % 2]
        failure, found = _go(before, after, Counted(step, lambda number=number: _signalled(number)))
        assert isinstance(failure, Interrupted), step
        assert number.name in str(failure)
        assert found == before, step
    record_property("faults", steps)


class Faulty(socket.socket):
    """A netlink socket that fails once, at the call of some number, as under memory pressure."""

    calls = 0
    fault = 0
    errno = 0
    method = ""

    @classmethod
    def _count(cls, method: str) -> None:
        if method == cls.method:
            Faulty.calls += 1
            if Faulty.calls == cls.fault:
                raise OSError(cls.errno, os.strerror(cls.errno))

    def send(self, *arguments: Any) -> int:
        if self.family == socket.AF_NETLINK:
            self._count("send")
        return super().send(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        if self.family == socket.AF_NETLINK:
            self._count("recv")
        return super().recv(*arguments)


@contextmanager
def _faulty(method: str, fault: int, errno: int) -> Iterator[type[Faulty]]:
    Faulty.calls, Faulty.fault, Faulty.errno, Faulty.method = 0, fault, errno, method
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netfab.kernel.netlink.socket", Faulty)
        yield Faulty


@pytest.mark.parametrize(
    ("method", "errno"), [("send", ENOBUFS), ("send", ENOMEM), ("recv", ENOBUFS), ("recv", ENOMEM)]
)
@every_way
def test_a_socket_that_fails_at_any_call_leaves_the_state_before_or_the_one_after(
    before: Fabric, after: Fabric, method: str, errno: int, record_property: Callable[[str, object], None]
) -> None:
    call = 0
    while True:
        call += 1
        failure = None
        with throwaway():
            with LocalHost(FABRIC) as host:
                apply(before, host)
            with _faulty(method, call, errno) as socket_, LocalHost(FABRIC) as host:
                try:
                    apply(after, host, [before])
                except NetfabError as error:
                    failure = error
            with LocalHost(FABRIC) as host:
                found = host.observe(FABRIC, [before if failure else after]).own
        assert found == (after if failure is None else before), (call, str(failure))
        if socket_.calls < call:
            break
    record_property("faults", call - 1)


class Scripted:
    """A netlink socket that gives the answers it was told to, then those of a real one."""

    def __init__(self, real: socket.socket, answers: list[Callable[[bytes], bytes]]) -> None:
        self._real = real
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def recv(self, *arguments: Any) -> bytes:
        data = self._real.recv(*arguments)
        return self._answers.pop(0)(data) if self._answers else data


def _interrupted(data: bytes) -> bytes:
    """The same answer, saying that the table changed while it was read."""
    (flags,) = struct.unpack_from("=H", data, 6)
    return data[:6] + struct.pack("=H", flags | NLM_F_DUMP_INTR) + data[8:]


@pytest.fixture
def netlink() -> Iterator[Netlink]:
    opened = Netlink()
    yield opened
    opened.close()


def test_a_table_that_changed_while_it_was_read_is_read_again(netlink: Netlink) -> None:
    expected = [link.name for link in links(netlink)]
    netlink.__dict__["_socket"] = Scripted(netlink._socket, [_interrupted])

    assert [link.name for link in links(netlink)] == expected


def test_a_table_that_changes_for_ever_is_an_error_and_no_hang(netlink: Netlink) -> None:
    netlink.__dict__["_socket"] = Scripted(netlink._socket, [_interrupted] * 1000)

    with pytest.raises(KernelRefused, match="changed during each of ten attempts"):
        links(netlink)


class Unlucky(socket.socket):
    """A netlink socket in whose way other programs took the index of a link that is made."""

    taken = 0
    errno = EEXIST
    refused = False

    def send(self, data: Any, *_: Any) -> int:
        kind, flags = struct.unpack_from("=HH", data, 4)
        if kind == RTM_NEWLINK and flags & NLM_F_CREATE and Unlucky.taken > 0:
            Unlucky.taken -= 1
            data = data[:4] + b"\xff\x7f" + data[6:]
            self.refused = True
        return super().send(data)

    def recv(self, *arguments: Any) -> bytes:
        data = super().recv(*arguments)
        if self.refused:
            self.refused = False
            data = data[:16] + struct.pack("=i", -self.errno) + data[20:]
        return data


@pytest.mark.parametrize("errno", [EEXIST, EBUSY])
@pytest.mark.parametrize(("times", "made"), [(1, True), (RACES, True), (RACES + 1, False)])
def test_an_index_that_another_program_took_is_chosen_anew_a_few_times(
    monkeypatch: pytest.MonkeyPatch, errno: int, times: int, made: bool
) -> None:
    Unlucky.taken, Unlucky.errno = times, errno
    monkeypatch.setattr("netfab.kernel.netlink.socket", Unlucky)
    failure = None

    with LocalHost(FABRIC) as host:
        try:
            apply(fabric(bridge()), host)
        except KernelRefused as error:
            failure = error

        assert (failure is None) == made
        assert bool(host.observe(FABRIC).own) == made


def _bridge_of_another_program() -> bool:
    subprocess.run(["ip", "link", "add", "tap0", "type", "bridge"], check=True)
    return False


@pytest.mark.parametrize(
    "wanted", [bridge(mtu=1400), vxlan(device=Name("host", "lo"))], ids=["bridge", "vxlan"]
)
def test_a_link_that_took_the_index_of_one_that_is_made_keeps_its_settings(wanted: Any) -> None:
    with LocalHost(FABRIC, hook=Counted(1, _bridge_of_another_program)) as host:
        apply(fabric(wanted), host)

    with IPRoute() as ip:
        (found,) = ip.link("get", ifname="tap0")
    assert (found.get("IFLA_MTU"), found.get("IFLA_IFALIAS"), found["state"]) == (1500, None, "down")
