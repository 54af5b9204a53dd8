"""Django's backend for PostgreSQL, over a cluster.

::

    DATABASES = {
        "default": {
            "ENGINE": "greenshard.ext.django",
            "OPTIONS": {"cluster": "cluster.toml", "undeclared": "reference"},
        }
    }

``cluster`` is the path of a TOML file or a `greenshard.Cluster`. ``undeclared``: with "reference",
the tables of installed applications that the cluster does not declare are reference tables, as are
Django's own; without it, each must be declared. Further options are `greenshard.connect`'s.
Without a cluster it is Django's own backend over one shard.

Django takes psycopg 3 wherever that is installed, and greenshard is a psycopg2. So this module
hides psycopg 3 while Django looks, and Django's own backend in this process is psycopg2's, too.
"""

from __future__ import annotations

import sys
from typing import Any

try:
    from django.apps import apps
    from django.core.exceptions import ImproperlyConfigured
    from django.db.migrations.recorder import MigrationRecorder
except ModuleNotFoundError as error:
    raise ImportError(
        "greenshard.ext.django needs Django: pip install 'greenshard[django]'"
    ) from error

from greenshard import dbapi
from greenshard.cluster import Cluster, Reference
from greenshard.cluster.names import quoted


def _import_backend() -> Any:
    """Django's backend for PostgreSQL, with psycopg2."""
    hidden = sys.modules.get("psycopg")
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        from django.db.backends.postgresql import base, psycopg_any  # noqa: PLC0415
    finally:
        if hidden is None:
            del sys.modules["psycopg"]
        else:
            sys.modules["psycopg"] = hidden
    if psycopg_any.is_psycopg3:
        raise ImproperlyConfigured(
            "Django's backend for PostgreSQL was imported with psycopg 3 before greenshard's: "
            "import greenshard.ext.django.base first, in the settings, or uninstall psycopg 3"
        )
    return base


_backend: Any = _import_backend()


class Operations(_backend.DatabaseOperations):  # type: ignore[misc]  # it has no types
    """PostgreSQL's."""

    compiler_module = "greenshard.ext.django.compilers"


class DatabaseWrapper(_backend.DatabaseWrapper):  # type: ignore[misc]  # it has no types
    """A database that is a cluster."""

    Database = dbapi
    ops_class = Operations

    def get_connection_params(self) -> dict[str, Any]:
        """The arguments of `greenshard.connect`.

        Raises:
            greenshard.ProgrammingError: The cluster's file cannot be read, or has mistakes.
        """
        cluster = self._cluster()
        if cluster is None:
            parameters: dict[str, Any] = super().get_connection_params()
            return parameters
        told = {name.lower() for name in ("NAME", "HOST", "PORT") if self.settings_dict[name]}
        if told:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}] has {', '.join(sorted(told)).upper()}, but the cluster "
                "says where its shards are"
            )
        # Django asks for a name.
        self.settings_dict["NAME"] = "cluster"
        try:
            parameters = super().get_connection_params()
        finally:
            self.settings_dict["NAME"] = ""
        for name in ("dbname", "cluster", "undeclared"):
            parameters.pop(name, None)
        return {**parameters, "shards": cluster}

    def _cluster(self) -> Cluster | None:
        """The cluster, one object for all connections of the alias; None over one shard."""
        given = self.settings_dict["OPTIONS"].get("cluster")
        if given is None:
            return None
        made = _CLUSTERS.get(self.alias)
        if made is None or made[0] is not given:
            cluster = given if isinstance(given, Cluster) else Cluster.from_toml(given)
            if self._others_are_reference():
                cluster = cluster.with_tables(dict.fromkeys(_undeclared(cluster), Reference()))
            made = _CLUSTERS[self.alias] = (given, cluster)
        return made[1]

    def _others_are_reference(self) -> bool:
        told = self.settings_dict["OPTIONS"].get("undeclared")
        if told not in {None, "reference"}:
            raise ImproperlyConfigured(
                f'OPTIONS["undeclared"] is {told!r}, not "reference", which makes tables that the '
                "cluster does not declare reference tables"
            )
        return told is not None

    def is_usable(self) -> bool:
        """Whether every shard answers. Switches: yes."""
        if self.connection is None:
            return False
        try:
            self.connection.ping()
        except dbapi.Error:
            return False
        return True


#: By alias what was given, and the cluster that was made of it: Django has a wrapper for each
#: thread, and connections to the same `Cluster` share what they know of it.
_CLUSTERS: dict[str, tuple[Any, Cluster]] = {}


def _undeclared(cluster: Cluster) -> list[str]:
    """The tables of installed applications, and Django's own, that a cluster does not declare."""
    models = apps.get_models(include_auto_created=True)
    names = [model._meta.db_table for model in (MigrationRecorder.Migration, *models)]
    return [quoted(name) for name in names if cluster.table("public", name) is None]
