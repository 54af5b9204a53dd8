"""Certificates for servers and clients, made with the openssl command."""

from __future__ import annotations

import subprocess

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A certificate authority.

    Args:
        directory: Where its key and certificate are put.

    Attributes:
        root: The file of its certificate.
    """

    def __init__(self, directory):
        self.root = directory / "root.crt"
        self._key = directory / "root.key"
        _openssl(
            *("req", "-x509", "-subj", "/CN=the authority", *_NEW_KEY),
            *("-keyout", self._key, "-out", self.root, "-days", "2"),
        )

    def certify(self, name, directory, stem):
        """Make a key and a certificate for a host or a user: `stem`.key and .crt."""
        key, request = directory / f"{stem}.key", directory / f"{stem}.csr"
        _openssl("req", "-new", "-subj", f"/CN={name}", *_NEW_KEY, "-keyout", key, "-out", request)
        extensions = directory / f"{stem}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name}\n")
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.root, "-CAkey", self._key),
            *("-CAcreateserial", "-extfile", extensions, "-days", "2"),
            *("-out", directory / f"{stem}.crt"),
        )
        key.chmod(0o600)
        return directory / f"{stem}.crt", key


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
