"""Several hosts: an apply to ten beside one, a far host by ssh, one node more, and a lab of three.

Simulated hosts share this machine's cores: of ten agents at most as many work at once as there are.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from frame import Row, Samples, at_most, fresh_machine, main, progress

sys.path.insert(0, str(Path(__file__).parents[1]))  # what makes hosts for the tests makes them here, too

from far import far_hosts, ssh_command, start_sshd
from simulated_hosts import fleet, read

from netfab.hosts import simulation
from netfab.hosts.sandbox import excursion
from netfab.kernel.netlink import Monitor
from netfab.multihost import across
from netfab.remote.channel import Channel
from netfab.remote.ssh import COMMAND

MANY = 10
EACH = 5
FAR = "root@192.0.2.1"
TWO_NODES = "name: far\nnetworks: {lan: {}}\nnodes: {a: {networks: [lan]}, b: {networks: [lan]}}\n"


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of several hosts."""
    samples = Samples()
    for number in range(rounds):
        progress(f"hosts: round {number + 1} of {rounds}")
        with fresh_machine():
            together, slowest = in_a_child(beside_the_slowest)
            samples.add("many", together)
            samples.add("slowest", slowest)
        with fresh_machine():
            samples.add("lab", in_a_child(three_of_ten)[0])
        with fresh_machine():
            _far(directory, samples)
    with fresh_machine():
        entries, messages = in_a_child(one_node_more)
    slowest, many = (samples.median(name) * 1000 for name in ("slowest", "many"))
    ssh, fresh, cached = (samples.median(name) * 1000 for name in ("ssh", "fresh", "cached"))
    return [
        at_most(
            f"apply to {MANY} simulated hosts against the slowest", samples.ratio("many", "slowest"), 2,
            detail=f"{many:.0f} of {slowest:.0f} ms",
        ),
        at_most(
            "3 simulated hosts and 10 nodes on each, warm", samples.median("lab") * 1000, 200, " ms"
        ),
        at_most(
            "a bare far host's first change against `ssh true`", samples.ratio("fresh", "ssh"), 4,
            detail=f"{fresh:.0f} of {ssh:.0f} ms",
        ),
        at_most(
            "one that has netfab's modules", samples.ratio("cached", "ssh"), 1.5, detail=f"{cached:.0f} ms"
        ),
        at_most(f"a node more on one of {MANY} hosts: entries on another", entries, 3, ""),
        at_most("and messages that change it", messages, 1, ""),
    ]  # fmt: skip


def three_of_ten() -> list[float]:
    """Seconds that three simulated hosts take, and an apply to them."""
    topology = read(fleet(3, 10))
    start = perf_counter()
    simulation.begin(topology)
    across.apply(topology, across.hosts_of(topology), "lab.yaml")
    return [perf_counter() - start]


def beside_the_slowest() -> list[float]:
    """Seconds that an apply takes, and for how many of them the slowest host had a question."""
    topology = read(fleet(MANY, EACH))
    simulation.begin(topology)
    busy, asked = dict.fromkeys(topology.hosts, 0.0), dict.fromkeys(topology.hosts, 0.0)
    say, hear = Channel.say, Channel.read

    def said(channel: Channel, message: dict[str, object]) -> None:
        asked[channel.host] = perf_counter()
        say(channel, message)

    def heard(channel: Channel) -> Iterator[dict[str, object]]:
        for message in hear(channel):
            busy[channel.host] += perf_counter() - asked[channel.host]
            yield message

    # This process does nothing else afterwards.
    Channel.say, Channel.read = said, heard  # type: ignore[method-assign]  # as they are, with a watch around
    start = perf_counter()
    across.apply(topology, across.hosts_of(topology), "lab.yaml")
    return [perf_counter() - start, max(busy.values())]


def one_node_more() -> list[float]:
    """The most changes on a host that only hears of a new node, and of messages that ask it for them."""
    topology = read(fleet(MANY))
    simulation.begin(topology)
    across.apply(topology, across.hosts_of(topology), "lab.yaml")
    asked: Counter[str] = Counter()
    say = Channel.say

    def counted(channel: Channel, message: dict[str, object]) -> None:
        asked[channel.host] += message["verb"] == "apply"
        say(channel, message)

    Channel.say = counted  # type: ignore[method-assign]  # as it is, and counted
    more = read(fleet(MANY, more="more: {networks: [lan], runs_on: h1}"))
    outcome = across.apply(more, across.hosts_of(more), "lab.yaml")
    others = [change for change in outcome.changes if change["host"] != "h1"]
    changes = Counter(change["host"] for change in others if change["kind"] != "file")
    return [max(changes.values()), max(asked[host] for host in changes)]


def _far(directory: Path, samples: Samples) -> None:
    """From the beginning of a conversation to the first change of a kernel behind it."""
    place = directory / str(len(samples.get("ssh", ())))
    place.mkdir()
    with far_hosts("h1") as fars:
        start_sshd(fars["h1"], place)
        os.environ[COMMAND] = ssh_command(place)
        start = perf_counter()
        subprocess.run([*ssh_command(place).split(), FAR, "true"], check=True)
        samples.add("ssh", perf_counter() - start)
        for name in ("fresh", "cached"):
            with listening(fars["h1"].pid) as monitor:
                start = perf_counter()
                child = started(lambda: across.apply(read(TWO_NODES), {FAR: FAR}, "far.yaml"))
                select.select([monitor], [], [])
                samples.add(name, perf_counter() - start)
                assert os.waitpid(child, 0)[1] == 0
            entry = across.known("far")
            assert entry is not None
            across.destroy(entry)


@contextmanager
def listening(pid: int) -> Iterator[Monitor]:
    """Hears of links and addresses in the network of that process."""
    with excursion():
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        from netfab.system import linux

        linux.setns(fd, linux.CLONE_NEWNET)
        os.close(fd)
        monitor = Monitor()
    try:
        yield monitor
    finally:
        monitor.close()


def started(job: Callable[[], object]) -> int:
    """Its process."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    return child


def in_a_child(job: Callable[[], list[float]]) -> list[float]:
    """What it returns, from a process that is as warm as this one and whose hosts end with it."""
    reading, writing = os.pipe()
    child = started(lambda: os.write(writing, " ".join(map(str, job())).encode()))
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return [float(word) for word in said.split()]


if __name__ == "__main__":
    main(measure, __doc__)
