"""Images in files: as other tools write them, and as they read what we give."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import pytest
import zstandard
from certificates import make_authority
from made_images import (
    BUSYBOX,
    SPARSE,
    busybox,
    directory,
    file,
    image,
    layer,
    symlink,
    write_docker_archive,
)
from registries import docker_registry

from netfab.errors import NetfabError
from netfab.images import Image, find, http, resolve, settings
from netfab.images.exchange import pull, push
from netfab.images.loading import import_root, load_all
from netfab.images.naming import images, tag
from netfab.images.registry import search
from netfab.images.settings import Settings
from netfab.system.process import user_namespace_is_initial
from netfab.where import Where

HERE = Path("/var/lib/test")


@pytest.fixture(autouse=True)
def here(sandbox: None) -> None:
    HERE.mkdir()


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=HERE, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def umoci_layout() -> Path:
    """Of two layers; the second one changes, removes and hides."""
    if not user_namespace_is_initial():
        pytest.skip("umoci needs the machine's root")
    run("umoci", "init", "--layout", "layout")
    run("umoci", "new", "--image", "layout:v1")
    run("umoci", "unpack", "--image", "layout:v1", "bundle")
    root = HERE / "bundle/rootfs"
    (root / "bin").mkdir()
    (root / "bin/busybox").write_bytes(BUSYBOX)
    (root / "bin/busybox").chmod(0o755)
    (root / "bin/sh").symlink_to("busybox")
    (root / "old").write_text("old")
    run("umoci", "repack", "--refresh-bundle", "--image", "layout:v1", "bundle")
    (root / "old").unlink()
    (root / "new").write_text("new")
    run("umoci", "repack", "--image", "layout:v2", "bundle")
    run("umoci", "config", "--image", "layout:v2", "--config.cmd", "sh", "--config.env", "A=b")
    return HERE / "layout"


def test_an_oci_layout_of_umoci_is_an_image(where: Where) -> None:
    layout = umoci_layout()

    found = resolve(where, f"oci:{layout}:v2")

    assert (found.config.cmd, found.config.env[-1]) == (("sh",), ("A", "b"))
    top, base = map(Path, found.layers)
    assert (base / "old").read_text() == "old"
    assert (top / "old").is_char_device()
    assert (top / "new").read_text() == "new"


def test_skopeos_archives_and_its_layout_are_the_same_image(where: Where) -> None:
    layout = umoci_layout()
    run("skopeo", "copy", f"oci:{layout}:v2", "docker-archive:docker.tar:test/web:v2")
    run("skopeo", "copy", f"oci:{layout}:v2", "oci-archive:oci.tar:test/web:v2")

    found = [
        resolve(where, word, str(HERE))
        for word in ("oci:layout:v2", "docker-archive:docker.tar", "oci-archive:./oci.tar", "./docker.tar")
    ]

    assert {one.layers for one in found} == {found[0].layers}
    assert [name for _, names in load_all(where, f"{HERE}/docker.tar") for name in names] == ["test/web:v2"]
    assert [name for _, names in load_all(where, f"{HERE}/oci.tar") for name in names] == ["test/web:v2"]


def test_podmans_archive_is_an_image_and_podman_takes_ours(where: Where) -> None:
    if not user_namespace_is_initial():
        pytest.skip("podman needs the machine's root")
    podman = ("podman", "--root", f"{HERE}/p", "--runroot", f"{HERE}/pr", "--storage-driver", "vfs")
    made = write_docker_archive(HERE / "ours.tar", [("localhost/ours:1", busybox(Env=["A=b"]))])

    run(*podman, "load", "-q", "-i", str(made))
    for form in ("docker-archive", "oci-archive"):
        run(*podman, "save", "-q", "--format", form, "-o", f"{form}.tar", "localhost/ours:1")
        found = resolve(where, f"{form}:{HERE}/{form}.tar")
        assert (found.config.cmd, dict(found.config.env)["A"]) == (("sh",), "b")
        assert Path(found.layers[0], "bin/busybox").read_bytes() == BUSYBOX


def test_a_real_registry_keeps_what_we_push_and_skopeo_reads_it_and_the_reverse(where: Where) -> None:
    layout = umoci_layout()
    insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
    with docker_registry(HERE / "registry") as host:
        run("skopeo", "copy", *insecure, f"oci:{layout}:v2", f"docker://{host}/theirs:2")
        theirs = pull(where, f"{host}/theirs:2")
        tag(where, f"{host}/theirs:2", f"{host}/deep/ours:3")
        pushed = push(where, f"{host}/deep/ours:3", lambda blob, there: None)
        run("skopeo", "copy", *insecure, f"docker://{host}/deep/ours:3", "docker-archive:back.tar:back:3")
        repositories = list(search(host, "", Settings()))
        only = list(search(host, "our", Settings()))

    assert pushed.digest == theirs.digest
    assert resolve(where, f"docker-archive:{HERE}/back.tar").layers == theirs.image.layers
    assert (repositories, only) == (["deep/ours", "theirs"], ["deep/ours"])


def test_a_registry_is_trusted_by_the_certificates_that_docker_has_for_it(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "192.0.2.1"  # not on loopback, where nobody has to vouch for anything
    run("ip", "address", "add", address, "dev", "lo")
    made = make_authority(HERE, address)
    trusted = HERE / f"certs.d/{address}:5000"
    trusted.mkdir(parents=True)
    for module in (settings, http):
        monkeypatch.setattr(module, "CERTIFICATES", (str(trusted.parent),))
    load_all(where, str(write_docker_archive(HERE / "a.tar", [("a", image(layer(file("a"))))])))
    tag(where, "a", f"{address}:5000/a")

    def pushed() -> str:
        try:
            return push(where, f"{address}:5000/a", lambda blob, there: None).digest
        except NetfabError as error:
            return f"{error.message}; {error.hint}"

    with docker_registry(HERE / "registry", address=address, authority=made):
        told = [pushed()]
        for wrong in ("other.pem", "ca.pem", "server.key"):
            (trusted / "ca.crt").write_bytes((made / wrong).read_bytes())
            told.append(pushed())
        for name, right in (
            ("ca.crt", "ca.pem"),
            ("client.cert", "client.pem"),
            ("client.key", "client.key"),
        ):
            (trusted / name).write_bytes((made / right).read_bytes())
        digest = pushed()
        pulled = pull(where, f"{address}:5000/a")

    unknown = f"certificate; {trusted}/ca.crt may be the certificate of who vouches for it"
    assert [text.endswith(unknown) for text in told[:2]] == [True, True]
    assert f"it wants to see who we are: {trusted}/client.cert and client.key" in told[2]
    assert f"{trusted}/ca.crt can't be used: no certificate" in told[3]
    assert "_ssl.c" not in "".join(told)
    assert pulled.digest == digest


def test_a_catalog_of_several_pages_is_read_to_its_end(where: Where) -> None:
    made = write_docker_archive(HERE / "a.tar", [("a", image(layer(file("a"))))])
    load_all(where, str(made))
    with docker_registry(HERE / "registry") as host:
        for number in range(4):
            tag(where, "a", f"{host}/n{number}:1")
            push(where, f"{host}/n{number}:1", lambda blob, there: None)

        assert list(search(host, "", Settings(), page=3)) == ["n0", "n1", "n2", "n3"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_the_tar_of_a_root_is_an_image_of_one_layer(where: Where, pack: object) -> None:
    assert callable(pack)
    (HERE / "root.tar").write_bytes(pack(layer(directory("d"), file("d/a", b"x"))))

    found = resolve(where, "./root.tar", str(HERE))
    again = import_root(where, f"{HERE}/root.tar", "rooty", {"Cmd": ["sh"], "Env": ["A=b"]})

    assert Path(found.layers[0], "d/a").read_bytes() == b"x"
    named = find(where, "rooty")
    assert named is not None
    assert (named.digest, named.layers, named.config.argv) == (again, found.layers, ("sh",))


def test_a_file_that_did_not_change_is_not_read_again_and_one_that_did_is(where: Where) -> None:
    path = HERE / "root.tar"
    path.write_bytes(layer(file("a", b"1")))
    first = resolve(where, str(path))

    assert find(where, str(path)) == first
    path.write_bytes(layer(file("a", b"22")))
    assert find(where, str(path)) is None
    assert resolve(where, str(path)) != first


def test_a_directory_is_taken_as_it_is(where: Where) -> None:
    assert resolve(where, str(HERE)) == Image(str(HERE), (str(HERE),))


def test_an_archive_of_several_images_wants_to_be_told_which(where: Where) -> None:
    one, two = image(layer(file("one"))), image(layer(file("two")))
    path = write_docker_archive(HERE / "both.tar", [("a/one:1", one), ("a/two:1", two)])

    with pytest.raises(NetfabError) as refused:
        resolve(where, f"docker-archive:{path}")
    assert "a/one:1, a/two:1" in refused.value.hint
    assert resolve(where, f"docker-archive:{path}:a/two:1").digest == two.id


def test_layers_that_an_old_docker_saved_as_links_are_found(where: Where) -> None:
    made = image(layer(file("a", b"x")), compressed=False)
    (blob,) = [digest for digest in made.blobs if digest != made.id]
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": ["x/layer.tar"]}]
    (HERE / "old.tar").write_bytes(
        layer(
            file("y/layer.tar", made.blobs[blob]),
            symlink("x/layer.tar", "../y/layer.tar"),
            file("c.json", made.blobs[made.id]),
            file("manifest.json", json.dumps(manifest).encode()),
        )
    )

    ((loaded, names),) = load_all(where, f"{HERE}/old.tar")

    assert (loaded, names) == (made.id, [])
    assert [line.id for line in images(where)] == [made.id]


def test_layers_that_are_equal_and_have_names_of_their_own_are_found(where: Where) -> None:
    made = image(layer(file("a", b"x")), layer(file("a", b"x")), compressed=False)
    (blob,) = [digest for digest in made.blobs if digest != made.id]
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": ["x/layer.tar", "y/layer.tar"]}]
    (HERE / "twice.tar").write_bytes(
        layer(
            file("x/layer.tar", made.blobs[blob]),
            file("y/layer.tar", made.blobs[blob]),
            file("c.json", made.blobs[made.id]),
            file("manifest.json", json.dumps(manifest).encode()),
        )
    )

    assert load_all(where, f"{HERE}/twice.tar") == [(made.id, [])]


def test_a_name_that_is_none_here_is_told_and_the_image_loaded_by_its_others(
    where: Where, said: list[str]
) -> None:
    made = image(layer(file("a")))
    write_docker_archive(HERE / "a.tar", [("Shop/Web", made), ("web", made)])

    loaded = load_all(where, f"{HERE}/a.tar")

    assert loaded == [(made.id, []), (made.id, ["web:latest"])]
    assert ["`Shop/Web:latest`" in line and "left out" in line for line in said] == [True]


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_a_layout_whose_files_have_no_end_is_not_read(where: Where, kind: str) -> None:
    (HERE / "oci-layout").write_text("{}")
    if kind == "a pipe":
        os.mkfifo(HERE / "index.json")
    else:
        (HERE / "index.json").symlink_to("/dev/zero")

    with pytest.raises(NetfabError, match=r"has no index\.json"):
        load_all(where, str(HERE))


WRONG_ARCHIVES = {
    "nothing": b"",
    "no tar": b"x" * 3000,
    "no config": layer(file("manifest.json", b'[{"Layers": []}]')),
    "no list": layer(file("manifest.json", b"{}")),
    "no JSON": layer(file("manifest.json", b"[" * 100_000)),
    "a config elsewhere": layer(
        file("manifest.json", b'[{"Config": "../../etc/passwd", "RepoTags": [], "Layers": []}]')
    ),
    "links in a circle": layer(
        symlink("a", "b"),
        symlink("b", "a"),
        file("manifest.json", b'[{"Config": "a", "RepoTags": [], "Layers": []}]'),
    ),
    "no layers": layer(
        file("c", b"{}"), file("manifest.json", b'[{"Config": "c", "RepoTags": [], "Layers": []}]')
    ),
    "a sparse file without a map": layer(file("a", b"x", pax_headers=SPARSE)),
    "no layout": layer(file("oci-layout", b"{}"), file("index.json", b"[]")),
    "no blob": layer(
        file("oci-layout", b"{}"),
        file("index.json", json.dumps({"manifests": [{"digest": f"sha256:{'0' * 64}", "size": 3}]}).encode()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("data", WRONG_ARCHIVES.values(), ids=WRONG_ARCHIVES.keys())
def test_what_is_no_archive_is_an_error_that_names_it(where: Where, data: bytes) -> None:
    (HERE / "x.tar").write_bytes(data)

    with pytest.raises(NetfabError) as refused:
        load_all(where, f"{HERE}/x.tar")

    assert f"{HERE}/x.tar" in str(refused.value)
    assert images(where) == []


def test_a_pipe_and_a_device_are_no_archives(where: Where) -> None:
    os.mkfifo(HERE / "pipe")

    for path in (str(HERE / "pipe"), "/dev/zero"):
        for read in (lambda path: load_all(where, path), lambda path: resolve(where, path)):
            with pytest.raises(NetfabError, match="not a regular file"):
                read(path)
