"""Starting containers, against a loop of `crun run -d`; and single ones, by `netfab run`, against others.

crun stands in a cgroup view of its own that has only the controllers of version 1; its containers share one
network namespace, for netfab's are made with the nodes and are not counted here either.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from frame import HERE as BENCH
from frame import NETFAB, YARDSTICKS, Row, Samples, at_most, fresh_machine, main, progress, run, topology

sys.path.insert(0, str(BENCH.parent))  # Docker is started as tests start it

import managers

from netfab.runtime import client
from netfab.runtime.paths import Paths
from netfab.system import linux
from netfab.where import HERE

NODES = 1000
FEW = 100  # containers that crun starts
CGROUPS = Path("/sys/fs/cgroup")
PODMAN = (
    "podman", "--runtime", "crun", "run", "--rm", "--cgroups=disabled",
    "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
)  # fmt: skip
WITHOUT_NETWORK = "--network=none"
DOCKER = ("docker", "run", "--rm", "box", "/bin/busybox", "true")
WITH_DOCKER = shutil.which("dockerd") is not None
MEBIBYTE = 1 << 20


def measure(directory: Path, rounds: int) -> list[Row]:
    """All that the table says of containers."""
    samples = Samples()
    bare = topology(directory / "bare.yaml", NODES)
    asleep = topology(directory / "asleep.yaml", NODES, command="[sleep, infinity]")
    for number in range(rounds):
        progress(f"runtime: round {number + 1} of {rounds}")
        with fresh_machine():
            free = available()
            without = run(NETFAB, "apply", bare).seconds
            bare_memory = free - available()
            without_end = run(NETFAB, "destroy", "bench").seconds
        with fresh_machine():
            free = available()
            try:
                samples.add("netfab", (run(NETFAB, "apply", asleep).seconds - without) / NODES)
                processes = ours()
                samples.add("idle", (free - available() - bare_memory) / NODES)
            finally:
                ended = run(NETFAB, "destroy", "bench").seconds
            samples.add("end", (ended - without_end) / NODES)
        samples.add("supervisor", max(processes, default=0))
        samples.add("processes", len(processes))
        with fresh_machine():
            single(samples)
        with fresh_machine(), bundle(directory, ["true"]) as crun:
            samples.add("crun true", run("crun", "run", "--bundle", crun, "bench-true").seconds)
            samples.add("podman true", podman_run(crun / "rootfs"))
            samples.add("podman none", podman_run(crun / "rootfs", WITHOUT_NETWORK))
        with fresh_machine(), bundle(directory) as crun:
            try:
                samples.add("crun", run("sh", YARDSTICKS / "crun.sh", crun, str(FEW)).seconds / FEW)
            finally:
                began = perf_counter()
                for container in range(FEW):
                    subprocess.run(["crun", "delete", "--force", f"bench-{container}"], check=False)
                samples.add("crun end", (perf_counter() - began) / FEW)
        if WITH_DOCKER:
            with fresh_machine():
                samples.add("docker true", docker_run(directory / f"box{number}"))
    ours_ms, crun_ms, end_ms, crun_end_ms, none_ms, podman_none_ms = (
        samples.median(name) * 1000
        for name in ("netfab", "crun", "end", "crun end", "run none", "podman none")
    )
    return [
        at_most(
            f"start of {NODES} nodes with `sleep`, per container, against crun run -d",
            samples.ratio("netfab", "crun"), 0.35,
            detail=f"{ours_ms:.1f} ms; crun {crun_ms:.1f} ms, of {FEW}",
        ),
        at_most(
            "their end, per container, against crun delete --force", samples.ratio("end", "crun end"), 0.1,
            detail=f"{end_ms:.1f} ms; crun {crun_end_ms:.1f} ms, of {FEW}",
        ),
        at_most("memory of the supervisor", samples.median("supervisor") / MEBIBYTE, 12, " MiB"),
        at_most(f"netfab processes for {NODES} containers", samples.median("processes"), 1, ""),
        at_most("memory of an idle container, program included", samples.median("idle") / 1024, 300, " KiB"),
        at_most(
            "one `netfab run --rm host true` against crun run", samples.ratio("run true", "crun true"), 5,
            detail=f"{samples.median('run true') * 1000:.0f} ms",
        ),
        at_most(
            "the same against podman run, with its network", samples.ratio("run true", "podman true"), 0.9,
            detail=f"{samples.median('podman true') * 1000:.0f} ms",
        ),
        *against_docker(samples),
        at_most(
            "the same with --network none, against podman run with that",
            samples.ratio("run none", "podman none"), 0.9,
            detail=f"{none_ms:.0f} ms; podman {podman_none_ms:.0f} ms",
        ),
        at_most("`exec true`, beyond nsenter", (samples.median("exec") - samples.median("nsenter")) * 1e3, 90,
                " ms"),
        at_most("stop of a program that handles no SIGTERM", samples.median("stop") * 1000, 50, " ms"),
    ]  # fmt: skip


def against_docker(samples: Samples) -> list[Row]:
    """The row that needs dockerd; without it, that is said."""
    if not WITH_DOCKER:
        progress("runtime: there is no dockerd here to compare with")
        return []
    detail = f"{samples.median('docker true') * 1000:.0f} ms"
    return [
        at_most("the same against docker run", samples.ratio("run true", "docker true"), 0.6, detail=detail)
    ]


def docker_run(root: Path) -> float:
    """Seconds that a dockerd of our own takes for one, the second one; with a network, as ours has."""
    with managers.cgroups("cgroup") as group, managers.docker(managers.make_root(root), group, network=()):
        run(*DOCKER)
        return run(*DOCKER).seconds


def podman_run(root: Path, *options: str) -> float:
    """Seconds that podman takes for one, the second one; on its network, which is there then, if on any."""
    run(*PODMAN, *options, "--rootfs", root, "true")
    return run(*PODMAN, *options, "--rootfs", root, "true").seconds


def single(samples: Samples) -> None:
    """One container at a time: a cold run, a command in one that runs, and its end."""
    run(NETFAB, "run", "--rm", "host", "true")  # the store is there
    samples.add("run true", run(NETFAB, "run", "--rm", "host", "true").seconds)
    samples.add("run none", run(NETFAB, "run", "--rm", WITHOUT_NETWORK, "host", "true").seconds)
    run(NETFAB, "run", "--detach", "--name", "nap", "host", "sleep", "infinity")
    try:
        pid = json.loads(run(NETFAB, "inspect", "nap").output)["program"]["pid"]
        for _ in range(3):
            samples.add("exec", run(NETFAB, "exec", "nap", "true").seconds)
            samples.add("nsenter", run("nsenter", "--all", "--target", str(pid), "true").seconds)
        for _ in range(3):
            began = perf_counter()
            client.stop(Paths("default", HERE.run, HERE.state), ["nap"])
            samples.add("stop", perf_counter() - began)
            run(NETFAB, "start", "nap")
    finally:
        run(NETFAB, "rm", "--force", "nap")


def available() -> int:
    """Bytes that programs could still have."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) << 10


