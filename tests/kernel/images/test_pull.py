"""Images pulled from registries that work, and from such that don't."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from made_images import BUSYBOX, Made, busybox, file, image, layer
from registries import Registry, Request, wants_login, wants_token

from netfab.errors import NetfabError
from netfab.images import exchange, find, http, resolve
from netfab.images.blobs import digest_of
from netfab.images.exchange import pull
from netfab.images.layout import Layout
from netfab.images.naming import images
from netfab.images.removal import remove
from netfab.images.settings import Settings
from netfab.where import Where

Registries = Callable[..., Registry]
SMALL = image(layer(file("a", b"small")), Cmd=["a"])
LARGE = image(layer(file("a", os.urandom(3 << 20))), compressed=False)


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the mirrors of docker.io."""

    def set_to(*urls: str) -> None:
        monkeypatch.setattr(exchange, "settings", lambda: Settings(mirrors=urls))

    return set_to


def content(where: Where, name: str) -> bytes:
    found = find(where, name)
    assert found is not None
    return Path(found.layers[0], "a").read_bytes()


def nothing_is_here(where: Where) -> bool:
    layout = Layout(where.state)
    return images(where) == [] and os.listdir(layout.layers) == []


def test_what_was_pulled_is_here_by_tag_and_digest(where: Where, registry: Registries) -> None:
    there = registry(v1=SMALL)

    pulled = pull(where, f"{there.host}/a:v1")

    assert (pulled.digest, pulled.image.digest, pulled.new) == (SMALL.digest, SMALL.id, True)
    for name in (f"{there.host}/a:v1", f"{there.host}/a@{SMALL.digest}", SMALL.id, SMALL.id[7:19]):
        assert find(where, name) == pulled.image
    assert content(where, SMALL.id) == b"small"


def test_a_name_with_tag_and_digest_is_removed_by_the_digest(where: Where, registry: Registries) -> None:
    there = registry(v1=SMALL)
    name = f"{there.host}/a:v1@{SMALL.digest}"
    pull(where, f"{there.host}/a:v1")

    assert remove(where, [name], frozenset).untagged == (f"{there.host}/a@{SMALL.digest}",)
    assert find(where, f"{there.host}/a:v1")


def test_what_is_here_is_not_asked_for_again(where: Where, registry: Registries) -> None:
    there = registry(v1=SMALL)
    pull(where, f"{there.host}/a:v1")
    there.asked.clear()

    assert not pull(where, f"{there.host}/a:v1").new
    assert [path for path, _ in there.asked] == ["/v2/a/manifests/v1"]
    there.asked.clear()
    resolve(where, f"{there.host}/a:v1")
    assert there.asked == []


def test_layers_that_images_share_are_pulled_once(where: Where, registry: Registries) -> None:
    base, top = layer(file("a", b"base")), layer(file("b", b"top"))
    there = registry(one=image(base), two=image(base, top))

    pull(where, f"{there.host}/a:one")
    found = pull(where, f"{there.host}/a:two").image

    assert len(there.asked_for("/blobs/")) == 4  # two configs, two layers
    assert [os.listdir(path) for path in found.layers] == [["b"], ["a"]]


def test_of_an_index_this_machines_image_is_taken(where: Where, registry: Registries) -> None:
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    other = image(layer(file("a", b"other")))
    entries = [
        {"digest": one.digest, "size": len(one.manifest), "platform": {"os": system, "architecture": machine}}
        for one, system, machine in [
            (other, "linux", "s390x"),
            (other, "windows", here),
            (SMALL, "linux", here),
        ]
    ]
    text = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    there = registry(SMALL, other)
    there.manifests["v1"] = text, "application/vnd.oci.image.index.v1+json"

    pulled = pull(where, f"{there.host}/a:v1")

    assert (pulled.image.digest, pulled.digest) == (SMALL.id, digest_of(text))


