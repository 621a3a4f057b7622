"""Words for images, as Docker's and podman's users write them."""

from __future__ import annotations

import pytest

from netfab.topology.grammar import Wrong
from netfab.topology.image import Reference, Source, reference, source

D = f"sha256:{'0' * 63}1"


@pytest.mark.parametrize(
    ("text", "meant", "canonical"),
    [
        ("alpine", Reference("docker.io", "library/alpine", "latest"), "alpine:latest"),
        ("a/b:3.20", Reference("docker.io", "a/b", "3.20"), "a/b:3.20"),
        ("docker.io/library/alpine", Reference("docker.io", "library/alpine", "latest"), "alpine:latest"),
        ("index.docker.io/alpine", Reference("docker.io", "library/alpine", "latest"), "alpine:latest"),
        ("ghcr.io/o/i", Reference("ghcr.io", "o/i", "latest"), "ghcr.io/o/i:latest"),
        ("localhost:5000/i:1", Reference("localhost:5000", "i", "1"), "localhost:5000/i:1"),
        ("localhost/i", Reference("localhost", "i", "latest"), "localhost/i:latest"),
        ("[::1]:5000/i", Reference("[::1]:5000", "i", "latest"), "[::1]:5000/i:latest"),
        (f"alpine@{D}", Reference("docker.io", "library/alpine", "", D), f"alpine@{D}"),
        (f"h.x/a:1@{D}", Reference("h.x", "a", "1", D), f"h.x/a:1@{D}"),
        ("a__b/c---d/e.f_g", Reference("docker.io", "a__b/c---d/e.f_g", "latest"), "a__b/c---d/e.f_g:latest"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text: str, meant: Reference, canonical: str) -> None:
    assert reference(text) == meant
    assert str(meant) == canonical
    assert reference(canonical) == meant


@pytest.mark.parametrize(
    "text",
    ["", "A", "a b", "a//b", "/a", "a/", "a:", ":1", "a:1:2", "a@", "a@sha256:1", "-a.x/b", "a..b", "a___b",
     "h.x:port/a", "../a", "a\n", "x" * 256, f"a:{'t' * 129}", "h.x/"],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        reference(text)


@pytest.mark.parametrize(
    ("text", "meant", "canonical"),
    [
        ("host", Source("host", "host"), "host"),
        ("./r", Source("path", "/d/r"), "/d/r"),
        ("/r/../a b", Source("path", "/a b"), "/a b"),
        ("docker-archive:x.tar", Source("docker-archive", "/d/x.tar"), "docker-archive:/d/x.tar"),
        (
            "oci-archive:/x.tar:a/b:1",
            Source("oci-archive", "/x.tar", "a/b:1"),
            "oci-archive:/x.tar:a/b:1",
        ),
        ("oci:../l:v1", Source("oci", "/l", "v1"), "oci:/l:v1"),
        (D, Source("id", D), D),
    ],
)
def test_a_word_says_where_an_image_comes_from(text: str, meant: Source, canonical: str) -> None:
    assert source(text, "/d") == meant
    assert str(meant) == canonical
    assert source(canonical, "/elsewhere") == meant
