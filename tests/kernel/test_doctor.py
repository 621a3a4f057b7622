"""`doctor`: what a process may do, and what the kernel has, is tried and not read off a version."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable

import pytest

from netfab.errors import NetfabError
from netfab.kernel import features
from netfab.kernel.features import Feature
from netfab.kernel.rights import NEEDED, is_filtered, lacking, set_a_filter
from netfab.system import process
from netfab.system.calls import at_once


def examined(before: Callable[[], object]) -> tuple[dict[str, Feature], list[str], bool]:
    """What a process finds that has given up some of its rights; which it lacks; and if it is filtered."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before()
            found = {feature.name: feature for feature in features.examine()}
            os.write(writing, pickle.dumps((found, lacking(), is_filtered())))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    answer: tuple[dict[str, Feature], list[str], bool] = pickle.loads(told)
    return answer


def test_capabilities_that_a_container_lacks_are_named_with_what_gives_them() -> None:
    left = sum(1 << bit for name, bit in NEEDED.items() if name not in ("NET_ADMIN", "NET_RAW"))

    found, missing, _ = examined(lambda: at_once(process.set_capabilities, left))

    assert missing == ["NET_ADMIN", "NET_RAW"]
    assert not found["capabilities"].works
    assert "--cap-add NET_ADMIN --cap-add NET_RAW, or --privileged" in found["capabilities"].cure


def test_a_filter_around_netfab_is_seen_and_one_can_be_set_within_it() -> None:
    found, _, filtered = examined(set_a_filter)

    assert filtered
    assert found["seccomp"].works


def test_queueing_disciplines_are_tried() -> None:
    found, missing, _ = examined(lambda: None)

    assert missing == []
    assert found["tbf"].works
    assert found["netem"].works or "modprobe sch_netem" in found["netem"].cure


def test_what_is_not_tried_to_its_end_is_an_error_and_no_empty_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise ValueError("no number")

    monkeypatch.setattr(features, "_try_all", broken)
    with pytest.raises(NetfabError, match="failed: ValueError: no number"):
        features.examine()
