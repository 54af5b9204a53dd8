from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import greenshard
from tests.meta.pages import ROOT


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git clone")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_version_is_written_in_one_place() -> None:
    version = greenshard.__version__.encode()
    places = [path for path in tracked_files() if version in path.read_bytes()]
    assert places == [ROOT / "greenshard" / "__init__.py"]


def test_installed_metadata_has_the_version_of_the_package() -> None:
    assert importlib.metadata.version("greenshard") == greenshard.__version__


def test_package_is_typed() -> None:
    assert (Path(greenshard.__file__).parent / "py.typed").is_file()


def test_modules_import_only_from_the_layers_below_them() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
