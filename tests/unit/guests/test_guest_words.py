"""What a word means: names before beginnings of ids, everybody's guests, and what is ambiguous."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from errno import EACCES
from functools import partial
from pathlib import Path

import pytest
from fake_daemon import ID, OTHER, container, containers, http, outcome, serving
from hypothesis import given
from hypothesis import strategies as st

from netfab.errors import NoGuest, StoreError
from netfab.guests.find import everyone, find, finder, meant
from netfab.guests.guest import short_label
from netfab.guests.namespaces import Node
from netfab.guests.sources import Sources, sources_of

HEX_NAME = "3f2"  # a name that could be the beginning of an id


@pytest.fixture
def nobody(tmp_path: Path) -> Sources:
    """A host where nothing of all this is installed."""
    return Sources(
        docker=(f"{tmp_path}/docker.sock",),
        podman=(f"{tmp_path}/podman.sock",),
        storage=(f"{tmp_path}/storage",),
        storage_conf=f"{tmp_path}/storage.conf",
        crun=f"{tmp_path}/crun",
        runc=f"{tmp_path}/runc",
        lxc=f"{tmp_path}/lxc",
        netns=f"{tmp_path}/netns",
    )


@pytest.fixture
def host(nobody: Sources) -> Iterator[Sources]:
    """Docker with web and db, LXC with box, a namespace blue, and a fabric's nodes web-1 and r."""
    listed = container(), container(OTHER, "db", "exited")
    Path(nobody.lxc, "box").mkdir(parents=True)
    Path(nobody.lxc, "box", "config").touch()
    Path(nobody.netns).mkdir()
    Path(nobody.netns, "blue").touch()
    nodes = [Node("shop", "web-1", "/run/netns/shop.web-1"), Node("shop", "r", "")]
    with serving(Path(nobody.docker[0]), containers(*listed)):
        yield nobody._replace(nodes=lambda: nodes)


@pytest.mark.parametrize(
    ("word", "meaning"),
    {
        "web": "docker:3f2a00000000 (web)",
        "docker:web": "docker:3f2a00000000 (web)",
        ID: "docker:3f2a00000000 (web)",
        "3f2a": "docker:3f2a00000000 (web)",
        "docker:3f2b": "docker:3f2b11111111 (db)",
        "db": "docker:3f2b11111111 (db)",
        "box": "lxc:box",
        "lxc:box": "lxc:box",
        "blue": "netns:blue",
        "netns:blue": "netns:blue",
        "/elsewhere/blue": "netns:/elsewhere/blue",
        "netns:/elsewhere/blue": "netns:/elsewhere/blue",
        "web-1": "netfab:shop/web-1 (web-1)",
        "shop/web-1": "netfab:shop/web-1 (web-1)",
        "netfab:shop/web-1": "netfab:shop/web-1 (web-1)",
        "pid:1234": "pid:1234",
    }.items(),
)
def test_a_word_means_the_one_that_it_names(host: Sources, word: str, meaning: str) -> None:
    assert str(meant(word, host)) == meaning


def test_a_path_in_the_directory_of_names_is_the_name(host: Sources) -> None:
    assert str(meant(f"{host.netns}/blue", host)) == "netns:blue"


def test_the_beginning_of_several_ids_lists_them(host: Sources) -> None:
    with pytest.raises(NoGuest) as failure:
        meant("3", host)

    assert str(failure.value) == "3 may mean docker:3f2a00000000 (web), docker:3f2b11111111 (db)"


def test_one_name_of_several_managers_lists_them_unless_it_says_whose(host: Sources) -> None:
    Path(host.lxc, "web").mkdir()
    Path(host.lxc, "web", "config").touch()

    with pytest.raises(NoGuest, match=r"web may mean docker:3f2a00000000 \(web\), lxc:web"):
        meant("web", host)
    assert str(meant("lxc:web", host)) == "lxc:web"


