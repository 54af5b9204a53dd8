from __future__ import annotations

import graphlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import grimp
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


def test_no_circle_of_imports_not_even_of_types() -> None:
    graph = grimp.build_graph("greenshard", cache_dir=None, exclude_type_checking_imports=False)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 200
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_import_loads_nothing_that_only_the_command_line_needs() -> None:
    program = "import greenshard, sys; print({'click', 'rich', 'flask'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_no_two_modules_have_one_name_for_different_things() -> None:
    """How a strategy is planned and how it is carried out is one thing; commands have own names."""
    package = Path(greenshard.__file__).parent
    places: dict[str, list[str]] = {}
    for path in package.rglob("*.py"):
        if path.stem not in {"__init__", "__main__"}:
            places.setdefault(path.stem, []).append(path.relative_to(package).parent.as_posix())
    twice = {stem: sorted(rooms) for stem, rooms in places.items() if len(rooms) > 1}
    allowed = [
        {"executor/strategies", "planner/strategies"},
        {".", "parallel"},  # connection and cursor, as psycopg2 and as the class of 2015 have them
    ]
    assert {s: r for s, r in twice.items() if set(r) not in allowed and "cli" not in r} == {}


def test_architecture_page_has_each_room_and_each_module_between_them() -> None:
    package = Path(greenshard.__file__).parent
    page = (ROOT / "docs" / "architecture.rst").read_text()
    there = {f"``{p.name}/``" for p in package.iterdir() if (p / "__init__.py").exists()}
    there |= {f"``{p.name}``" for p in package.glob("*.py") if not p.name.startswith("__")}
    assert sorted(name for name in there if name not in page) == []


def test_contributing_page_has_each_folder_of_tests() -> None:
    page = (ROOT / "docs" / "contributing.rst").read_text()
    folders = {
        path.relative_to(ROOT).parts[1] for path in tracked_files() if path.match("tests/*/*")
    }
    folders = {name for name in folders if (ROOT / "tests" / name).is_dir()}
    assert sorted(name for name in folders if f"``tests/{name}/``" not in page) == []
