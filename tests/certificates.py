"""An authority, and what it has signed, for tests of TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_authority(directory: Path, address: str) -> Path:
    """A directory with ca.pem, other.pem that signed nothing, and of server and client .pem and .key."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", f"/CN={name}", "-days", "2",
                "-addext", "keyUsage=critical,keyCertSign",  # Python asks for it from 3.13 on
                "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    for name in ("server", "client"):
        openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", f"/CN={name}", "-days", "2",
                "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName=IP:{address}",
                "-addext", "basicConstraints=critical,CA:FALSE",
                "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    return directory
