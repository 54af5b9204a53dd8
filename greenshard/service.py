"""Where a service file says that a database is, so that its host's name need not block anyone.

libpq reads the file itself too. What only libpq finds (a file where it was built to look, LDAP) is
left to it.
Source: PostgreSQL manual, 32.17 "The Connection Service File"; ``parseServiceFile`` in libpq.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def service_parameters(service: str) -> dict[str, str] | None:
    """The parameters of a service; None if it is in none of the files that can be found."""
    for path in _files():
        try:
            text = path.read_text("utf-8", "surrogateescape")
        except (OSError, ValueError):
            continue
        if (found := read_service(text, service)) is not None:
            return None if any(name.startswith("ldap") for name in found) else found
    return None


def _files() -> Iterator[Path]:
    own = os.environ.get("PGSERVICEFILE")
    yield Path(own) if own else Path(os.path.expanduser("~"), ".pg_service.conf")
    if "PGSYSCONFDIR" in os.environ:
        yield Path(os.environ["PGSYSCONFDIR"], "pg_service.conf")


def read_service(text: str, service: str) -> dict[str, str] | None:
    r"""The parameters of a service in a file's text; None if it is not there.

    >>> read_service("[a]\nhost=x\n# no\n[b]\nhost=y\nhost=z\nport = 1", "b")
    {'host': 'y', 'port ': ' 1'}
    """
    found: dict[str, str] | None = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            if found is not None:
                return found
            if line.startswith(f"[{service}]"):
                found = {}
        elif found is not None and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, value)  # libpq takes the first, and no spaces around "="
    return found
