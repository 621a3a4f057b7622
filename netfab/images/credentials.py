"""Who we are to a registry: as `docker login` has left it in ~/.docker/config.json (or $DOCKER_CONFIG).

`credHelpers`, `credsStore` and `auths`, in that order, as Docker reads them. A helper is a program of the
user's own, which may need the user's environment (a keyring, a cloud's profile): it is the one program that
gets all of it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from typing import Any

from netfab.errors import NetfabError
from netfab.topology.image import HUB
from netfab.tuples import NamedTuple

_HUB_KEY = "https://index.docker.io/v1/"  # what docker login calls docker.io
_HELPER_TIMEOUT = 60  # seconds; a helper may ask for a password
_TOKEN_USER = "<token>"  # the user of a helper's identity token


class Credentials(NamedTuple):
    """A name and password, or an identity token to obtain other tokens."""

    user: str = ""
    password: str = ""
    identity_token: str = ""


def credentials(registry: str) -> Credentials | None:
    """For HOST[:PORT]; None if nobody logged in. Raises NetfabError if they can't be read."""
    path = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    path = f"{path}/config.json"
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise NetfabError(f"{path} can't be read: {error}") from error
    key = _HUB_KEY if registry == HUB else registry
    helper = _map(config, "credHelpers").get(registry) or _map(config, "credHelpers").get(key)
    if helper := helper or (config.get("credsStore") if isinstance(config, dict) else None):
        return _of_helper(str(helper), key)
    for name, entry in _map(config, "auths").items():
        if (name == key or _host_of(name) == registry) and isinstance(entry, dict):
            return _of_entry(entry, f"{path}: {name}")
    return None


def _map(config: Any, key: str) -> dict[str, Any]:
    found = config.get(key) if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def _host_of(name: str) -> str:
    """`https://HOST/v1/` is an old way to write HOST."""
    return name.partition("://")[2].partition("/")[0] if "://" in name else name


def _of_entry(entry: dict[str, Any], where: str) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials(identity_token=str(token))
    if not entry.get("auth"):
        user = entry.get("username")
        return Credentials(str(user), str(entry.get("password", ""))) if user else None
    try:
        user, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise NetfabError(f"{where}: `auth` is not base64 of USER:PASSWORD") from error
    return Credentials(user, password.rstrip("\0"))


def _of_helper(helper: str, key: str) -> Credentials | None:
    """docker-credential-helpers: `get`, the registry on standard input, JSON on standard output."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", helper):
        raise NetfabError(f"{helper!r} is not the name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=key, capture_output=True, text=True, timeout=_HELPER_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetfabError(f"{program}, which ~/.docker/config.json names, does not run: {error}") from error
    if done.returncode != 0:
        if "not found" in done.stdout:  # how a helper says that it has none
            return None
        raise NetfabError(f"{program} says: {(done.stdout or done.stderr).strip()[:200]}")
    try:
        said = json.loads(done.stdout)
        user, secret = str(said["Username"]), str(said["Secret"])
    except (ValueError, LookupError, TypeError) as error:
        raise NetfabError(f"{program} answers what can't be meant") from error
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)