def test_an_interrupted_pull_goes_on_where_it_stopped(where: Where, registry: Registries) -> None:
    there = registry(v1=LARGE)
    (blob,) = [digest for digest, data in LARGE.blobs.items() if len(data) > 1 << 20]
    half = LARGE.blobs[blob][: 1 << 20]

    def stop(request: Request) -> bool:
        return (
            "/blobs/" in request.path
            and not request.headers.get("Range")
            and blob in request.path
            and (request.answer(200, half, length=3 << 20))
        )

    def refuse(request: Request) -> bool:
        return blob in request.path and bool(request.headers.get("Range")) and request.answer(503, b"")

    there.rules = [stop, refuse]
    with pytest.raises(NetfabError, match="503"):
        pull(where, f"{there.host}/a:v1")
    assert nothing_is_here(where)

    there.rules = []
    there.asked.clear()
    pull(where, f"{there.host}/a:v1")

    assert [headers["Range"] for headers in there.asked_for(blob)] == [f"bytes={len(half)}-"]


def test_a_connection_that_breaks_is_made_again(where: Where, registry: Registries) -> None:
    there = registry(v1=LARGE)
    (blob,) = [digest for digest, data in LARGE.blobs.items() if len(data) > 1 << 20]

    def drop(request: Request) -> bool:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        if blob not in request.path or start > 2 << 20:
            return False
        data = LARGE.blobs[blob]
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        part = data[start : start + (1 << 20)]
        return request.answer(206 if start else 200, part, headers, length=len(data) - start)

    there.rules = [drop]
    pull(where, f"{there.host}/a:v1")

    assert len(there.asked_for(blob)) == 4
    assert content(where, LARGE.id) == content(where, f"{there.host}/a:v1")


@pytest.mark.parametrize("breaks", ["before", "in the middle"])
def test_a_manifest_is_asked_for_again_when_the_connection_breaks(
    where: Where, registry: Registries, breaks: str
) -> None:
    there = registry(v1=SMALL)

    def drop(request: Request) -> bool:
        if len(there.asked_for("/manifests/")) > 2:
            return False
        request.close_connection = True
        return breaks == "before" or request.answer(200, SMALL.manifest[:9], length=len(SMALL.manifest))

    there.rules = [drop]
    pull(where, f"{there.host}/a:v1")

    assert len(there.asked_for("/manifests/")) == 3


def test_a_rest_that_is_not_the_rest_is_not_put_together(where: Where, registry: Registries) -> None:
    there = registry(v1=LARGE)
    (blob,) = [digest for digest, data in LARGE.blobs.items() if len(data) > 1 << 20]
    there.rules = [
        lambda request: (
            blob in request.path
            and not request.headers.get("Range")
            and len(there.asked_for(blob)) == 1
            and request.answer(200, LARGE.blobs[blob][: 1 << 20], length=3 << 20)
        ),
        lambda request: bool(request.headers.get("Range")) and request.answer(200, LARGE.blobs[blob]),
    ]

    pull(where, f"{there.host}/a:v1")

    assert content(where, LARGE.id)


def registry_of(request: Request) -> Registry:
    found: Registry = cast("Any", request.server).registry
    return found


def lies(request: Request) -> bool:
    """Something else, of the same size."""
    registry = registry_of(request)
    wanted = request.path.rpartition("/")[2]
    return wanted in registry.blobs and request.answer(200, b"x" * len(registry.blobs[wanted]))


def endless(request: Request) -> bool:
    """10 GB, in pieces."""
    if "/v2/" not in request.path:
        return False
    request.answer(200, b"", length=10 << 30)
    for _ in range(10 << 10):
        request.wfile.write(bytes(1 << 20))
    return True


def endless_blobs(request: Request) -> bool:
    return "/blobs/" in request.path and endless(request)


