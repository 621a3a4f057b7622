"""SHA-256 by the interpreter's own module: `hashlib` loads OpenSSL, for which every command would wait."""

from __future__ import annotations

try:
    from _sha2 import sha256  # 3.12; random.py does so, too
except ImportError:
    try:
        from _sha256 import sha256  # 3.11
    except ImportError:  # an interpreter built with OpenSSL's only
        from hashlib import sha256


def digest(data: bytes) -> bytes:
    """The SHA-256 of the data, 32 bytes (FIPS 180-4)."""
    found: bytes = sha256(data).digest()
    return found
