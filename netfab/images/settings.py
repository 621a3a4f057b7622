"""Which mirrors there are, and which registries may be reached without TLS, as this host's files say.

/etc/netfab/registries.json has the two keys of Docker's daemon.json, which counts, too:
`registry-mirrors`, a list of URLs asked in that order before docker.io, and `insecure-registries`.
"""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

from netfab.errors import NetfabError
from netfab.tuples import NamedTuple

FILES = ("/etc/netfab/registries.json", "/etc/docker/daemon.json")


class Settings(NamedTuple):
    """What the files say together, netfab's own first."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()  # HOST, HOST:PORT or a prefix

    def may_be_insecure(self, registry: str) -> bool:
        """Whether HOST[:PORT] may answer without TLS, or with a certificate that nobody vouches for."""
        host = _host(registry)
        if host == "localhost" or registry in self.insecure or host in self.insecure:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or any(_holds(prefix, address) for prefix in self.insecure)


def _host(registry: str) -> str:
    if registry.startswith("["):
        return registry[1:].partition("]")[0]
    return registry.partition(":")[0]


def _holds(prefix: str, address: object) -> bool:
    try:
        return "/" in prefix and address in ip_network(prefix, strict=False)
    except ValueError:
        return False


def settings(files: tuple[str, ...] = FILES) -> Settings:
    """Read them. Raises NetfabError for one that is wrong."""
    found = [_read(file) for file in files]
    return Settings(
        tuple(dict.fromkeys(mirror.rstrip("/") for one in found for mirror in one.mirrors)),
        tuple(dict.fromkeys(host for one in found for host in one.insecure)),
    )


def _read(path: str) -> Settings:
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise NetfabError(f"{path} can't be read: {error}") from error
    if not isinstance(said, dict):
        raise NetfabError(f"{path}: a map is due")
    return Settings(_texts(said, "registry-mirrors", path), _texts(said, "insecure-registries", path))


def _texts(said: dict[str, object], key: str, path: str) -> tuple[str, ...]:
    values = said.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise NetfabError(f"{path}: {key}: a list of texts is due")
    return tuple(values)
