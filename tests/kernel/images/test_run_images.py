"""Containers whose root is an image's layers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import EINVAL
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from containers import Containers
from made_images import Made, directory, file, image, layer, symlink, write_docker_archive

from netfab.images.loading import load_all
from netfab.runtime import client, rootfs
from netfab.runtime.layers import Part
from netfab.system.calls import Calls, Register
from netfab.system.process import user_namespace_is_initial
from netfab.where import Where


@pytest.fixture
def containers(where: Where) -> Iterator[Containers]:
    made = Containers(Path("/var/lib/t"))
    yield made
    made.close()


def load(containers: Containers, made: Made) -> str:
    archive = write_docker_archive(Path("/var/lib/archive.tar"), [("a:1", made)])
    load_all(Where(state=containers.paths.state), str(archive))
    return made.id


SHELL = layer(
    directory("bin"),
    file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755),
    *(symlink(f"bin/{name}", "busybox") for name in ("sh", "cat", "ls", "wc")),
    directory("d"),
    file("d/below", b"below"),
    directory("hidden"),
    file("hidden/below"),
    file("gone"),
)
ABOVE = layer(file("d/above", b"above"), directory("hidden"), file("hidden/.wh..wh..opq"), file(".wh.gone"))


def test_layers_lie_one_above_the_other_with_what_they_hide(containers: Containers) -> None:
    made = load(containers, image(SHELL, ABOVE))

    text = containers.shell("echo $(cat /d/below /d/above) $(ls /hidden); ls /gone 2>&1 || true", image=made)

    assert text == "belowabove\nls: /gone: No such file or directory\n"


def test_a_layer_that_an_image_has_twice_is_mounted_once_where_it_is_topmost(containers: Containers) -> None:
    again = layer(file("a", b"again"))
    made = load(containers, image(SHELL, again, layer(file(".wh.a")), again, again))

    assert containers.shell("cat /a", image=made) == "again\n"


def test_three_hundred_layers_are_one_root(containers: Containers) -> None:
    layers = [layer(file(f"n{index}", str(index).encode())) for index in range(299)]
    made = load(containers, image(SHELL, *layers))

    assert containers.shell("echo $(cat /n0 /n298) $(ls -d /n* | wc -l)", image=made) == "0298 299\n"


def test_a_kernel_that_does_not_take_layers_one_by_one_takes_them_together(
    sandbox: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        Path(f"/var/lib/l{number}").mkdir()
        Path(f"/var/lib/l{number}/n{number}").touch()
    for name in ("root", "p", "p/upper", "p/work"):
        Path(f"/var/lib/{name}").mkdir()
    part = Part(tuple(f"/var/lib/l{number}" for number in range(40)), "")
    layers: Any = SimpleNamespace(root="/var/lib/root", initial_user_namespace=user_namespace_is_initial())
    new_mount = rootfs.new_mount

    def of_old(calls: Calls, fstype: str, attributes: int, options: rootfs.Options) -> Register:
        if any(key == "lowerdir+" for key, _ in options):
            raise OSError(EINVAL, "unknown option")
        return new_mount(calls, fstype, attributes, options)

    monkeypatch.setattr(rootfs, "new_mount", of_old)
    memory = Calls()
    mount = rootfs._overlay_now(part, layers, rootfs.Scratch(memory.text("/var/lib/p"), range(0)))

    assert len(os.listdir(f"/proc/self/fd/{mount}")) == 40
    assert os.listdir("/var/lib/root") == []
    os.close(mount)


def test_a_signal_of_the_image_ends_its_program(containers: Containers) -> None:
    made = load(containers, image(SHELL))
    script = "trap 'echo asked; exit 3' QUIT; echo up; while :; do sleep 0.05; done"

    containers.start("sh", "-c", script, image=made, stop_signal="SIGQUIT")
    containers.says("up")
    client.stop(containers.paths, ["web"], timeout=60)

    assert (containers.status("web").exit_code, containers.output()) == (3, "up\nasked\n")


def test_an_image_that_is_not_here_is_an_error(containers: Containers) -> None:
    with pytest.raises(Exception, match="No such file"):
        containers.start("sh", image=f"sha256:{'0' * 64}")
