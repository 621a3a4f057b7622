"""Docker's and Podman's API: containers and their processes; hostile answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import ID, OTHER, api, container, containers, outcome, serving
from hypothesis import given
from hypothesis import strategies as st

from netfab.errors import GuestGone, NoAnswer, NoGuest
from netfab.guests.engine import Engine
from netfab.guests.guest import Candidate
from netfab.kernel import daemon

LIST = "/containers/json?all=1"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Id", "Names", "State", "Pid"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_containers_are_listed_with_names_and_states(tmp_path: Path) -> None:
    with serving(tmp_path / "s", containers(container(), container(OTHER, "db", "exited"))) as path:
        found = list(Engine("docker", path).candidates())

    assert [(one.id, one.names, one.state, str(one)) for one in found] == [
        (ID, ("web",), "running", "docker:3f2a00000000 (web)"),
        (OTHER, ("db",), "exited", "docker:3f2b11111111 (db)"),
    ]


def test_names_that_docker_would_not_give_are_none(tmp_path: Path) -> None:
    entry = {"Id": ID, "Names": ["/\x1b[2Jweb", "/db/alias", "", 7, None, "/" + "x" * 2000, "/web"]}

    with serving(tmp_path / "s", api({LIST: [entry]})) as path:
        assert [one.names for one in Engine("docker", path).candidates()] == [("web",)]


@pytest.mark.parametrize("state", ["\x1b[2J", "x" * 1000, "", 7, None, {}], ids=repr)
def test_a_state_that_is_no_word_is_none(tmp_path: Path, state: Any) -> None:
    with serving(tmp_path / "s", api({LIST: [container() | {"State": state}]})) as path:
        assert [one.state for one in Engine("docker", path).candidates()] == [""]


@pytest.mark.parametrize(
    "listed",
    [{}, None, 7, [7], [None], [{}], [{"Id": 7}], [{"Id": "web"}], [{"Id": ID.upper()}], [{"Id": ID + "\n"}],
     [{"Id": "../../images/json?"}]],
    ids=str,
)  # fmt: skip
def test_a_list_of_what_is_no_container_is_an_error(tmp_path: Path, listed: Any) -> None:
    with (
        serving(tmp_path / "s", api({LIST: listed})) as path,
        pytest.raises(NoAnswer, match=r"answers|lists"),
    ):
        list(Engine("docker", path).candidates())


@pytest.mark.parametrize("pid", [-1, 1, 1 << 31, 1 << 80, True, 12.5, "12", [], {}, float("inf")], ids=repr)
def test_a_process_that_can_not_be_a_container_is_refused(tmp_path: Path, pid: Any) -> None:
    with serving(tmp_path / "s", containers(container(), web=pid)) as path:
        engine = Engine("docker", path)
        with pytest.raises(
            NoGuest, match=r"docker:3f2a00000000 \(web\): its manager says that it is a process"
        ):
            engine.guest(Candidate(engine, ID, ("web",)))


def test_we_ourselves_are_no_container(tmp_path: Path) -> None:
    with serving(tmp_path / "s", containers(container(), web=os.getpid())) as path:
        engine = Engine("docker", path)
        with pytest.raises(NoGuest, match=f"a process which can't be: {os.getpid()}"):
            engine.guest(Candidate(engine, ID))


def test_a_container_on_the_hosts_network_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path / "s", containers(container(), web=os.getppid())) as path:
        engine = Engine("docker", path)
        with pytest.raises(NoGuest, match="has no network of its own: it is in this host's"):
            engine.guest(Candidate(engine, ID))


def test_a_container_that_ended_does_not_run(tmp_path: Path) -> None:
    with serving(tmp_path / "s", containers(container(), web=0)) as path:
        engine = Engine("docker", path)
        with pytest.raises(NoGuest, match=r"docker:3f2a00000000 does not run \(exited\)"):
            engine.guest(Candidate(engine, ID, (), "exited"))


def test_a_container_that_was_removed_since_it_was_listed_does_not_run(tmp_path: Path) -> None:
    with serving(tmp_path / "s", api({})) as path:
        engine = Engine("docker", path)
        with pytest.raises(NoGuest, match="does not run"):
            engine.guest(Candidate(engine, ID))


def test_a_process_that_ended_since_it_was_told_is_a_guest_that_went_away(tmp_path: Path) -> None:
    with serving(tmp_path / "s", containers(container(), web=_ended())) as path:
        engine = Engine("docker", path)
        with pytest.raises(GuestGone, match="the guest went away: docker:3f2a00000000"):
            engine.guest(Candidate(engine, ID))


def test_the_process_is_asked_for_again_after_it_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netfab.guests.guest.refuse_our_own", lambda *_: None)
    answers = iter([os.getppid(), os.getpid()])  # it was restarted in between

    def restarted(target: str) -> Any:
        return api({target: {"State": {"Pid": next(answers)}}})(target)

    with serving(tmp_path / "s", restarted) as path:
        engine = Engine("docker", path)
        with pytest.raises(GuestGone):
            engine.guest(Candidate(engine, ID))


@pytest.mark.parametrize("said", [None, [], {}, {"State": None}, {"State": []}, {"State": {}}], ids=str)
def test_a_container_without_a_process_to_tell_is_an_error(tmp_path: Path, said: Any) -> None:
    with serving(tmp_path / "s", api({f"/containers/{ID}/json": said})) as path:
        engine = Engine("docker", path)
        with pytest.raises(NoAnswer, match="does not say which process"):
            engine.guest(Candidate(engine, ID))


def test_a_daemon_in_another_process_namespace_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "numbers_processes_as_we_do", lambda _: False)
    with serving(tmp_path / "s", containers(container(), web=os.getppid())) as path:
        engine = Engine("docker", path)
        with pytest.raises(NoGuest, match="from another process namespace"):
            engine.guest(Candidate(engine, ID))


def test_a_daemon_beside_us_numbers_processes_as_we_do(tmp_path: Path) -> None:
    with serving(tmp_path / "s", api({})) as path:
        assert daemon.numbers_processes_as_we_do(path)


@given(JSON, JSON)
def test_no_answer_gives_anything_but_a_guest_or_an_error(listed: Any, inspected: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "numbers_processes_as_we_do", lambda _: True)
        patch.setattr(daemon, "get", lambda _, target: listed if target == LIST else inspected)
        engine = Engine("docker", "/run/docker.sock")
        for ask in (lambda: list(engine.candidates()), lambda: engine.guest(Candidate(engine, ID))):
            assert outcome(ask).isprintable()


def _ended() -> int:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid
