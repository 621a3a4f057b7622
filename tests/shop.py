"""A small fabric as a user writes it, for the tests that run whole commands."""

from __future__ import annotations

from pathlib import Path

from netfab import fabric
from netfab.topology.schema import Topology

TEXT = """
networks:
  lan: {}
nodes:
  web: {networks: [lan], sysctls: {net.ipv4.ip_default_ttl: "9"}}
  db: {networks: [lan]}
links:
  - [web, db]
"""


def topology(directory: Path, name: str = "shop", text: str = TEXT) -> tuple[Topology, str]:
    """The topology and its file."""
    file = directory / f"{name}.yaml"
    file.write_text(f"name: {name}\n{text}")
    return fabric.load(str(file)), str(file)
