"""Which mirrors there are, and which registries are trusted by what, as this host's files say.

/etc/netfab/registries.json has the two keys of Docker's daemon.json, which counts, too:
`registry-mirrors`, a list of URLs asked in that order before docker.io, and `insecure-registries`.
Certificates of single registries are where Docker has them: in a directory with the registry's name.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from ipaddress import ip_address, ip_network

from netfab.errors import NetfabError
from netfab.system.certificates import show
from netfab.tuples import NamedTuple

FILES = ("/etc/netfab/registries.json", "/etc/docker/daemon.json")
CERTIFICATES = ("/etc/netfab/certs.d", "/etc/docker/certs.d")


class Settings(NamedTuple):
    """The merged settings of the files, netfab's own first."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()  # HOST, HOST:PORT or a prefix

    def may_be_insecure(self, registry: str) -> bool:
        """Whether HOST[:PORT] may answer without TLS, or with an unverified certificate."""
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
    """Read the files. Raises NetfabError for an invalid one."""
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
        raise NetfabError(f"{path}: a map is expected")
    return Settings(_texts(said, "registry-mirrors", path), _texts(said, "insecure-registries", path))


def _texts(said: dict[str, object], key: str, path: str) -> tuple[str, ...]:
    values = said.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise NetfabError(f"{path}: {key}: a list of texts is expected")
    return tuple(values)


def tls(registry: str, insecure: bool) -> ssl.SSLContext:
    """The authorities for HOST[:PORT], besides the system's, and the certificate that we present to it.

    `*.crt` are certificates of authorities, `X.cert` and `X.key` our own. Raises NetfabError.
    """
    # The system's authorities take 20 ms to read: only if they matter.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if insecure else ssl.create_default_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for directory in CERTIFICATES:
        for path in _files(f"{directory}/{registry}"):
            try:
                if path.endswith(".crt"):
                    context.load_verify_locations(path)
                elif path.endswith(".cert"):
                    show(context, path, f"{path.removesuffix('.cert')}.key")
            except OSError as error:  # ssl's errors are OSErrors, too
                raise NetfabError(f"{path} can't be used: {words_of(error)}") from error
    return context


def words_of(error: OSError) -> str:
    """The error's message; OpenSSL's without the location in its code."""
    return re.sub(r"^\[.*?\] | \(_ssl\.c:[0-9]+\)$", "", error.strerror or str(error))


def _files(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise NetfabError(f"{directory} can't be read: {error.strerror}") from error
