"""docs/topology.rst and docs/keys.rst say what the loader takes, and every page's topologies load."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from netfab.topology import link, load, meanings, network, node, port
from netfab.topology.reading import Reader

DOCS = Path(__file__).parents[3] / "docs"
PLACES = {
    "The file": (load.TOP, meanings.TOP),
    "A network": (network.NETWORK, meanings.NETWORK),
    "A node": (node.NODE, meanings.NODE),
    "A port": (port.PORT, meanings.PORT),
    "A link": (link.LINK, meanings.LINK),
}
LATER = "\n  *Checked, and refused by name when you plan: not supported yet.*"


def described(keys: Mapping[str, Reader[Any]], meant: Mapping[str, str]) -> Iterator[str]:
    for key, reader in keys.items():
        said = textwrap.fill(meant[key].replace("`", "``"), 110, initial_indent="  ", subsequent_indent="  ")
        yield f"``{key}``\n{said}{LATER if reader.later else ''}\n"


def reference() -> str:
    parts = [
        "The keys of a topology file\n===========================\n",
        "Made from the tables that the loader reads by; `topology.rst <topology.rst>`_ shows them at work.",
        "A port is a node's interface on a network: its keys stand below the network's name in the node.",
        "On a network, or a link, they are the defaults of all its ports.\n",
    ]
    for title, (keys, meant) in PLACES.items():
        own = {key: reader for key, reader in keys.items() if title == "A port" or key not in port.PORT}
        own |= {key: keys[key] for key in ("gateway", "masquerade", "mtu") if title == "A network"}
        parts += [f"{title}\n{'-' * len(title)}\n", *described(own, meant)]
    return "\n".join(parts)


def test_the_reference_is_what_the_loader_takes(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        (DOCS / "keys.rst").write_text(reference())

    assert (DOCS / "keys.rst").read_text() == reference()


def examples() -> list[str]:
    page = (DOCS / "topology.rst").read_text()
    return [textwrap.dedent(block) for block in re.findall(r"code-block:: yaml\n\n((?:    .*\n|\n)+)", page)]


@pytest.mark.parametrize("example", examples(), ids=lambda text: text.split()[1])
def test_an_example_of_the_page_is_right_and_has_nothing_that_comes_later(example: str) -> None:
    topology = load.load(example.encode(), "-", "/", {}, None)

    assert topology.reserved == ()
    assert len(topology.nodes) > 1


def topologies() -> list[tuple[str, str]]:
    """(page, text) of what the other pages show of topologies."""
    pages = {DOCS.parent / "README.rst", *DOCS.glob("*.rst")} - {DOCS / "topology.rst"}
    found = []
    for page in sorted(pages):
        for block in re.split(r"::(?: yaml)?\n\n", page.read_text())[1:]:
            text = textwrap.dedent(re.split(r"\n\n(?=\S)", block)[0])
            if re.match(r"(hosts|networks|nodes|links):", text):
                found.append((page.name, text))
    return found


@pytest.mark.parametrize(("page", "text"), topologies(), ids=lambda text: text.split()[0])
def test_a_topology_that_a_page_shows_loads(page: str, text: str) -> None:
    load.load(text.encode(), page, "/", {}, None)


def test_the_page_shows_every_key_that_has_an_effect() -> None:
    shown = set(re.findall(r"[a-z_0-9]+(?=:)|(?<=`)[a-z_]+", (DOCS / "topology.rst").read_text()))
    keys = {key for keys, _ in PLACES.values() for key, reader in keys.items() if not reader.later}

    assert keys <= shown
