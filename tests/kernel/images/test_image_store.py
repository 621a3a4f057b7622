"""What is kept of images: whole or not at all, whoever is killed, and removed only when nobody needs it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EIO
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from made_images import Made, directory, file, image, layer, write_docker_archive

from netfab.errors import Locked, NetfabError
from netfab.images import find, layers, naming, resolve
from netfab.images.blobs import keep
from netfab.images.config import BadImage
from netfab.images.index import Index
from netfab.images.layout import Layout
from netfab.images.loading import load_all
from netfab.images.locks import alone, using
from netfab.images.naming import images, tag
from netfab.images.removal import prune, remove
from netfab.system import linux
from netfab.where import Where

BASE = layer(directory("d"), file("d/a", b"a" * 5000), file("d/b", b"b"))
ONE, TWO = image(BASE, layer(file("one"))), image(BASE, layer(file("two")))


@pytest.fixture
def load(where: Where) -> Callable[..., Where]:
    """Loads images by name."""

    def loaded(**named: Made) -> Where:
        archive = write_docker_archive(Path("/var/lib/archive.tar"), named.items())
        load_all(where, str(archive))
        return where

    return loaded


def left(where: Where) -> list[str]:
    layout = Layout(where.state)
    return [*os.listdir(layout.blobs), *os.listdir(layout.layers)]


def files_of(where: Where, name: str) -> dict[str, bytes]:
    found = find(where, name)
    assert found is not None
    paths = [path for root in found.layers for path in Path(root).rglob("*") if path.is_file()]
    return {path.name: path.read_bytes() for path in paths}


KILLED_AT = ("open", "mkdir", "write", "pwrite", "rename", "ftruncate", "unlink", "rmdir")


def is_killed(step: int, job: Callable[[], Any]) -> bool:
    """Whether a process that does the job had so many steps; it is killed before that one."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return counting

        for name in KILLED_AT:
            setattr(os, name, counted(getattr(os, name)))
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status)
    return status != 0


def test_a_kill_at_any_step_leaves_no_half_and_the_next_load_is_whole(
    where: Where, record_property: Callable[[str, object], None]
) -> None:
    archive = str(write_docker_archive(Path("/var/lib/archive.tar"), [("one", ONE)]))
    step = 1
    while is_killed(step, lambda: load_all(where, archive)):
        here = find(where, "one")
        assert here is None or files_of(where, "one")
        for path in Path(Layout(where.state).layers).glob("*"):
            if path.suffix != ".new" and (path / "d").is_dir():
                assert (path / "d/a").read_bytes() == b"a" * 5000
        if step % 3 == 0:  # else the next one finds what this one left
            prune(where, frozenset, everything=True)
            assert left(where) == []
        step += 1
    assert files_of(where, "one") == {"a": b"a" * 5000, "b": b"b", "one": b""}
    prune(where, frozenset)
    assert len(left(where)) == 6  # two layers packed and unpacked, config, manifest
    record_property("kills of a load", step - 1)


@pytest.mark.parametrize(("call", "suffix"), [("open", ".part"), ("mkdir", ".new")])
def test_what_another_has_finished_since_it_was_looked_for_is_taken_as_it_is(
    where: Where, monkeypatch: pytest.MonkeyPatch, call: str, suffix: str
) -> None:
    archive = str(write_docker_archive(Path("/var/lib/archive.tar"), [("one", ONE)]))
    real, others = getattr(os, call), dict[str, int]()

    def just_before(path: Any, *rest: Any, **more: Any) -> Any:
        if str(path).endswith(suffix) and not others:
            others[""] = 0
            load_all(where, archive)
            others.update(inodes(where))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, call, just_before)
    load_all(where, archive)

    assert inodes(where) | {"": 0} == others


def inodes(where: Where) -> dict[str, int]:
    """Of all blobs and layers."""
    layout = Layout(where.state)
    return {entry.name: entry.inode() for of in (layout.blobs, layout.layers) for entry in os.scandir(of)}


