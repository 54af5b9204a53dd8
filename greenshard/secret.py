"""Text that may hold a password: it works as text, but does not show itself.

Error trackers record the local variables of every frame that an exception goes through. So what the
program gives is wrapped as soon as it comes in, and only psycopg2's C code reads it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: libpq's parameters that are secrets; the last three are of PostgreSQL 18.
SECRETS = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)

_SHOWN = "***"
#: Connection strings that can hold none, without looking closely: pairs of parameters that are no
#: secrets, or a URI with neither a user's password nor parameters.
_OPEN = re.compile(
    r"(?:\s*(?!\w*(?:pass|secret|scram|pwd))\w+\s*=\s*(?:'[^'\\]*'|[^\s'\\]+))*\s*"
    r"|postgres(?:ql)?://(?:[\w.-]+@)?[\w.,:\[\]-]*(?:/[\w.-]*)?",
    re.IGNORECASE,
)


class Secret(str):
    """A text that shows three stars, however it is shown; `reveal` gives the text itself.

    C code that takes a string, as psycopg2's, reads it as what it is.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{_SHOWN}'"

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return format(_SHOWN, spec)


class SecretBytes(bytes):
    """Bytes that do not show themselves: they stand where a text should."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b'{_SHOWN}'"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


SecretBytes.__name__ = "bytes"  # which is what is told of it


def reveal(text: str) -> str:
    """The text itself."""
    return str.__str__(text)


def hidden(text: str) -> str:
    """A connection string that does not show itself, if it may hold a secret.

    >>> hidden("host=db dbname=app"), hidden("host=db password=sesame")
    ('host=db dbname=app', '***')
    """
    return text if isinstance(text, Secret) or _OPEN.fullmatch(text) else Secret(text)


def hidden_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """libpq's parameters, of which the secrets do not show themselves."""
    return {
        name: _secret(value) if name in SECRETS and value is not None else value
        for name, value in parameters.items()
    }


def _secret(value: Any) -> Secret:
    """A secret as libpq gets it: psycopg2 makes a text of whatever it is."""
    if isinstance(value, Secret):
        return value
    return Secret(reveal(value) if isinstance(value, str) else str(value))


def hidden_shards(shards: Any) -> Any:
    """Whatever stands for shards, with connection strings that do not show themselves."""
    if isinstance(shards, str):
        return shards if shards.endswith(".toml") else hidden(shards)
    if isinstance(shards, Mapping):
        return {name: hidden_shards(shard) for name, shard in shards.items()}
    if isinstance(shards, (bytes, bytearray, memoryview)):
        return SecretBytes(shards)
    if isinstance(shards, Iterable):
        return [hidden_shards(shard) for shard in shards]
    return shards


def hidden_configuration(value: Any) -> Any:
    """What an application configures: pools by name, or as one shards, or those as "cluster"."""
    if not isinstance(value, Mapping):
        return hidden_shards(value)
    if "cluster" in value:
        return {**hidden_parameters(value), "cluster": hidden_shards(value["cluster"])}
    return {name: hidden_configuration(each) for name, each in value.items()}
