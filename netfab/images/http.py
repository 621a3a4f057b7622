"""HTTP to one registry: TLS unless it may do without, redirects, and logging in when it is asked for.

Our name and password go to the registry itself and to the token server that it names, and to no host that it
redirects to. Whatever comes is limited in size by who reads it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import IO, Any
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, IncompleteRead, ProtocolError, SSLError

from netfab import __version__
from netfab.errors import NetfabError
from netfab.images.credentials import Credentials, credentials
from netfab.images.settings import CERTIFICATES, Settings, tls, words_of
from netfab.topology.image import HUB

Response = urllib3.BaseHTTPResponse

_TIMEOUT = urllib3.Timeout(connect=10, read=60)  # seconds
WINDOW = 60.0  # seconds of waiting for an answer, in which a minimum of bytes must come, or it is too slow
_LEAST = 60 << 10
_REDIRECTS = 5
_MOST_WORDS = 1 << 16  # bytes to read of an error or a token


class RegistryError(NetfabError):
    """A registry does not answer, or refuses. Carries the HTTP status, 0 for none."""

    def __init__(self, message: str, status: int = 0, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class BrokenOff(RegistryError):
    """The connection broke, during an answer or before it: a retry may succeed."""


class TooSlow(RegistryError):
    """An answer comes too slowly: it would take days."""


class Server:
    """One registry or mirror, HOST[:PORT], for one token scope."""

    def __init__(self, registry: str, settings: Settings, scope: str, schemes: tuple[str, ...] = ()) -> None:
        """`schemes` are tried in this order, until one gets an answer."""
        self.registry = registry
        self._settings, self._scope = settings, scope
        self._insecure = settings.may_be_insecure(registry)
        self._schemes = schemes or (("https", "http") if self._insecure else ("https",))
        self._authorization = ""
        self._pools: dict[tuple[str, str, bool], urllib3.PoolManager] = {}

    @contextmanager
    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: IO[bytes] | bytes | None = None,
        fine: tuple[int, ...] = (200,),
    ) -> Iterator[Response]:
        """The answer, not yet read, if its status is one of those. Raises RegistryError."""
        try:
            response = self._answer(method, path, dict(headers or {}), body)
        except ValueError as error:  # urllib's, for the URL of a redirect or a token server
            raise RegistryError(f"{self.registry}: it sends us to no URL: {error}") from error
        except HTTPError as error:  # during a token server's answer
            raise self._failure(error) from error
        try:
            if response.status not in fine:
                raise self._refusal(response)
            yield response
        except HTTPError as error:
            raise self._failure(error) from error
        finally:
            response.close()

    def read(self, response: Response, most: int) -> bytes:
        """The whole body. Raises RegistryError for one that is larger."""
        found = bytearray()
        for piece in self.pieces(response, 1 << 16):
            found += piece
            if len(found) > most:
                raise RegistryError(f"{self.registry}: the answer is larger than {most >> 10} KiB")
        return bytes(found)

    def pieces(self, response: Response, most: int) -> Iterator[bytes]:
        """The body as it comes, in pieces of at most `most` bytes. Raises TooSlow, HTTPError."""
        waited, got = 0.0, 0
        while True:
            begun = monotonic()
            piece = response.read1(most)
            if not piece:
                return
            waited, got = waited + monotonic() - begun, got + len(piece)
            if waited > WINDOW:
                if got < _LEAST:
                    raise TooSlow(
                        f"{self.registry}: {got} bytes in {waited:.0f} s are too few to wait for the rest"
                    )
                waited, got = 0.0, 0
            yield piece

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.clear()

    def _answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> Response:
        """Send a request; log in if that is required, once."""
        start = body.tell() if hasattr(body, "tell") else 0
        response = self._send(method, path, headers, body)
        if response.status == 401 and self._log_in(response):
            response.close()
            if hasattr(body, "seek"):
                body.seek(start)
            response = self._send(method, path, headers, body)
        return response

    def _send(self, method: str, path: str, headers: dict[str, str], body: Any) -> Response:
        """Send a request; follow redirects if it has no body."""
        url = self.url(path)
        for _ in range(_REDIRECTS):
            ours = urlsplit(url).netloc == self.registry_host
            own = {"Authorization": self._authorization} if ours and self._authorization else {}
            response = self._request(method, url, headers | own, body)
            location = response.headers.get("Location")
            if body is not None or response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            response.close()
            following = urljoin(url, location)
            self._refuse_without_tls(url, following)
            url = following
        raise RegistryError(f"{self.registry} redirects without end")

    @property
    def registry_host(self) -> str:
        """The actual HOST[:PORT], which differs for docker.io."""
        return "registry-1.docker.io" if self.registry == HUB else self.registry

    def url(self, path: str) -> str:
        """The absolute URL; one given by the registry stays as it is. Raises RegistryError."""
        ours = f"{self._schemes[0]}://{self.registry_host}/"
        found = urljoin(ours, path)
        self._refuse_without_tls(ours, found)
        return found

    def _refuse_without_tls(self, url: str, following: str) -> None:
        """What follows, and our token with it, would be sent in the clear."""
        if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
            raise RegistryError(f"{self.registry} redirects to {following}, which is without TLS")

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, insecure: bool | None = None
    ) -> Response:
        """`insecure`: whether an unverified certificate is accepted; None: as for the registry."""
        unproven = self._insecure if insecure is None else insecure
        while True:
            try:
                return self._pool(url, unproven).request(
                    method,
                    url,
                    headers={"User-Agent": f"netfab/{__version__}", **headers},
                    body=body,
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                    retries=False,
                    timeout=_TIMEOUT,
                )
            except SSLError as error:
                if len(self._schemes) == 1 or urlsplit(url).netloc != self.registry_host:
                    raise RegistryError(
                        f"{self.registry}: {_reason(error)}", hint=self._trust(error)
                    ) from error
                self._schemes = self._schemes[1:]  # it speaks no TLS
                url = f"{self._schemes[0]}://{url.partition('://')[2]}"
            except HTTPError as error:
                raise self._failure(error) from error

    def _pool(self, url: str, insecure: bool) -> urllib3.PoolManager:
        """Connections, through the environment's proxy."""
        parts = urlsplit(url)
        proxy = _proxy_of(parts)
        way = parts.scheme, proxy, insecure
        if way not in self._pools:
            options: dict[str, Any] = {"maxsize": 8}
            if parts.scheme == "https":
                options["ssl_context"] = tls(self.registry, insecure)
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            self._pools[way] = (
                urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
            )
        return self._pools[way]

    def _log_in(self, response: Response) -> bool:
        """Get the authorization that the registry asks for; whether there is any. Raises RegistryError."""
        wanted = response.headers.get("WWW-Authenticate", "")
        kind, _, rest = wanted.partition(" ")
        known = credentials(self.registry)
        if kind.lower() == "basic":
            if known is None or not known.user or self._authorization:
                return False
            self._authorization = _basic(known)
            return True
        said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if kind.lower() != "bearer" or "realm" not in said:
            return False
        self._authorization = f"Bearer {self._token(said, known)}"
        return True

    def _token(self, said: Mapping[str, str], known: Credentials | None) -> str:
        """From the token server that the registry names (distribution-spec, token authentication).

        It gets our password: TLS is required even if the registry needs none, unless it is configured itself.
        """
        realm, scope = said["realm"], said.get("scope") or self._scope
        insecure = self._settings.may_be_insecure(urlsplit(realm).netloc)
        if urlsplit(realm).scheme != "https" and not insecure:
            raise RegistryError(
                f"{self.registry} wants us to log in at {realm}, which is without TLS",
                hint="`insecure-registries` may name that host, too" if self._insecure else "",
            )
        asked = {"service": said.get("service", ""), "scope": scope}
        if known is not None and known.identity_token:
            form = {**asked, "grant_type": "refresh_token", "client_id": "netfab"}
            body = urlencode({**form, "refresh_token": known.identity_token}).encode()
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._request("POST", realm, kind, body, insecure)
        else:
            own = {"Authorization": _basic(known)} if known is not None else {}
            mark = "&" if "?" in realm else "?"
            response = self._request("GET", f"{realm}{mark}{urlencode(asked)}", own, None, insecure)
        with response:
            text = self.read(response, _MOST_WORDS)
            if response.status != 200:
                raise RegistryError(f"{self.registry}: login is refused", response.status, hint=self._hint)
        try:
            answer = json.loads(text)
            return str(answer.get("token") or answer["access_token"])
        except (ValueError, LookupError, AttributeError) as error:
            raise RegistryError(f"{self.registry}: its token server gives no token") from error

    @property
    def _hint(self) -> str:
        return f"`docker login {self.registry}` writes a name and password to ~/.docker/config.json"

    def _trust(self, error: SSLError) -> str:
        """Which certificate file may be missing: for us to trust it, or for it to trust us."""
        text, directory = str(error), f"{CERTIFICATES[-1]}/{self.registry}"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return f"{directory}/ca.crt may be the certificate of who vouches for it"
        if "ALERT" in text and "CERTIFICATE" in text:
            return f"it wants to see who we are: {directory}/client.cert and client.key"
        return ""

    def _failure(self, error: HTTPError) -> RegistryError:
        kind = BrokenOff if isinstance(error, ProtocolError) else RegistryError
        return kind(f"{self.registry}: {_reason(error)}")

    def _refusal(self, response: Response) -> RegistryError:
        """The error, with the registry's own message."""
        text = response.read(_MOST_WORDS) or b""
        told = f"status {response.status}"
        try:
            first = json.loads(text)["errors"][0]
            told = f"{first.get('message') or first['code']} ({response.status})"
        except (ValueError, LookupError, TypeError, AttributeError):
            pass
        hint = self._hint if response.status in (401, 403) else ""
        return RegistryError(f"{self.registry}: {told[:300]}", response.status, hint=hint)


def _proxy_of(url: SplitResult) -> str:
    """The environment's: all that urllib, which is slow to import, would consult here. "": none."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies, proxy_bypass

    return "" if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme, "")


def _basic(known: Credentials) -> str:
    return urllib3.make_headers(basic_auth=f"{known.user}:{known.password}")["authorization"]


def _is_error(found: object) -> bool:
    return isinstance(found, Exception)


def _reason(error: BaseException) -> str:
    """The innermost cause: urllib3's wrappers name our own objects."""
    while inner := next(
        filter(_is_error, (error.__cause__, getattr(error, "reason", None), *error.args)), None
    ):
        error = inner
    if isinstance(error, IncompleteRead):
        return "its answer was cut short"
    if isinstance(error, OSError) and error.strerror:
        return words_of(error)
    return str(error).rpartition(">: ")[2] or type(error).__name__
