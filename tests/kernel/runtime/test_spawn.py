"""Processes between clone3 and exec."""

from __future__ import annotations

import json
import os
import socket
import stat

import pytest
from containers import Containers, wait_for_end

from netfab.runtime import client
from netfab.runtime.launcher import Launcher
from netfab.runtime.layers import make_layers
from netfab.runtime.record import Record, write_record
from netfab.runtime.spawn import prepare, spawn
from netfab.runtime.spec import Spec
from netfab.runtime.supervisor import leave_namespaces_of_nodes
from netfab.system.process import user_namespace_is_initial


def test_a_process_ends_with_a_supervisor_that_has_not_recorded_it(containers: Containers) -> None:
    """Siblings hold descriptors that it had open for each other, until they close them."""
    specs = [containers.spec("sleep", "infinity", name=f"n{number}") for number in range(3)]

    for pidfd in _spawned(containers, specs):
        wait_for_end(pidfd)

    client.remove(containers.paths, [spec.name for spec in specs])


def test_one_that_the_kernel_refuses_keeps_no_other_from_starting(containers: Containers) -> None:
    specs = [containers.spec("sleep", "infinity", name=f"n{number}") for number in range(3)]

    spawned = _spawned(containers, specs, refused=1)

    assert len(spawned) == 2
    for pidfd in spawned:
        wait_for_end(pidfd)
    client.remove(containers.paths, [spec.name for spec in specs])


def _spawned(containers: Containers, specs: list[Spec], refused: int | None = None) -> list[int]:
    """Descriptors of processes that a supervisor had started when it ended."""
    paths = containers.paths
    scratch = f"{paths.fabric_run}/layers"
    os.makedirs(scratch)
    for spec in specs:
        os.makedirs(os.path.dirname(paths.spec(spec.name)))
        write_record(paths.record(spec.name), Record("exited"))
    ours, theirs = socket.socketpair()
    parent = os.fork()
    if parent == 0:
        try:
            leave_namespaces_of_nodes(os.open("/proc/self/ns/mnt", os.O_RDONLY))
            layers = make_layers(paths, scratch, user_namespace_is_initial())
            launcher = Launcher(paths, layers, (1024, 1024))
            prepared = [prepare(launcher.prepare(spec, containers.netns)) for spec in specs]
            if refused is not None:
                prepared[refused] = prepared[refused]._replace(cgroup=theirs.fileno())  # that is none
            pids = [one.pid for one in spawn(prepared) if not isinstance(one, OSError)]
            theirs.send(json.dumps(pids).encode())
            theirs.recv(1)  # until all are open at our parent's
        finally:
            os._exit(0)
    try:
        return [os.pidfd_open(pid) for pid in json.loads(ours.recv(4096))]
    finally:
        ours.send(b".")
        os.waitpid(parent, 0)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("replacement", ["link", "nothing", "directory"])
def test_names_are_shown_whatever_a_program_has_put_in_their_place(
    containers: Containers, replacement: str
) -> None:
    names = f"{containers.paths.run}/names"
    os.makedirs(containers.paths.run, exist_ok=True)
    with open(names, "w") as file:
        file.write("192.0.2.1 there\n")
    os.chmod(names, stat.S_IRUSR)
    script = {
        "link": "rm /etc/hosts; ln -s ../var/hosts /etc/hosts; echo mine >/var/hosts",
        "nothing": "rm /etc/hosts",
        "directory": "rm /etc/hosts; mkdir /etc/hosts",
    }
    containers.shell(script[replacement])

    if replacement == "directory":
        with pytest.raises(Exception, match=r"web: mount: .*(Invalid|directory)"):
            containers.shell("true", hosts_file=names)
    else:
        assert containers.shell("cat /etc/hosts", hosts_file=names) == "192.0.2.1 there\n"
    os.unlink(names)
