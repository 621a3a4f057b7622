"""The JSON Schema of a topology file, from the tables that the loader reads by: `netfab schema`.

It knows what each key takes; rules across entries, and how `${VAR}` turns out, only `netfab validate` knows.
"""

from __future__ import annotations

from netfab.topology import meanings
from netfab.topology.load import TOP
from netfab.topology.reading import DEFINITIONS, Json, record_schema


def json_schema() -> Json:
    """The schema (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "netfab topology, version 1",
        "$defs": DEFINITIONS,
        **record_schema(TOP, meanings.TOP),
        "type": "object",
    }