def test_a_node_of_several_fabrics_lists_them(host: Sources) -> None:
    more = host._replace(nodes=lambda: [Node("shop", "r", "/a"), Node("lab", "r", "/b")])

    with pytest.raises(NoGuest, match=r"r may mean netfab:shop/r \(r\), netfab:lab/r \(r\)"):
        meant("r", more)


def test_an_ambiguous_word_lists_no_more_than_a_person_reads(nobody: Sources) -> None:
    many = nobody._replace(nodes=lambda: [Node(f"lab{number}", "r", "/a") for number in range(1000)])

    with pytest.raises(NoGuest, match=r"netfab:lab7/r \(r\) and 992 more$"):
        meant("r", many)


def test_a_name_goes_before_the_beginning_of_an_id(host: Sources) -> None:
    named = host._replace(nodes=lambda: [Node("shop", HEX_NAME, "/run/netns/shop.3f2")])

    assert str(meant(HEX_NAME, named)) == f"netfab:shop/{HEX_NAME} ({HEX_NAME})"


def test_podmans_service_and_files_and_runtime_tell_of_one_container(nobody: Sources) -> None:
    lists = Path(nobody.storage[0], "overlay-containers")
    lists.mkdir(parents=True)
    (lists / "containers.json").write_text(json.dumps([{"id": ID, "names": ["web"]}]))
    Path(nobody.crun, ID).mkdir(parents=True)
    Path(nobody.crun, ID, "status").touch()

    with serving(Path(nobody.podman[0]), containers(container())):
        assert str(meant("3f2a", nobody)) == "podman:3f2a00000000 (web)"
    assert str(meant("3f2a", nobody)) == "podman:3f2a00000000 (web)"
    assert str(meant(f"crun:{ID}", nobody)) == "crun:3f2a00000000"


def test_an_unknown_word_says_who_was_asked(host: Sources) -> None:
    with pytest.raises(NoGuest) as failure:
        find("nope", host)

    assert str(failure.value) == (
        "no guest nope: asked docker (2 known), podman (0 known), crun (none), runc (none), lxc (1 known),"
        " netfab (2 known), netns (1 known)"
    )


def test_where_docker_does_not_run_the_error_says_so(nobody: Sources) -> None:
    with pytest.raises(NoGuest, match=r"^no guest web: asked docker \(not running\)$"):
        find("docker:web", nobody)


def test_a_number_that_is_no_id_hints_at_the_process(host: Sources) -> None:
    with pytest.raises(NoGuest) as failure:
        find("1234", host)

    assert failure.value.hint == "pid:1234 is the process of that number"


def test_while_docker_talks_nonsense_a_word_without_prefix_means_nothing(nobody: Sources) -> None:
    Path(nobody.lxc, "box").mkdir(parents=True)
    Path(nobody.lxc, "box", "config").touch()

    with serving(Path(nobody.docker[0]), lambda _: [http(b"{}")]):
        with pytest.raises(NoGuest, match=r"what box means can't be told: .*docker.sock answers"):
            meant("box", nobody)
        assert str(meant("lxc:box", nobody)) == "lxc:box"


def test_a_store_that_can_not_be_read_keeps_its_error(nobody: Sources) -> None:
    def damaged() -> list[Node]:
        raise StoreError("the store is damaged")

    with pytest.raises(NoGuest, match="what r means can't be told: the store is damaged"):
        meant("r", nobody._replace(nodes=damaged))


def test_who_does_not_answer_is_left_out_of_everyone(nobody: Sources) -> None:
    with serving(Path(nobody.docker[0]), lambda _: [b"nonsense"]):
        assert list(everyone(nobody)) == []


def test_those_that_ended_are_not_even_asked_for_their_process(nobody: Sources) -> None:
    asked: list[str] = []
    answer = containers(container(OTHER, "db", "exited"))

    def listening(target: str) -> Iterable[bytes]:
        asked.append(target)
        return answer(target)

    with serving(Path(nobody.docker[0]), listening):
        assert list(everyone(nobody)) == []
    assert asked == ["/containers/json?all=1"]


