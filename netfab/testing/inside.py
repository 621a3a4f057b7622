"""Functions that run in a node: each call is a process of its own (broker.py), so it may enter any namespace.

A function that `talks` gets the line to its caller, and the file descriptors that were sent with the call.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from netfab import fabric as api
from netfab.errors import NetfabError
from netfab.hosts import sandbox, simulated
from netfab.kernel import waiting
from netfab.kernel.dumps import neighbours
from netfab.kernel.netlink import Netlink
from netfab.nodes.by_name import opened_namespace
from netfab.objects.base import HOST, Name, node_space
from netfab.objects.link import set_up
from netfab.objects.neighbour import NDA_DST, request
from netfab.objects.wire import RTM_DELNEIGH, encode
from netfab.system import linux
from netfab.system.poll import readable
from netfab.system.process import adopt_orphans
from netfab.testing.descendants import end_descendants
from netfab.testing.line import Line, failure
from netfab.tuples import NamedTuple

_SILENT = 0x01 | 0x20  # NUD_INCOMPLETE, NUD_FAILED, linux/neighbour.h
_PLUGGED_IN = 5.0  # seconds to wait; the kernel takes up to one


class Place(NamedTuple):
    """A node of a fabric, and its simulated host, if any."""

    fabric: str
    node: str
    host: str = ""


def summary_of(fabric: str) -> dict[str, Any]:
    """What was planned for a fabric on this host, as in `status -o json`."""
    (record,) = (record for record in api.records() if record.name == fabric)
    found: dict[str, Any] = json.loads(record.summary)
    return found


def enter_host(host: str) -> None:
    """Move this process into a simulated host; "" leaves it where it is."""
    if host:
        simulated.enter(host)


def enter(place: Place) -> None:
    """Move this process into a node's network namespace, or the host's for `host`. Raises NetfabError."""
    enter_host(place.host)
    if place.node != "host":
        netns = opened_namespace(place.fabric, place.node, _node(place))
        linux.setns(netns, linux.CLONE_NEWNET)
        os.close(netns)


def _node(place: Place) -> Mapping[str, Any]:
    nodes: Mapping[str, Mapping[str, Any]] = summary_of(place.fabric)["nodes"]
    return nodes[place.node]


def names(place: Place) -> dict[str, tuple[str, ...]]:
    """The addresses of each host name, as a program in the node resolves them."""
    from netfab.diagnose.trials import names_in

    enter_host(place.host)
    with open(_node(place)["hosts"] or "/etc/hosts", encoding="utf-8") as file:
        return names_in(file.read())


def new_socket(line: Line, _: list[int], place: Place, family: int, kind: int, protocol: int) -> None:
    """Create a socket in a node, and send it. Talks."""
    enter(place)
    with socket.socket(family, kind, protocol) as made:
        line.tell(None, [made.fileno()])


def execute(line: Line, fds: list[int], place: Place, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    """Run a program in a node with these three streams; sends its exit status. Talks.

    A number received on the line is a signal for it; SIGKILL also goes to everything that it started.
    """
    enter_host(place.host)
    adopt_orphans()
    child = os.fork()
    if child == 0:
        _become(line, fds, place, argv, env)
    pidfd = os.pidfd_open(child)
    for fd in fds:
        os.close(fd)
    line.tell(None)
    heard = [pidfd, line.fileno()]
    while pidfd not in (ready := readable(heard, None)):
        if line.fileno() in ready:
            try:
                number, _ = line.hear()
            except EOFError:  # the caller closed the line; the program runs on
                heard.remove(line.fileno())
            else:
                end_descendants() if number == signal.SIGKILL else os.kill(child, number)
    line.tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _become(line: Line, fds: list[int], place: Place, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    code = 1
    try:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        code = api.execute(f"{place.fabric}/{place.node}", argv, env=tuple(env.items()))
    except NetfabError as error:
        line.tell(failure(error))
    finally:
        os._exit(code)


def ping(place: Place, address: str, within: float) -> float | None:
    """Seconds until an address answers an echo request; None if it does not within that time."""
    from ipaddress import ip_address

    from netfab.kernel.echo import answering

    enter(place)
    return answering([ip_address(address)], within).get(ip_address(address))


def routes(place: Place) -> list[str]:
    """The node's routes, as netfab names them: `default via 10.0.0.1 dev eth0`."""
    from netfab.hosts.local import LocalHost
    from netfab.objects.route import Route

    enter_host(place.host)
    space = node_space(place.fabric, place.node)
    with LocalHost(place.fabric) as host:
        own = host.observe(place.fabric, spaces={HOST, space}).own
    found = (thing for thing in own.values() if type(thing) is Route and thing.space == space)
    return [str(route).removeprefix("route ").removesuffix(f" in {place.node}") for route in found]


def set_link(place: Place, interface: str, up: bool) -> None:
    """Set an interface of a node, or of the host, up or down."""
    enter(place)
    switch(interface, up)


def wait_until_it_works(place: Place, interface: str) -> None:
    """Wait until an interface that was plugged in passes frames, which may take the kernel a second."""
    enter(place)
    waiting.wait_until_it_works(interface, _PLUGGED_IN)


def forget_the_silent(places: list[Place]) -> None:
    """Drop failed neighbour entries, so that they are tried again at once, not after the kernel's second."""
    for place in places:
        with sandbox.excursion():
            enter(place)
            netlink = Netlink()
            for each in neighbours(netlink):
                if each.state & _SILENT:
                    link = Name(HOST, str(each.ifindex))
                    attrs = ((NDA_DST, each.attrs[NDA_DST]),)
                    ended = request(link, each.family, 0, 0, attrs, RTM_DELNEIGH, 0, "forget it")
                    netlink.batch([(1, encode(ended, lambda name: int(name.text), 1))])
            netlink.close()


def switch(interface: str, up: bool) -> None:
    """Set an interface of this process's network namespace up or down. Raises OSError."""
    index = socket.if_nametoindex(interface)
    request = set_up(Name(HOST, interface), up, interface)
    refused = Netlink().batch([(1, encode(request, lambda _: index, 1))])
    if refused:
        raise OSError(*refused[1])
