"""Manifests and configs from strangers."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfab.images.config import BadImage, config_of, diff_ids_of
from netfab.images.manifests import INDEXES, MANIFESTS, Manifest, for_machine, parse

D = f"sha256:{'a' * 64}"
BLOB = {"digest": D, "size": 3, "mediaType": "x"}
GOOD: dict[str, Any] = {"config": BLOB, "layers": [BLOB]}
INDEX: dict[str, Any] = {"manifests": [{**BLOB, "platform": {"architecture": "amd64", "os": "linux"}}]}
WRONG: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "both": {**GOOD, **INDEX},  # CVE-2021-41190
    "an index that says manifest": {**INDEX, "mediaType": MANIFESTS[0]},
    "a manifest that says index": {**GOOD, "mediaType": INDEXES[0]},
    "no config": {"layers": []},
    "layers that are no list": {**GOOD, "layers": {}},
    "a digest that is a path": {**GOOD, "layers": [{**BLOB, "digest": "sha256:../../etc"}]},
    "a digest of another kind": {**GOOD, "layers": [{**BLOB, "digest": "md5:0"}]},
    "a size below nothing": {**GOOD, "layers": [{**BLOB, "size": -1}]},
    "a size that is none": {**GOOD, "layers": [{**BLOB, "size": True}]},
    "a size beyond all": {**GOOD, "layers": [{**BLOB, "size": 1 << 50}]},
    "too many layers": {**GOOD, "layers": [BLOB] * 501},
    "schema 1": {"fsLayers": [], "schemaVersion": 1},
    "an encrypted layer": {**GOOD, "layers": [{**BLOB, "mediaType": "tar+encrypted"}]},
    "a platform that is none": {"manifests": [{**BLOB, "platform": 7}]},
}


@pytest.mark.parametrize("said", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_manifest_is_refused(said: object) -> None:
    with pytest.raises(BadImage):
        parse(json.dumps(said).encode())


def test_a_type_that_differs_from_what_it_came_as_is_refused() -> None:
    with pytest.raises(BadImage):
        parse(json.dumps({**GOOD, "mediaType": MANIFESTS[0]}).encode(), MANIFESTS[1])


def test_a_manifest_without_a_type_is_what_it_came_as() -> None:
    found = parse(json.dumps(GOOD).encode(), MANIFESTS[1])

    assert isinstance(found, Manifest)
    assert found.media_type == MANIFESTS[1]


def test_an_index_without_this_machines_image_says_which_it_has() -> None:
    choices = parse(json.dumps(INDEX).encode())

    assert not isinstance(choices, Manifest)
    assert for_machine(choices, "x86_64").digest == D
    with pytest.raises(BadImage, match=r"not for linux/arm64, but for linux/amd64"):
        for_machine(choices, "aarch64")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just(D),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([
            "manifests", "layers", "config", "digest", "size", "mediaType", "platform", "annotations", "os",
            "rootfs", "diff_ids", "Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels",
        ]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANY, st.dictionaries(st.sampled_from(["config", "rootfs"]), ANY))
def test_nothing_that_anybody_sends_is_more_than_an_error(manifest: object, config: dict[str, Any]) -> None:
    with suppress(BadImage):
        parse(json.dumps(manifest).encode())
    with suppress(BadImage):
        config_of(config)
    with suppress(BadImage):
        diff_ids_of(config)


def test_an_entrypoint_of_one_empty_word_is_none() -> None:
    assert config_of({"config": {"Entrypoint": [""], "Cmd": ["sh"]}}).argv == ("sh",)