def test_a_blob_is_on_its_disk_before_it_counts_as_whole(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fdatasync", "rename"):
        monkeypatch.setattr(
            os,
            name,
            partial(lambda name, call, *args: done.append(name) or call(*args), name, getattr(os, name)),
        )
    with using(where) as layout:
        keep(layout, b"data")

    assert done == ["fdatasync", "rename"]


def test_what_cannot_be_read_again_is_told_and_leaves_nothing(
    where: Where, load: Callable[..., Where], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(EIO, os.strerror(EIO))

    monkeypatch.setattr(layers, "sync_filesystem", broken)
    with pytest.raises(NetfabError, match=r"can't unpack layer .*: Input/output error"):
        load(one=ONE)

    assert os.listdir(Layout(where.state).layers) == []


def test_what_is_refused_leaves_what_was_here_before_and_no_more(load: Callable[..., Where]) -> None:
    where = load(one=ONE)
    before = sorted([*left(where), "of a pull that goes on.part"])
    Path(Layout(where.state).blobs, "of a pull that goes on.part").touch()

    with pytest.raises(BadImage):
        load(wrong=image(BASE, layer(file("here")), layer(file("../there"))))

    assert sorted(left(where)) == before


def test_a_kill_at_any_step_of_a_removal_leaves_no_half_of_a_layer(
    load: Callable[..., Where], record_property: Callable[[str, object], None]
) -> None:
    step, killed = 1, True
    while killed:
        where = load(one=ONE, two=TWO)
        killed = is_killed(step, partial(remove, where, ["one", "two"], frozenset))
        load(one=ONE)
        assert files_of(where, "one") == {"a": b"a" * 5000, "b": b"b", "one": b""}
        step += 1
    prune(where, frozenset)
    assert len(left(where)) == 6
    record_property("kills of a removal", step - 2)


def test_what_a_killed_unpacking_left_is_not_in_the_layer(load: Callable[..., Where]) -> None:
    where = load(one=ONE)
    remove(where, ["one"], frozenset)
    (top, *_) = image_of_layers(where)
    Path(f"{top}.new/d").mkdir(parents=True)
    Path(f"{top}.new/d/of a liar").touch()

    load(one=ONE)

    assert "of a liar" not in files_of(where, "one")


def image_of_layers(where: Where) -> list[str]:
    """Where the layers of ONE belong."""
    diff_ids = json.loads(ONE.blobs[ONE.id])["rootfs"]["diff_ids"]
    return [Layout(where.state).layer(diff_id) for diff_id in diff_ids]


def test_an_image_goes_with_its_last_name_and_shared_layers_with_their_last_image(
    load: Callable[..., Where],
) -> None:
    where = load(one=ONE, two=TWO)
    tag(where, "one", "again")

    assert remove(where, ["one"], frozenset).deleted == ()
    assert remove(where, ["again"], frozenset).deleted == (ONE.id,)
    assert files_of(where, "two") == {"a": b"a" * 5000, "b": b"b", "two": b""}
    assert remove(where, [TWO.id[7:19]], frozenset).untagged == ("two:latest",)
    assert left(where) == []


def test_an_image_that_is_used_stays(load: Callable[..., Where]) -> None:
    where = load(one=ONE)

    with pytest.raises(NetfabError, match="used by a fabric"):
        remove(where, ["one"], lambda: {ONE.id})
    assert prune(where, lambda: {ONE.id}, everything=True).deleted == ()
    assert [line.repository for line in images(where)] == ["one"]


def test_what_is_used_is_asked_when_nobody_can_begin_to_use_an_image(load: Callable[..., Where]) -> None:
    where = load(one=ONE)
    impatient = where._replace(lock_timeout=0.0)

    def used() -> frozenset[str]:
        with pytest.raises(Locked), using(impatient):
            pass
        return frozenset({ONE.id})

    assert prune(where, used, everything=True).deleted == ()
    with pytest.raises(NetfabError, match="used by a fabric"):
        remove(where, ["one"], used)


def test_an_id_with_several_names_is_removed_with_force_only(load: Callable[..., Where]) -> None:
    where = load(one=ONE)
    tag(where, "one", "again")

    with pytest.raises(NetfabError, match="again:latest"):
        remove(where, [ONE.id], frozenset)
    assert remove(where, [ONE.id], frozenset, force=True).deleted == (ONE.id,)


def test_a_name_is_not_given_to_an_image_that_has_just_gone(
    load: Callable[..., Where], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = load(one=ONE)
    real = naming.changing

    @contextmanager
    def after_another(layout: Layout) -> Iterator[Index]:
        with real(layout) as index:
            index.images.clear()
            index.names.clear()
        with real(layout) as index:
            yield index

    monkeypatch.setattr(naming, "changing", after_another)
    with pytest.raises(NetfabError, match="no image one"):
        tag(where, "one", "again")


def test_a_damaged_manifest_is_told_with_its_image(load: Callable[..., Where]) -> None:
    where = load(one=ONE, two=TWO)
    Path(Layout(where.state).blob(ONE.digest)).write_bytes(b"")

    with pytest.raises(NetfabError, match=f"image {ONE.id} can't be read") as told:
        prune(where, frozenset)
    assert "netfab rmi" in told.value.hint
    remove(where, ["one"], frozenset)
    assert files_of(where, "two")


def test_a_name_that_is_given_to_another_image_leaves_the_first_without(load: Callable[..., Where]) -> None:
    where = load(one=ONE)
    load(one=TWO)

    assert sorted((line.repository, line.id) for line in images(where)) == sorted(
        [("", ONE.id), ("one", TWO.id)]
    )
    assert prune(where, frozenset).deleted == (ONE.id,)


def test_nothing_is_removed_while_images_are_brought(load: Callable[..., Where]) -> None:
    where = load(one=ONE)

    with using(where), pytest.raises(Locked):
        prune(where._replace(lock_timeout=0.2), (), everything=True)
    assert files_of(where, "one")


def test_what_waits_for_a_removal_goes_on_after_it(load: Callable[..., Where]) -> None:
    where, waiting = load(one=ONE), threading.Event()
    told = where._replace(waiting=lambda _: waiting.set())
    done: list[object] = []

    with alone(where):
        thread = threading.Thread(target=lambda: done.append(resolve(told, "/var/lib/archive.tar")))
        thread.start()
        assert waiting.wait(20)
        assert done == []
    thread.join()
    assert done


def test_a_lock_of_a_process_that_died_holds_nobody(load: Callable[..., Where]) -> None:
    where = load(one=ONE)
    if (child := os.fork()) == 0:
        fcntl.flock(os.open(Layout(where.state).lock, os.O_RDWR), fcntl.LOCK_SH)
        os._exit(0)
    os.waitpid(child, 0)

    assert prune(where, frozenset, everything=True).deleted == (ONE.id,)


def test_a_full_disk_is_told_and_leaves_no_half(where: Where) -> None:
    large = image(layer(file("a", os.urandom(3 << 20))))
    archive = str(write_docker_archive(Path("/var/lib/archive.tar"), [("large", large)]))
    os.makedirs(where.state)
    linux.mount("tmpfs", where.state, "tmpfs", data="size=4m")

    with pytest.raises(NetfabError, match="No space left on device"):
        load_all(where, archive)

    assert images(where) == []
    assert [name for name in os.listdir(Layout(where.state).layers) if not name.endswith(".new")] == []
    linux.mount("", where.state, flags=linux.MS_REMOUNT, data="size=16m")
    load_all(where, archive)
    assert len(files_of(where, "large")["a"]) == 3 << 20


def test_a_broken_index_is_an_error_that_says_what_to_do(load: Callable[..., Where]) -> None:
    where = load(one=ONE)
    Path(Layout(where.state).index_file).write_text('{"images": 7')

    with pytest.raises(NetfabError, match=r"index\.json can't be read"):
        images(where)


def test_nobody_but_root_looks_into_images(load: Callable[..., Where]) -> None:
    where = load(one=ONE)

    assert os.stat(Layout(where.state).root).st_mode & 0o777 == 0o700
