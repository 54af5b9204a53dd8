"""What an application's configuration says of its pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenshard import errors
from greenshard.arguments import unusable
from greenshard.dbapi import argument_names, read_opening, unknown_names
from greenshard.pool.pool import Pool
from greenshard.secret import hidden_configuration

DEFAULT = "default"
"""What the pool of ``GREENSHARD`` is called."""

_KEY, _NAMED_KEY = "GREENSHARD", "GREENSHARD_POOLS"
_ARGUMENTS = {*argument_names(Pool, read_opening)} - {"shards"}


def make_pools(config: Mapping[str, Any]) -> dict[str, Pool]:
    """Make the pools that a configuration names; nothing is connected.

    Args:
        config: ``GREENSHARD`` and ``GREENSHARD_POOLS``, each pool as `make_pool` takes it.

    Raises:
        errors.ProgrammingError: There are none, or one cannot be made.
    """
    # No more than these: the variable would show all of the application's secrets.
    config = {key: hidden_configuration(config.get(key)) for key in (_KEY, _NAMED_KEY)}
    named = config[_NAMED_KEY]
    named = {} if named is None else named
    where = f'app.config["{_NAMED_KEY}"]'
    if not isinstance(named, Mapping) or not all(isinstance(n, str) and n for n in named):
        raise unusable(f"{where} must be a mapping of names to pools")
    if DEFAULT in named:
        raise unusable(f'{where}: the pool "{DEFAULT}" is app.config["{_KEY}"]')
    pools = {}
    if config[_KEY] is not None:
        pools[DEFAULT] = make_pool(f'app.config["{_KEY}"]', config[_KEY])
    for name, value in named.items():
        pools[name] = make_pool(f'{where}["{name}"]', value)
    if not pools:
        raise unusable(
            f'there is no app.config["{_KEY}"]: give it the path of a cluster\'s TOML file, '
            "a Cluster, or connection strings"
        )
    return pools


def make_pool(where: str, value: Any) -> Pool:
    """Make a pool of what was configured.

    Args:
        where: The place in the configuration, for messages.
        value: What `Pool` takes as shards; or a mapping with that as its "cluster", and with
            further arguments of `Pool`.

    Raises:
        errors.ProgrammingError: It cannot be used.
    """
    value = hidden_configuration(value)
    arguments: dict[str, Any] = {}
    if isinstance(value, Mapping) and "cluster" in value:
        arguments = dict(value)
        value = arguments.pop("cluster")
    if value is None or (isinstance(value, str) and not value.strip()):
        raise unusable(f"{where} is empty")
    unknown = unknown_names(arguments, _ARGUMENTS)
    if unknown:
        raise unusable(
            f"{where}: no argument of greenshard.Pool or of libpq is called {', '.join(unknown)}"
        )
    try:
        return Pool(value, **arguments)
    except errors.Error as error:
        told = errors.ProgrammingError(f"{where}: {error}")
        told.code, told.hint = error.code, error.hint
        raise told from error
