"""A published port of the host is its fabric's: no other program can bind it, whatever happens to us."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from errno import EADDRINUSE

import pytest
from containers import Containers
from machine import differences, snapshot
from pyroute2 import IPRoute

from netfab.engine.apply import apply, changes_for
from netfab.errors import NetfabError, PortBusy
from netfab.hosts.local import LocalHost
from netfab.hosts.ports import refuse_busy
from netfab.objects.base import Fabric, Hook, no_hook
from netfab.objects.held import HeldPorts
from netfab.runtime import client
from netfab.runtime.ports import held, mark
from netfab.topology.schema import Location, Publish

WEB = "tcp/0.0.0.0/8080"
EVERY_PORT = WEB, "tcp/127.0.0.1/8081", "udp/0.0.0.0/8053", "tcp/::/8080", "udp/::/8053"
AFTER_A_KILL = ["update ports held for {}: ports none -> tcp/0.0.0.0/8080"]


@pytest.fixture(autouse=True)
def loopback() -> None:
    with IPRoute() as route:
        route.link("set", index=1, state="up")


@pytest.fixture
def host(containers: Containers) -> Iterator[LocalHost]:
    with opened(containers) as local:
        yield local


def opened(containers: Containers, hook: Hook = no_hook) -> LocalHost:
    paths = containers.paths
    return LocalHost(paths.fabric, paths.run, hook, paths.state)


def holding(host: LocalHost, *ports: str) -> Fabric:
    return Fabric(host.fabric, [HeldPorts(host.fabric, ports)] if ports else [])


def drift(host: LocalHost, *ports: str) -> list[str]:
    wanted = holding(host, *ports)
    return [
        f"{change.action} {change.object}: {change.why}"
        for change in changes_for(wanted, host.observe(host.fabric, [wanted]))
    ]


def serve(port: str) -> socket.socket:
    """What a server does with its port; a new one listens although connections of the last one linger."""
    protocol, address, number = port.split("/")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, int(number)))
        if protocol == "tcp":
            server.listen()
    except OSError:
        server.close()
        raise
    return server


def is_taken(port: str) -> bool:
    try:
        serve(port).close()
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        return True
    return False


@pytest.mark.parametrize("port", EVERY_PORT)
def test_no_other_program_gets_a_port_until_it_is_let_go(host: LocalHost, port: str) -> None:
    apply(holding(host, port), host)
    assert is_taken(port)

    apply(holding(host), host)
    assert not is_taken(port)


def test_a_port_that_is_held_for_all_addresses_is_so_for_each(host: LocalHost) -> None:
    apply(holding(host, WEB), host)

    assert is_taken("tcp/127.0.0.1/8080")


def test_who_is_led_to_no_node_hears_at_once_that_nobody_listens(host: LocalHost) -> None:
    apply(holding(host, "tcp/::/8080"), host)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", 8080), timeout=20)


def test_connections_that_linger_keep_no_port_from_us(host: LocalHost) -> None:
    with serve(WEB) as server, socket.create_connection(("127.0.0.1", 8080)):
        server.accept()[0].close()  # the side that closes first is the one that waits

    apply(holding(host, WEB), host)

    assert is_taken(WEB)


@pytest.mark.parametrize("port", ["tcp/192.0.2.77/8080", "tcp/2001:db8::77/8080"])
def test_an_address_that_the_host_has_later_is_held_by_then(host: LocalHost, port: str) -> None:
    apply(holding(host, port), host)

    assert drift(host, port) == []


def test_all_are_held_together_and_a_second_apply_changes_nothing(host: LocalHost) -> None:
    apply(holding(host, *sorted(EVERY_PORT)), host)

    assert apply(holding(host, *sorted(EVERY_PORT)), host).changes == ()
    assert [port for port in EVERY_PORT if not is_taken(port)] == []


def test_ports_change_while_their_supervisor_lives_on(host: LocalHost, containers: Containers) -> None:
    apply(holding(host, WEB, "tcp/0.0.0.0/9090"), host)
    before = containers.supervisor()

    apply(holding(host, "tcp/127.0.0.1/8080"), host)

    assert is_taken("tcp/127.0.0.1/8080")
    assert not is_taken("tcp/0.0.0.0/9090")
    assert containers.supervisor() == before


def test_a_port_of_another_program_is_named_and_nothing_is_left(host: LocalHost) -> None:
    before = snapshot()

    with serve(WEB), pytest.raises(PortBusy, match="port 8080/tcp of this host is in use by another program"):
        apply(holding(host, WEB, "tcp/0.0.0.0/9090"), host)

    assert differences(before, snapshot()) == []
    assert not is_taken("tcp/0.0.0.0/9090")


def test_a_port_that_the_fabric_holds_is_not_busy_for_the_fabric(host: LocalHost) -> None:
    apply(holding(host, "tcp/127.0.0.1/8080"), host)

    wished = Publish(None, 8080, 80, "tcp", Location("shop.yaml", 3, 5, "nodes.web.publish"))

    refuse_busy([wished], host.held())
    with pytest.raises(PortBusy):
        refuse_busy([wished], ())


def test_an_sctp_port_can_be_published_also_where_no_program_could_bind_it(host: LocalHost) -> None:
    apply(holding(host, "sctp/0.0.0.0/8080"), host)

    assert drift(host, "sctp/0.0.0.0/8080") == []


def test_a_killed_supervisor_is_drift_and_its_ports_are_taken_again(
    host: LocalHost, containers: Containers
) -> None:
    apply(holding(host, WEB), host)

    containers.kill_supervisor()

    assert drift(host, WEB) == [line.format(host.fabric) for line in AFTER_A_KILL]
    apply(holding(host, WEB), host)
    assert is_taken(WEB)


def test_who_took_the_port_of_a_killed_supervisor_is_told_of_until_he_goes(
    host: LocalHost, containers: Containers
) -> None:
    apply(holding(host, WEB, "tcp/0.0.0.0/9090"), host)
    containers.kill_supervisor()

    with serve(WEB), pytest.raises(PortBusy, match="8080"):
        apply(holding(host, WEB, "tcp/0.0.0.0/9090"), host)

    apply(holding(host, WEB, "tcp/0.0.0.0/9090"), host)
    assert is_taken(WEB)


def test_what_a_killed_supervisor_left_is_destroyed(host: LocalHost, containers: Containers) -> None:
    apply(holding(host, WEB), host)
    containers.kill_supervisor()

    apply(holding(host), host)

    assert containers.leftovers() == []


def test_a_supervisor_that_follows_for_the_programs_takes_the_ports_again(containers: Containers) -> None:
    client.hold_ports(containers.paths, [WEB])
    containers.start("sleep", "inf")
    containers.kill_supervisor()

    client.ensure_supervisor(containers.paths)

    assert held(containers.paths) == (WEB,)
    assert is_taken(WEB)


def test_ports_are_held_while_programs_come_and_go(containers: Containers) -> None:
    client.hold_ports(containers.paths, [WEB])
    supervisor = containers.supervisor()

    for _ in range(2):
        containers.start("sleep", "inf")
        client.remove(containers.paths, ["web"], timeout=0)

    assert is_taken(WEB)
    assert containers.supervisor() == supervisor


def test_programs_run_on_when_no_port_is_held_any_more(containers: Containers) -> None:
    client.hold_ports(containers.paths, [WEB])
    pid = containers.start("sleep", "inf").pid

    client.release_ports(containers.paths)

    assert not is_taken(WEB)
    assert containers.status().pid == pid


def test_what_a_command_left_that_was_killed_before_it_asked_is_destroyed(
    host: LocalHost, containers: Containers
) -> None:
    mark(containers.paths)

    apply(holding(host), host)

    assert containers.leftovers() == []


@pytest.mark.parametrize("again", [(WEB,), ()])
def test_a_kill_before_the_hold_converges_and_is_cleaned(
    host: LocalHost, containers: Containers, again: tuple[str, ...]
) -> None:
    child = os.fork()
    if child == 0:
        try:
            with opened(containers, lambda op: os.kill(os.getpid(), signal.SIGKILL) or True) as killed:
                apply(holding(killed, WEB), killed)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    apply(holding(host, *again), host)

    assert is_taken(WEB) == bool(again)


def test_a_refused_hold_leaves_the_ports_that_were_held(containers: Containers) -> None:
    with opened(containers) as host:
        apply(holding(host, WEB), host)

    with opened(containers, once_refused()) as host, pytest.raises(NetfabError):
        apply(holding(host, "tcp/0.0.0.0/9090"), host)

    assert held(containers.paths) == (WEB,)


def once_refused() -> Hook:
    """The first step is refused, those of the undoing are not."""
    refused = iter([True])
    return lambda op: next(refused, False)