def ours() -> list[int]:
    """Resident bytes of every process that has netfab and the fabric's name in its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(b"netfab" in word for word in words) and b"bench" in words:
                status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
                found.append(int(status["VmRSS"].split()[0]) << 10)
        except (OSError, KeyError):
            continue  # it ended, or is a zombie
    return found


@contextmanager
def bundle(directory: Path, argv: Sequence[str] = ("sleep", "infinity")) -> Iterator[Path]:
    """An OCI bundle with this machine's root, whose program sleeps."""
    subprocess.run(["ip", "netns", "add", "crun"], check=True)
    only_version_1()
    made = directory / "bundle"
    (made / "rootfs").mkdir(parents=True, exist_ok=True)
    linux.mount("/", str(made / "rootfs"), flags=linux.MS_BIND)
    file = made / "config.json"
    file.unlink(missing_ok=True)
    subprocess.run(["crun", "spec", "--bundle", made], check=True)
    config = json.loads(file.read_text())
    config["process"] |= {"terminal": False, "args": list(argv)}
    config["root"] = {"path": "rootfs", "readonly": True}
    for namespace in config["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = "/run/netns/crun"
    file.write_text(json.dumps(config))
    try:
        yield made
    finally:
        linux.umount(str(made / "rootfs"))
        linux.umount(str(CGROUPS))


def only_version_1() -> None:
    """Mount the version 1 hierarchies of this machine, and no other, over its own view of them."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mounted = [(Path(target).name, options) for _, target, kind, options, *_ in lines if kind == "cgroup"]
    linux.mount("tmpfs", str(CGROUPS), "tmpfs")
    for name, options in mounted:
        (CGROUPS / name).mkdir()
        given = options.removeprefix("rw,").removeprefix("relatime,")
        named = "none," if "name=" in given else ""  # without a controller
        linux.mount("cgroup", str(CGROUPS / name), "cgroup", data=named + given)


if __name__ == "__main__":
    main(measure, __doc__)
