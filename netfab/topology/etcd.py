"""`store: etcd://…`: the members of an etcd that controllers share, and how they are spoken to."""

from __future__ import annotations

import re
from typing import Any

from netfab.topology.grammar import Wrong, quoted
from netfab.topology.schema import ETCD_OPTIONS, ETCD_PREFIX, Etcd

PORT = 2379
_FORM = "`etcd://HOST:PORT,HOST:PORT`, or `etcds://…` with TLS"
_URL = re.compile(r"(etcds?)://(?:([^@/?]*)@)?([^/?]+)(/[A-Za-z0-9._/-]*)?(?:\?(.*))?")
_NEARLY = re.compile(r"(?:(etcds?):/? *)?([A-Za-z0-9][A-Za-z0-9.-]*:[0-9]{1,5}[^ @]*)")
_ENDPOINT = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")


def etcd(text: str) -> Etcd:
    """Parses `etcd[s]://[USER@]HOST[:PORT],…[/PREFIX][?ca=PATH&cert=PATH&key=PATH&password-file=PATH]`.

    Raises Wrong.
    """
    found = _URL.fullmatch(text)
    if found is None:
        near = _NEARLY.fullmatch(text)
        meant = f"; write `{near[1] or 'etcd'}://{near[2]}`" if near else ""
        raise Wrong(f"{quoted(text)} is neither `sqlite` nor {_FORM}{meant}")
    scheme, user, hosts, prefix, options = found.groups()
    if user is not None and (not user or ":" in user):
        raise Wrong(
            "the user of a store is `USER@`, without a password: that is in a file of its own,"
            " `?password-file=/etc/netfab/etcd.password`"
        )
    endpoints = tuple(map(_endpoint, hosts.split(",")))
    path = "/" + "/".join(filter(None, (prefix or "").split("/")))
    made = Etcd(endpoints, path if path != "/" else ETCD_PREFIX, scheme == "etcds", user or "")
    return _whole(made._replace(**_options(options or "")))


def _endpoint(text: str) -> str:
    found = _ENDPOINT.fullmatch(text)
    port = int(found[2] or PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise Wrong(f"{quoted(text)} is not HOST:PORT; a store is {_FORM}")
    return f"{found[1]}:{port}"


def _options(text: str) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for part in filter(None, text.split("&")):
        name, _, path = part.partition("=")
        if name not in ETCD_OPTIONS:
            raise Wrong(f"a store has no option {quoted(name)}; it has {', '.join(ETCD_OPTIONS)}")
        if not path.startswith("/"):
            raise Wrong(f"`{name}` of a store is an absolute path, not {quoted(path)}")
        said[ETCD_OPTIONS[name]] = path
    return said


def _whole(made: Etcd) -> Etcd:
    """Raises Wrong if an option lacks another that it needs."""
    if (made.ca or made.cert) and not made.tls:
        raise Wrong("`ca`, `cert` and `key` of a store mean TLS: write `etcds://`")
    if bool(made.cert) != bool(made.key):
        raise Wrong("`cert` and `key` of a store go together")
    if bool(made.user) != bool(made.password_file):
        raise Wrong("a store's user and its password go together: `USER@…?password-file=PATH`")
    return made
