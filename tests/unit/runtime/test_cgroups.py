"""Which cgroup leaves a container needs, by what the machine mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfab.errors import Unsupported
from netfab.runtime import cgroups
from netfab.runtime.cgroups import Hierarchies, find_hierarchies, leaves_of, limits_of, mounts_of
from netfab.runtime.paths import Paths
from netfab.runtime.spec import Spec

PLAIN = Spec("shop", "web", ("true",))
LIMITED = PLAIN._replace(memory=64 << 20, cpus=1.5, pids=10)
V1 = {"memory": ("/cg/memory", "memory"), "cpu": ("/cg/cpu", "cpu"), "pids": ("/cg/pids", "pids")}
ALL = frozenset(("memory", "cpu", "pids"))


def paths_of(spec: Spec, hierarchies: Hierarchies) -> list[str]:
    return [leaf.path for leaf in leaves_of(spec, hierarchies)]


def test_on_v2_every_container_has_one_leaf() -> None:
    v2 = Hierarchies("g", {}, "/cg", ALL)

    assert paths_of(PLAIN, v2) == paths_of(LIMITED, v2) == ["/cg/netfab/g/web"]


def test_on_v1_only_limits_that_were_asked_for_have_leaves() -> None:
    v1 = Hierarchies("g", V1, None, frozenset())

    assert paths_of(PLAIN, v1) == []
    assert paths_of(PLAIN._replace(pids=5), v1) == ["/cg/pids/netfab/g/web"]


def test_on_a_hybrid_there_is_a_v2_leaf_besides() -> None:
    hybrid = Hierarchies("g", V1, "/cg/unified", frozenset())

    assert paths_of(PLAIN, hybrid) == ["/cg/unified/netfab/g/web"]
    assert paths_of(PLAIN._replace(pids=5), hybrid) == ["/cg/unified/netfab/g/web", "/cg/pids/netfab/g/web"]


def test_a_limit_that_nothing_here_can_keep_is_refused_by_name() -> None:
    words = "web: no writable cgroup hierarchy here can keep its memory and cpu limit"
    with pytest.raises(Unsupported, match=words):
        leaves_of(LIMITED, Hierarchies("g", {}, "/cg", frozenset(("pids",))))


@pytest.mark.parametrize(
    ("kernel", "v2", "hint"),
    [
        ("pids 0 1 1", "/cg", "this kernel has no memory controller"),
        ("memory 0 1 0", "/cg", "is switched off: boot with cgroup_enable=memory"),
        (
            "memory 4 1 1",
            "/cg",
            "a hierarchy of version 1 has the memory controller, and we can't write there",
        ),
        ("memory 0 1 1", "/cg", "/cg/cgroup.controllers does not name memory"),
        ("memory 0 1 1", None, "mount -t cgroup2 none /sys/fs/cgroup"),
    ],
)
def test_why_a_limit_can_not_be_kept_is_told(
    monkeypatch: pytest.MonkeyPatch, kernel: str, v2: str | None, hint: str
) -> None:
    listed = f"#subsys_name hierarchy num_cgroups enabled\n{kernel}\n"
    monkeypatch.setattr(cgroups, "_read", {"/proc/cgroups": listed}.__getitem__)

    with pytest.raises(Unsupported) as refused:
        leaves_of(LIMITED, Hierarchies("g", {}, v2, frozenset()))

    assert hint in refused.value.hint


def test_limits_are_written_as_the_kernel_reads_them() -> None:
    assert limits_of(LIMITED) == {"memory": "67108864", "cpu": "150000 100000", "pids": "10"}


@pytest.mark.parametrize(
    ("spec", "hierarchies", "shown"),
    [
        (PLAIN, Hierarchies("g", {}, "/cg", ALL), (("cgroup2", ""),)),
        (PLAIN, Hierarchies("g", V1, "/cg/unified", frozenset()), ()),
        (
            PLAIN._replace(pids=5),
            Hierarchies("g", V1, "/cg/u", frozenset()),
            (("cgroup2", ""), ("cgroup", "pids")),
        ),
    ],
    ids=["v2", "hybrid without limits", "hybrid with a limit"],
)
def test_a_container_sees_the_hierarchies_of_its_leaves(
    spec: Spec, hierarchies: Hierarchies, shown: tuple[tuple[str, str], ...]
) -> None:
    assert mounts_of(leaves_of(spec, hierarchies), hierarchies) == shown


def test_each_controller_is_found_where_it_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for name in ("unified", "memory", "cpu,cpuacct"):
        (tmp_path / name).mkdir()
    (tmp_path / "unified/cgroup.controllers").write_text("pids\n")
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        f"41 31 0:38 / {tmp_path}/unified rw,relatime shared:1 - cgroup2 cgroup2 rw\n"
        f"35 31 0:32 / {tmp_path}/memory rw,relatime - cgroup cgroup rw,memory\n"
        f"36 31 0:33 / {tmp_path}/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
        f"40 31 0:37 / {tmp_path}/absent rw,relatime - cgroup cgroup rw,pids\n"
    )

    found = find_hierarchies(Paths("shop", run=str(tmp_path)), str(mountinfo))

    assert found.v1 == {
        "memory": (f"{tmp_path}/memory", "memory"),
        "cpu": (f"{tmp_path}/cpu,cpuacct", "cpu,cpuacct"),
    }
    assert (found.v2, found.v2_controllers) == (f"{tmp_path}/unified", {"pids"})
