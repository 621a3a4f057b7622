"""`netfab run` beside commands that remove: images while it makes a container, or the one that has ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_images import file, image, layer, write_docker_archive

from netfab.cli.main import cli
from netfab.images.loading import load_all
from netfab.images.locks import alone_at_once
from netfab.imperative import containers
from netfab.nodes.by_name import NoSuchNode
from netfab.runtime import foreground
from netfab.where import Where


def exit_code_of(*words: str) -> Any:
    """Of `netfab run` with these words, in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", *words], standalone_mode=False, obj={"stdout": SimpleNamespace(diverts=False)})
    return ended.value.code


@pytest.fixture
def made(where: Where, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what is done in place of making and of removing a container, whose program ends with 3."""
    monkeypatch.setattr(foreground, "look_at", lambda *_: SimpleNamespace(exit_code=3, oom=False))
    monkeypatch.setattr(foreground, "minding", lambda *_: nullcontext())

    def by(run: Callable[..., str], remove: Callable[..., None]) -> None:
        monkeypatch.setattr(containers, "run", run)
        monkeypatch.setattr(containers, "remove", remove)

    return by


def test_a_container_that_a_prune_has_removed_was_to_go_anyway(made: Callable[..., None]) -> None:
    def is_gone(*_: object) -> None:
        raise NoSuchNode("there is no node a")

    made(lambda *_: "a", is_gone)

    assert exit_code_of("--rm", "host", "true") == 3


def test_no_image_is_removed_between_its_pull_and_its_container(
    where: Where, made: Callable[..., None]
) -> None:
    load_all(where, str(write_docker_archive(Path("/var/lib/a.tar"), [("a:1", image(layer(file("a"))))])))
    alone = []

    def run(*_: object) -> str:
        with alone_at_once(where) as layout:
            alone.append(layout)
        return "a"

    made(run, lambda *_: None)
    exit_code_of("--rm", "a:1", "true")

    assert alone == [None]
