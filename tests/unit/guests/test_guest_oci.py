"""crun, runc and Podman by the files that they write; and whatever else may stand in these."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import ID, OTHER, outcome
from hypothesis import given
from hypothesis import strategies as st

from netfab.errors import NoAnswer, NoGuest
from netfab.guests.guest import Candidate
from netfab.guests.oci import Podman, Runtime, crun, runc
from netfab.system.proc import start_ticks

# As crun 1.8.1 writes it.
STATUS = {
    "pid": 3171, "process-start-time": 1171441, "cgroup-path": f"/libpod_parent/libpod-{ID}", "scope": "",
    "rootfs": "/tmp/rootfs", "systemd-cgroup": False,
    "bundle": f"/var/lib/containers/storage/overlay-containers/{ID}/userdata",
    "created": "2026-11-24T18:31:22.940312Z", "owner": "root", "detached": True,
    "external_descriptors": '["/dev/null","pipe:[11031179]","pipe:[11031180]"]',
}  # fmt: skip
# As runc 1.1.5 writes it, without most of `config`.
STATE = {
    "id": ID, "init_process_pid": 3203, "init_process_start": 1171451,
    "created": "2026-11-24T18:31:23.031415312Z",
    "config": {"rootfs": "/tmp/rootfs", "labels": ["io.container.manager=libpod"]}, "rootless": False,
    "cgroup_paths": {"pids": f"/sys/fs/cgroup/pids/libpod_parent/libpod-{ID}"},
    "namespace_paths": {"NEWNET": "/proc/3203/ns/net"}, "external_descriptors": ["/dev/null"],
    "intel_rdt_path": "",
}  # fmt: skip
# As containers/storage of Podman 4.3.1 writes it.
STORED = {
    "id": ID, "names": ["web"], "image": "", "layer": "37e63b5ce7cf",
    "metadata": '{"image-name":"","name":"web"}', "created": "2026-11-24T18:31:22.901674116Z",
    "flags": {"MountLabel": "", "ProcessLabel": ""},
}  # fmt: skip
OURS = os.getppid()  # a process that lives, and whose network is the host's


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    return {"crun": crun, "runc": runc}[request.param](str(tmp_path))


def write(runtime: Runtime, id: str = "web", pid: Any = OURS, started: Any = None) -> None:
    state: dict[str, Any] = dict(STATUS if runtime.kind == "crun" else STATE)
    state |= {runtime.pid_key: pid, runtime.start_key: start_ticks(OURS) if started is None else started}
    put(runtime, json.dumps(state).encode(), id)


def put(runtime: Runtime, text: bytes, id: str = "web") -> None:
    directory = Path(runtime.directory, id)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / runtime.file).write_bytes(text)


def test_the_first_process_is_what_the_runtime_wrote(runtime: Runtime) -> None:
    write(runtime)

    assert [one.id for one in runtime.candidates()] == ["web"]
    assert runtime.pid("web") == OURS


def test_directories_without_a_state_are_no_containers(runtime: Runtime) -> None:
    Path(runtime.directory, "half-made").mkdir()

    assert list(runtime.candidates()) == []


def test_a_process_that_has_the_number_of_one_that_ended_is_not_it(runtime: Runtime) -> None:
    write(runtime, started=7)

    assert runtime.pid("web") is None
    with pytest.raises(NoGuest, match=f"{runtime.kind}:web does not run"):
        runtime.guest(Candidate(runtime, "web"))


def test_a_container_that_was_deleted_since_it_was_listed_does_not_run(runtime: Runtime) -> None:
    with pytest.raises(NoGuest, match="does not run"):
        runtime.guest(Candidate(runtime, "web"))


@pytest.mark.parametrize("pid", [-1, 1, True, 12.5, "12", [], 1 << 40], ids=repr)
def test_what_can_be_no_process_is_refused(runtime: Runtime, pid: Any) -> None:
    write(runtime, pid=pid)

    with pytest.raises(NoGuest):
        runtime.guest(Candidate(runtime, "web"))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b"{}" + b" " * (8 << 20)],
    ids=["empty", "half", "a list", "a number", "no text", "deep", "large"],
)
def test_a_state_that_makes_no_sense_is_one_error(runtime: Runtime, text: bytes) -> None:
    put(runtime, text)

    with pytest.raises(NoAnswer, match="^" + runtime.directory):
        runtime.guest(Candidate(runtime, "web"))


def test_a_fifo_in_a_states_place_is_not_waited_for(runtime: Runtime) -> None:
    Path(runtime.directory, "web").mkdir()
    os.mkfifo(Path(runtime.directory, "web", runtime.file))

    with pytest.raises(NoAnswer):
        runtime.guest(Candidate(runtime, "web"))


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["pid", "process-start-time", "init_process_pid", "id", "names"]), inner
)))  # fmt: skip
def test_no_state_gives_anything_but_a_guest_or_an_error(said: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netfab.guests.oci._parsed", lambda _: said)
        patch.setattr(Podman, "_lists", lambda _: ["containers.json"])
        runtimes = crun("/run/crun"), runc("/run/runc")
        podman = Podman(("/storage",), runtimes)
        for ask in (
            lambda: list(podman.candidates()),
            *(lambda source=source: source.guest(Candidate(source, ID)) for source in (podman, *runtimes)),
        ):
            assert outcome(ask).isprintable()


@pytest.fixture
def podman(tmp_path: Path) -> Podman:
    lists = tmp_path / "storage" / "overlay-containers"
    lists.mkdir(parents=True)
    (lists / "containers.json").write_text(json.dumps([STORED]))
    return Podman(
        (str(tmp_path / "storage"), str(tmp_path / "run")),
        (crun(str(tmp_path / "crun")), runc(str(tmp_path / "runc"))),
    )


def test_podmans_containers_have_the_names_of_its_storage(podman: Podman) -> None:
    assert [str(one) for one in podman.candidates()] == ["podman:3f2a00000000 (web)"]


def test_containers_that_go_when_they_end_are_in_a_list_of_their_own(podman: Podman) -> None:
    volatile = Path(podman.storage[0], "overlay-containers", "volatile-containers.json")
    volatile.write_text(json.dumps([STORED | {"id": OTHER, "names": ["db"]}]))

    assert [one.name for one in podman.candidates()] == ["web", "db"]


def test_podman_keeps_containers_where_its_configuration_says(podman: Podman, tmp_path: Path) -> None:
    configuration = tmp_path / "storage.conf"
    configuration.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{podman.storage[0]}"\nrunroot = 7\n'
    )
    elsewhere = podman._replace(storage=("/nowhere",), configuration=str(configuration))

    assert [one.name for one in elsewhere.candidates()] == ["web"]

    configuration.write_text("graphroot")
    with pytest.raises(NoAnswer, match="makes no sense"):
        list(elsewhere.candidates())


@pytest.mark.parametrize("number", [0, 1], ids=["crun", "runc"])
def test_a_container_of_podman_is_the_runtimes_of_the_same_id(podman: Podman, number: int) -> None:
    write(podman.runtimes[number], ID)

    with pytest.raises(NoGuest, match=r"podman:3f2a00000000 \(web\) has no network of its own"):
        podman.guest(Candidate(podman, ID, ("web",)))


def test_a_container_that_no_runtime_has_does_not_run(podman: Podman) -> None:
    with pytest.raises(NoGuest, match="does not run"):
        podman.guest(Candidate(podman, ID))


@pytest.mark.parametrize("listed", [{}, 7, None], ids=repr)
def test_a_storage_without_a_list_is_an_error(podman: Podman, listed: Any) -> None:
    Path(podman.storage[0], "overlay-containers", "containers.json").write_text(json.dumps(listed))

    with pytest.raises(NoAnswer, match="is not a list of containers"):
        list(podman.candidates())