@pytest.mark.parametrize(
    ("word", "message"),
    {
        "pid:0": "'0' is not a process id",
        "pid:-1": "'-1' is not a process id",
        "pid:1": "process 1 is this machine itself",
        "pid:01": "'01' is not a process id",
        "pid:٣": "is not a process id",
        "pid:99999999999999999999": "is not a process id",
        "pid:2147483647": "there is no process 2147483647",
        "pid:self": "'self' is not a process id",
        "netns:../../etc/passwd": "no guest ../../etc/passwd",
        "netns:/etc/passwd": "/etc/passwd is not a network namespace",
        "/dev/null": "/dev/null is not a network namespace",
        "/proc/self/ns/uts": "/proc/self/ns/uts is a namespace, but not of a network",
        "/proc/self/ns/net": "netns:/proc/self/ns/net has no network of its own: it is in this host's",
        "/nowhere/at/all": "there is no namespace at /nowhere/at/all",
        "/etc/passwd/x": "there is no namespace at /etc/passwd/x",
        "blue": "netns/blue is not a network namespace",
        "shop/r": "netfab:shop/r (r) has no network of its own: it is in this host's",
        "shop/web-1": "there is no namespace at /run/netns/shop.web-1",
        "": "'' names no guest",
        "docker:": "'docker:' names no guest",
        "we\x1b[2Jb": "names no guest",
        "/run/\0": "names no guest",
        "/" + "x" * 5000: "File name too long",
    }.items(),
)  # fmt: skip
def test_a_word_that_can_not_be_meant_is_one_error(host: Sources, word: str, message: str) -> None:
    with pytest.raises(NoGuest) as failure:
        find(word, host)

    assert message in str(failure.value)
    assert str(failure.value).isprintable()


def test_a_fifo_that_is_given_as_a_path_is_not_opened(nobody: Sources, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(NoGuest, match="fifo is not a network namespace"):
        find(f"{tmp_path}/fifo", nobody)


@given(st.text())
def test_no_word_gives_anything_but_a_guest_or_an_error(word: str) -> None:
    nobody = Sources((), (), (), "/nowhere", "/nowhere", "/nowhere", "/nowhere")

    assert outcome(lambda: find(word, nobody)).isprintable()


def test_the_environment_says_where_docker_and_podman_listen() -> None:
    found = sources_of({"DOCKER_HOST": "unix:///tmp/d.sock", "XDG_RUNTIME_DIR": "/run/user/1000"})

    assert found.docker == ("/tmp/d.sock",)
    assert found.podman == ("/run/podman/podman.sock", "/run/user/1000/podman/podman.sock")


@pytest.mark.parametrize("elsewhere", ["", "tcp://192.0.2.1:2375", "ssh://root@h", "unix://", "unix://x"])
def test_docker_on_another_host_is_not_asked(elsewhere: str) -> None:
    assert sources_of({"DOCKER_HOST": elsewhere, "XDG_RUNTIME_DIR": "x"}) == Sources()


def test_who_is_only_roots_to_ask_is_said_to_be(nobody: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(EACCES, "Permission denied")

    monkeypatch.setattr("netfab.guests.oci.Podman.candidates", refuse)

    with pytest.raises(NoGuest, match=r"^no guest web: asked podman \(root's to ask\)$"):
        find("podman:web", nobody)


def test_a_daemon_is_asked_once_for_its_list_whatever_many_words_mean(nobody: Sources) -> None:
    asked: list[str] = []
    answer = containers(container(), container(OTHER, "db"))

    with serving(Path(nobody.docker[0]), lambda target: asked.append(target) or answer(target)):
        find = finder(nobody)
        for word in ("docker:web", "docker:db"):
            outcome(partial(find, word))

    assert [target for target in asked if target.startswith("/containers/json")] == ["/containers/json?all=1"]


def test_people_are_told_the_beginning_of_a_full_id() -> None:
    assert short_label(f"docker:{ID}") == f"docker:{ID[:12]}"
    assert [short_label(label) for label in ("netns:web", "pid:7")] == ["netns:web", "pid:7"]