def truncates(request: Request) -> bool:
    """A third of it, with the right length."""
    registry = registry_of(request)
    data = registry.blobs.get(request.path.rpartition("/")[2])
    return data is not None and request.answer(200, data[: len(data) // 3])


def is_broken(request: Request) -> bool:
    return request.answer(500, b"<html>no</html>")


def talks_nonsense(request: Request) -> bool:
    return "/manifests/" in request.path and request.answer(200, b'{"layers": 7}')


def redirects_to_no_url(request: Request) -> bool:
    return request.answer(302, b"", {"Location": "http://[::1"})


def logs_in_at_no_url(request: Request) -> bool:
    return request.answer(401, b"", {"WWW-Authenticate": 'Bearer realm="http://[bad",service="x"'})


WRONG = [
    lies,
    endless,
    endless_blobs,
    truncates,
    is_broken,
    talks_nonsense,
    redirects_to_no_url,
    logs_in_at_no_url,
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused_and_leaves_no_layer(
    where: Where, registry: Registries, wrong: Callable[[Request], bool]
) -> None:
    there = registry(v1=SMALL)
    there.rules = [wrong]

    with pytest.raises(NetfabError) as refused:
        pull(where, f"{there.host}/a:v1")

    assert str(refused.value).startswith(f"{there.host}/a:v1: ")
    assert nothing_is_here(where)


def test_an_answer_that_breaks_off_is_told_as_that(where: Where, registry: Registries) -> None:
    there = registry(v1=SMALL)
    there.rules = [lambda request: request.answer(200, b"{", length=1000)]

    with pytest.raises(NetfabError, match=r"its answer was cut short$"):
        pull(where, f"{there.host}/a:v1")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_mirror_that_fails_is_named_and_the_next_one_asked(
    where: Where, registry: Registries, mirrors: Callable[..., None], said: list[str],
    wrong: Callable[[Request], bool],
) -> None:  # fmt: skip
    bad, good = registry(v1=SMALL), registry(v1=SMALL)
    bad.rules = [wrong]
    mirrors(bad.url, good.url)

    pull(where, "a:v1")

    assert content(where, "a:v1") == b"small"
    assert [text.split(":")[0] for text in said] == ["mirror 127.0.0.1"]
    assert said[0].startswith(f"mirror {bad.host}: ")
    assert said[0].endswith(f"; trying {good.host}")


def test_a_mirror_that_is_down_is_named_and_docker_io_is_the_last(
    where: Where, registry: Registries, mirrors: Callable[..., None], said: list[str]
) -> None:
    down = registry()
    down.close()
    mirrors(down.url)

    with pytest.raises(NetfabError, match=r"^library/a:v1|^a:v1: docker\.io: "):
        pull(where, "a:v1")

    assert said == [f"mirror {down.host}: Connection refused; trying docker.io"]


def test_a_mirror_that_fails_for_several_layers_at_once_is_given_up_once(
    where: Where, registry: Registries, mirrors: Callable[..., None], said: list[str]
) -> None:
    made = image(*(layer(file(name)) for name in "abc"))
    bad, good = registry(v1=made), registry(v1=made)
    together = threading.Barrier(3)

    def fails(request: Request) -> bool:
        if "/blobs/" not in request.path or made.id in request.path:
            return False
        together.wait(20)
        return request.answer(500, b"")

    bad.rules = [fails]
    mirrors(bad.url, good.url)
    pull(
        where,
        "a:v1",
    )

    assert len(good.asked_for("/blobs/")) == 3
    assert len(said) == 1


def test_a_half_of_a_liar_is_no_half_of_the_next_mirrors(
    where: Where, registry: Registries, mirrors: Callable[..., None]
) -> None:
    (blob,) = [digest for digest, data in LARGE.blobs.items() if len(data) > 1 << 20]
    liar, good = registry(v1=LARGE), registry(v1=LARGE)
    liar.rules = [
        lambda request: (
            blob in request.path
            and (
                request.answer(200, b"x" * (1 << 20), length=3 << 20)
                if not request.headers.get("Range")
                else request.answer(500, b"")
            )
        )
    ]
    mirrors(liar.url, good.url)

    pull(where, "a:v1")

    assert digest_of(LARGE.blobs[blob]) == blob
    assert content(where, LARGE.id)


def test_mirrors_are_for_docker_io_only(
    where: Where, registry: Registries, mirrors: Callable[..., None]
) -> None:
    mirror, there = registry(v1=SMALL), registry(v1=SMALL)
    mirrors(mirror.url)

    pull(where, f"{there.host}/a:v1")

    assert mirror.asked == []


def test_a_mirror_without_tls_elsewhere_is_left_out(
    where: Where, mirrors: Callable[..., None], said: list[str]
) -> None:
    mirrors("http://192.0.2.1")

    with pytest.raises(NetfabError):
        pull(where, "a:v1")

    assert said == [
        "mirror http://192.0.2.1 is left out: it is without TLS, and not in `insecure-registries`"
    ]


def test_a_pull_goes_by_way_of_the_proxy_that_the_environment_names(
    where: Where, registry: Registries, mirrors: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = registry(v1=SMALL)
    mirrors("http://127.0.0.9:5000")  # nobody is there
    monkeypatch.setenv("HTTP_PROXY", proxy.url)

    pull(where, "a:v1")

    assert proxy.asked_for("http://127.0.0.9:5000/v2/library/a/manifests/v1")


def log_in(host: str, **entry: str) -> None:
    Path("/var/lib/docker-config/config.json").write_text(json.dumps({"auths": {host: entry}}))


def test_a_registry_that_wants_a_name_gets_that_of_docker_login(where: Where, registry: Registries) -> None:
    there = registry(v1=SMALL)
    there.rules = [wants_login("u", "p:w")]

    with pytest.raises(NetfabError) as refused:
        pull(where, f"{there.host}/a:v1")
    assert "docker login" in refused.value.hint

    log_in(there.host, auth=base64.b64encode(b"u:p:w").decode())
    assert pull(where, f"{there.host}/a:v1").new


def test_a_token_is_got_where_the_registry_says(where: Where, registry: Registries) -> None:
    there = registry(v1=SMALL)
    there.rules = [wants_token("u", "p", there.url)]
    log_in(there.host, auth=base64.b64encode(b"u:p").decode())

    assert pull(where, f"{there.host}/a:v1").new
    assert len(there.asked_for("/token")) == 1


def test_a_token_that_breaks_off_is_told(where: Where, registry: Registries) -> None:
    there = registry(v1=SMALL)
    there.rules = [
        lambda request: "/token" in request.path and request.answer(200, b"{", length=1000),
        wants_token("u", "p", there.url),
    ]

    with pytest.raises(NetfabError, match=r"its answer was cut short$"):
        pull(where, f"{there.host}/a:v1")


@pytest.mark.parametrize(
    ("scheme", "named", "told"),
    [
        ("http", False, r"wants us to log in at http://192\.0\.2\.1/token, which is without TLS"),
        ("https", False, "it has to prove who it is"),
        ("http", True, "Network is unreachable"),
    ],
)
def test_a_token_server_elsewhere_may_not_do_without_what_its_registry_may(
    where: Where, registry: Registries, monkeypatch: pytest.MonkeyPatch, scheme: str, named: bool, told: str
) -> None:
    there, of_registry = registry(v1=SMALL), http.tls
    there.rules = [wants_token("u", "p", f"{scheme}://192.0.2.1")]

    def tls(name: str, insecure: bool) -> Any:
        if there.asked:
            assert not insecure
            raise NetfabError("it has to prove who it is")
        return of_registry(name, insecure)

    monkeypatch.setattr(http, "tls", tls)
    if named:
        monkeypatch.setattr(exchange, "settings", lambda: Settings(insecure=("192.0.2.1",)))

    with pytest.raises(NetfabError, match=told):
        pull(where, f"{there.host}/a:v1")


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_registry_that_drips_is_given_up(
    where: Where, registry: Registries, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(http, "WINDOW", 0.05)
    there = registry(v1=LARGE)
    there.rules = [lambda request: part in request.path and drip(request)]

    with pytest.raises(NetfabError, match=r"[0-9]+ bytes in 0 s are too few to wait for the rest$"):
        pull(where, f"{there.host}/a:v1")

    assert nothing_is_here(where)


def drip(request: Request) -> bool:
    """A byte every now and then, until nobody listens."""
    request.answer(200, b"", length=1 << 20)
    while True:
        request.wfile.write(b"{")
        time.sleep(0.002)


def test_a_helper_is_asked_for_the_password(
    where: Where, registry: Registries, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = registry(v1=SMALL)
    there.rules = [wants_login("u", "secret")]
    helper = Path("/var/lib/docker-credential-test")
    answer = json.dumps({"Username": "u", "Secret": "secret"})
    helper.write_text(f"#!/bin/sh\n[ $1 = get ] && [ $(cat) = {there.host} ] && echo '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"/var/lib:{os.environ['PATH']}")
    config = {"credHelpers": {there.host: "test"}}
    Path("/var/lib/docker-config/config.json").write_text(json.dumps(config))

    assert pull(where, f"{there.host}/a:v1").new


def test_a_redirect_gets_neither_name_nor_token(where: Where, registry: Registries) -> None:
    there, elsewhere = registry(v1=SMALL), registry(v1=SMALL)
    there.rules = [
        wants_login("u", "p"),
        lambda request: (
            "/blobs/" in request.path
            and request.answer(307, b"", {"Location": f"{elsewhere.url}{request.path}"})
        ),
    ]
    log_in(there.host, auth=base64.b64encode(b"u:p").decode())

    pull(where, f"{there.host}/a:v1")

    assert elsewhere.asked
    assert all("Authorization" not in headers for _, headers in elsewhere.asked)


def test_two_pulls_of_one_image_at_once_bring_it_once(where: Where, registry: Registries) -> None:
    there = registry(v1=LARGE)
    gate = threading.Barrier(2)
    (blob,) = [digest for digest, data in LARGE.blobs.items() if len(data) > 1 << 20]

    def slowly(request: Request) -> bool:
        """The layer comes once both have asked for the image."""
        while blob in request.path and len(there.asked_for("/manifests/")) < 2:
            os.sched_yield()
        return False

    there.rules = [slowly]
    failed: list[BaseException] = []

    def job() -> None:
        gate.wait()
        try:
            pull(where, f"{there.host}/a:v1")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=job) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert len(there.asked_for("/blobs/")) == 2  # one config, one layer


@pytest.fixture
def loose(registry: Registries) -> Registry:
    """A registry whose image is not consistent."""
    return registry()


def test_an_image_whose_layers_are_not_what_its_config_says_is_refused(where: Where, loose: Registry) -> None:
    good, other = image(layer(file("a", b"1"))), image(layer(file("a", b"2")))
    said = json.loads(good.manifest)
    said["layers"] = json.loads(other.manifest)["layers"]
    loose.blobs = {**good.blobs, **other.blobs}
    loose.manifests["v1"] = json.dumps(said).encode(), ""

    with pytest.raises(NetfabError, match="unpacks to sha256"):
        pull(where, f"{loose.host}/a:v1")

    assert nothing_is_here(where)


def test_a_manifest_without_a_type_is_of_the_type_it_came_as(where: Where, loose: Registry) -> None:
    said = json.loads(SMALL.manifest)
    del said["mediaType"]
    loose.blobs = dict(SMALL.blobs)
    loose.manifests["v1"] = json.dumps(said).encode(), "application/vnd.docker.distribution.manifest.v2+json"

    assert pull(where, f"{loose.host}/a:v1").image.digest == SMALL.id


def test_a_busybox_runs_its_config(where: Where, registry: Registries) -> None:
    made: Made = busybox(Env=["A=b"], WorkingDir="srv", User="1:2", StopSignal="SIGQUIT")
    there = registry(v1=made)

    found = pull(where, f"{there.host}/a:v1").image

    assert found.config[1:6] == (("sh",), (("A", "b"),), "1:2", "/srv", "SIGQUIT")
    assert Path(found.layers[0], "bin/busybox").read_bytes() == BUSYBOX
