"""What a container is: stored and read back, its capabilities, its restart policy."""

from __future__ import annotations

import json

import pytest

from netfab.errors import NetfabError
from netfab.runtime.spec import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    File,
    Mount,
    Restart,
    Spec,
    capabilities_of,
)

FULL = Spec(
    "shop",
    "web",
    ("python3", "-m", "http.server"),
    env=(("A", "1"),),
    user="www-data",
    mounts=(Mount("/a", "/b", True),),
    cap_add=("NET_ADMIN",),
    memory=64 << 20,
    cpus=0.5,
    restart="on-failure:3",
    files=(File("/etc/a", "x\n", 0o600, "root"),),
    exec=(("ip", "route"),),
)


def test_a_spec_reads_back_as_it_was_written() -> None:
    assert Spec.from_json(FULL.to_json()) == FULL


def test_fields_that_an_older_version_did_not_write_have_their_defaults() -> None:
    fields = json.loads(FULL.to_json())
    del fields["cpus"]

    assert Spec.from_json(json.dumps(fields)) == FULL._replace(cpus=None)


def test_fields_that_only_a_newer_version_knows_are_left_out() -> None:
    assert Spec.from_json(json.dumps(json.loads(FULL.to_json()) | {"colour": "blue"})) == FULL


@pytest.mark.parametrize(
    ("change", "needs_no_new_process"),
    [({"memory": 1}, True), ({"cpus": 2.0}, True), ({"pids": 9}, True), ({"restart": "always"}, True),
     ({"env": ()}, False), ({"argv": ("true",)}, False), ({"mounts": ()}, False)],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)  # fmt: skip
def test_limits_and_restart_policy_need_no_new_process(
    change: dict[str, object], needs_no_new_process: bool
) -> None:
    assert (FULL._replace(**change).changeable == FULL.changeable) == needs_no_new_process


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), DEFAULT_CAPABILITIES),
        (("CAP_NET_ADMIN",), (), DEFAULT_CAPABILITIES | {"NET_ADMIN"}),
        (("net_admin",), ("chown",), DEFAULT_CAPABILITIES - {"CHOWN"} | {"NET_ADMIN"}),
        (("ALL",), (), frozenset(CAPABILITIES)),
        (("ALL",), ("SYS_ADMIN",), frozenset(CAPABILITIES) - {"SYS_ADMIN"}),
        ((), ("ALL",), frozenset()),
        (("KILL",), ("ALL",), frozenset({"KILL"})),
    ],
)
def test_capabilities_are_the_defaults_with_adds_and_without_drops(
    add: tuple[str, ...], drop: tuple[str, ...], expected: frozenset[str]
) -> None:
    assert capabilities_of(FULL._replace(cap_add=add, cap_drop=drop)) == expected


def test_a_capability_that_isnt_one_is_refused() -> None:
    with pytest.raises(NetfabError, match="no capability FLY"):
        capabilities_of(FULL._replace(cap_add=("FLY",)))


def test_docker_gives_no_less_but_for_mknod() -> None:
    assert "MKNOD" not in DEFAULT_CAPABILITIES
    assert len(DEFAULT_CAPABILITIES) == 13


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "again"),
    [
        ("no", 1, 0, False),
        ("always", 0, 99, True),
        ("unless-stopped", 0, 99, True),
        ("on-failure", 0, 0, False),
        ("on-failure", 1, 99, True),
        ("on-failure", None, 0, True),  # unknown is not a success
        ("on-failure:2", 1, 1, True),
        ("on-failure:2", 1, 2, False),
    ],
)
def test_a_policy_decides_by_exit_code_and_count(
    policy: str, code: int | None, restarts: int, again: bool
) -> None:
    assert Restart.parse(policy).wants(code, restarts) == again


@pytest.mark.parametrize("text", ["", "never", "always:3", "on-failure:x"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Restart.parse(text)
