"""Which mirrors there are, and who may answer without TLS."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from netfab.errors import NetfabError
from netfab.images import settings as module
from netfab.images.http import Server
from netfab.images.settings import Settings, settings, tls


def test_both_files_count_and_netfabs_own_is_first(tmp_path: Path) -> None:
    own, dockers = tmp_path / "registries.json", tmp_path / "daemon.json"
    own.write_text(json.dumps({"registry-mirrors": ["https://a/", "https://b"]}))
    dockers.write_text(
        json.dumps(
            {"registry-mirrors": ["https://b", "https://c"], "insecure-registries": ["r:5000"], "x": 1}
        )
    )

    found = settings((str(own), str(dockers), str(tmp_path / "none.json")))

    assert found == Settings(("https://a", "https://b", "https://c"), ("r:5000",))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"registry-mirrors": "https://a"}', '{"insecure-registries": [1]}']
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "daemon.json").write_text(text)

    with pytest.raises(NetfabError, match=r"daemon\.json"):
        settings((str(tmp_path / "daemon.json"),))


def test_a_key_that_has_a_passphrase_is_told_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "r:5000"
    directory.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ed25519", "-passout", "pass:secret", "-subj", "/CN=a",
         "-keyout", directory / "client.key", "-out", directory / "client.cert"],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setattr(module, "CERTIFICATES", (str(tmp_path),))

    with pytest.raises(NetfabError, match=r"client\.cert can't be used: its key has a passphrase"):
        tls("r:5000", insecure=False)


@pytest.mark.parametrize(
    ("registry", "may"),
    [
        ("localhost:5000", True),
        ("127.1.2.3", True),
        ("[::1]:5000", True),
        ("r:5000", True),
        ("r:5001", False),
        ("10.1.2.3:5000", True),
        ("10.2.0.1", False),
        ("docker.io", False),
        ("localhost.evil.com", False),
        ("127.0.0.1.evil.com", False),
    ],
)
def test_only_loopback_and_what_is_listed_may_do_without_tls(registry: str, may: bool) -> None:
    assert Settings((), ("r:5000", "10.1.0.0/16", "nonsense/x")).may_be_insecure(registry) is may


@pytest.mark.parametrize("path", ["http://r.example/v2/uploads/1", "http://elsewhere/1"])
def test_where_a_registry_with_tls_has_us_send_a_blob_has_it_too(path: str) -> None:
    with pytest.raises(NetfabError, match="is without TLS"):
        Server("r.example", Settings((), ()), "").url(path)
