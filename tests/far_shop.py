"""A fabric on two far hosts as a user writes it, for the tests that apply it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from netfab import fabric
from netfab.multihost import across
from netfab.remote.party import Connect
from netfab.store.book import Entry
from netfab.topology.schema import Topology

TEXT = """
name: shop
hosts:
  h1: {address: 192.0.2.1, ssh: root@192.0.2.1}
  h2: {address: 192.0.2.2, ssh: root@192.0.2.2}
networks:
  lan: {}
nodes:
  web: {networks: [lan], runs_on: h1}
  db: {networks: [lan], runs_on: h2}
"""


def one_more(text: str) -> str:
    """The file with one more node on h1."""
    return text.replace("  db:", "  log: {networks: [lan], runs_on: h1}\n  db:")


class Shop:
    """A file for both hosts, and what is done with it."""

    def __init__(self, directory: Path, way: Connect) -> None:
        self.directory, self.way = directory, way
        self.text = TEXT

    def write(self, change: Callable[[str], str] = str) -> Topology:
        file = self.directory / "shop.yaml"
        file.write_text(change(self.text))
        return fabric.load(str(file))

    def apply(self, change: Callable[[str], str] = str, **options: Any) -> list[str]:
        """Apply the file, changed; what changed on the hosts."""
        topology = self.write(change)
        file = str(self.directory / "shop.yaml")
        options.setdefault("way", self.way)
        return lines(across.apply(topology, across.hosts_of(topology), file, **options).changes)

    @property
    def entry(self) -> Entry:
        """What the controller knows of it."""
        found = across.known("shop")
        assert found is not None
        return found


def lines(changes: across.Changes) -> list[str]:
    return [f"{one['host']}: {one['action']} {one['kind']} {one['name']}" for one in changes]
