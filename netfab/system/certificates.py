"""A certificate that TLS shows to the other side: nobody is asked for the passphrase of its key."""

from __future__ import annotations

import ssl


def show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Present that certificate. Raises OSError for unusable files, and for a key with a passphrase."""
    context.load_cert_chain(certificate, key, _passphrase)


def _passphrase() -> str:
    """Without it, OpenSSL would prompt at the terminal, and wait."""
    raise OSError("its key has a passphrase: `openssl pkey` writes one that has none")
