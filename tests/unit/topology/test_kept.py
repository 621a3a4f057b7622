"""What is kept of a file says all that the file said, wherever it is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfab.files.loading import load
from netfab.topology.config import config
from netfab.topology.kept import kept_text, whole_text

TEXT = """
name: shop
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  web: {networks: [lan], command: [sleep, inf], mounts: [./html:/srv/www], hostname: "${HOST}"}
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "html").mkdir()
    monkeypatch.setenv("HOST", "www")
    return tmp_path


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("${HOST}", "www")], ids=["variables", "none"])
@pytest.mark.parametrize("name", [None, "other"])
def test_all_that_a_file_said_is_told_in_another_place_and_environment(
    directory: Path, text: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = directory / "shop.yaml"
    file.write_text(text)
    topology = load(str(file), name)
    kept, said = kept_text(topology), config(topology)
    monkeypatch.delenv("HOST")
    monkeypatch.chdir("/")

    assert whole_text(kept, str(file), topology.name) == said


@pytest.mark.parametrize(
    "more",
    [
        "",
        "  db: {attach: 'docker:db', networks: [lan]}\n",
        "  db: {image: alpine, networks: [lan], ready: {exec: 'true'}}\n",
        "links: [[web, 'nic:eth9']]\n",
    ],
    ids=["alone", "guests", "images", "NICs"],
)
def test_a_file_that_says_all_is_kept_as_it_is_whatever_the_host_is_asked(directory: Path, more: str) -> None:
    file = directory / "shop.yaml"
    file.write_text(text := TEXT.replace("${HOST}", "www") + more + "# all of it\n")

    topology = load(str(file))
    kept = kept_text(topology)

    assert kept == text
    assert whole_text(kept, str(file), "shop") == config(topology)


def test_what_was_read_from_another_file_is_kept(directory: Path) -> None:
    (directory / "page").write_text("hello")
    file = directory / "shop.yaml"
    file.write_text(TEXT.replace("${HOST}", "www") + "  db: {files: {/page: {source: ./page}}}\n")
    topology = load(str(file))
    kept = kept_text(topology)
    (directory / "page").unlink()

    assert "hello" in whole_text(kept, str(file), "shop")
