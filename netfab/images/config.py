"""An image's config: how its program is started (OCI image-spec, config.md). Pure.

It comes from strangers: what is not as the specification has it is refused, or left out where it says nothing
about how to run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from netfab.errors import NetfabError
from netfab.topology.program import Config

MAX_LAYERS = 500  # OVL_MAX_STACK of the kernel's overlayfs
DIGEST = re.compile("sha256:[0-9a-f]{64}")


class BadImage(NetfabError):
    """A registry or an archive has no image, or an unsupported one."""


def config_of(config: Mapping[str, Any]) -> Config:
    """From the parsed JSON. Raises BadImage."""
    said = config.get("config") or {}
    if not isinstance(said, dict):
        raise BadImage("this image's config is invalid")
    workdir = _text(said, "WorkingDir")
    entrypoint = _texts(said, "Entrypoint")
    return Config(
        () if entrypoint == ("",) else entrypoint,  # none, for Docker
        _texts(said, "Cmd"),
        tuple(
            (name, value) for name, _, value in (text.partition("=") for text in _texts(said, "Env")) if name
        ),
        _text(said, "User"),
        workdir if workdir.startswith("/") else f"/{workdir}" if workdir else "",
        _text(said, "StopSignal"),
    )


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key) or ""
    if not isinstance(value, str) or "\0" in value:
        raise BadImage(f"this image's config has no text as {key}")
    return value


def _texts(said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = said.get(key) or ()
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, str) and "\0" not in value for value in values
    ):
        raise BadImage(f"this image's config has no list of texts as {key}")
    return tuple(values)


def diff_ids_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests of its layers' tars, lowest first. Raises BadImage."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or not all(
        isinstance(one, str) and DIGEST.fullmatch(one) for one in found
    ):
        raise BadImage("this image's config does not say which layers it has")
    if not found:
        raise BadImage("this image has no layers")
    if len(found) > MAX_LAYERS:
        raise BadImage(f"this image has {len(found)} layers, and Linux stacks {MAX_LAYERS} at most")
    return tuple(found)
