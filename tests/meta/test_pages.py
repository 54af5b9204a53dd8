from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg2
import pytest
from readme_renderer import rst

from tests.meta.pages import PAGES, README, ROOT, python_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from greenshard.testing import Shards

BLOCKS = [(page, block) for page in PAGES for block in python_blocks(page)]


@pytest.fixture
def shop(greenshard_shards: Shards) -> Iterator[dict[str, str]]:
    """An environment in which the README's ``dbname=shop_0`` and ``dbname=shop_1`` exist, empty."""
    server = greenshard_shards[0]
    place = psycopg2.extensions.parse_dsn(server.dsn)
    databases = ("shop_0", "shop_1")
    conn = psycopg2.connect(server.dsn)
    conn.autocommit = True
    with conn.cursor() as cur:
        for database in databases:
            cur.execute(f"CREATE DATABASE {database}")
        yield {"PGHOST": place["host"], "PGPORT": place["port"], "PGUSER": place["user"]}
        for database in databases:
            cur.execute(f"DROP DATABASE {database} WITH (FORCE)")
    conn.close()


def test_readme_renders_as_pypi_renders_it() -> None:
    assert rst.render(README.read_text(encoding="utf-8")) is not None


def test_each_make_command_on_a_page_is_a_target_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:``|^    )make ([a-z]+)", pages, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_each_extra_that_is_named_is_one() -> None:
    sources = [*PAGES, *(ROOT / "greenshard").rglob("*.py")]
    named = re.compile(r"(?:pip install '?|``)(?:greenshard|\.)\[([\w,]+)\]")
    extras = {name for page in sources for name in named.findall(page.read_text("utf-8"))}
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert {"testing", "flask"} <= extras
    assert [name for name in extras if f'"{name}": ' not in setup] == []


@pytest.mark.parametrize(
    ("page", "block"), BLOCKS, ids=[f"{page.stem}-{i}" for i, (page, _) in enumerate(BLOCKS)]
)
def test_each_python_block_on_a_page_compiles(page: Path, block: str) -> None:
    compile(block, str(page), "exec")


def test_readme_runs_as_written(shop: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text("\n".join(block.lstrip("\n") for block in python_blocks(README)))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, **shop},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["ada 2 20.0000000000000000", "bob 1 20.0000000000000000"]
    assert lines[3:5] == ["[('apple', 5)]", "strategy: merge"]
    assert any(line.startswith("GS410 ") for line in lines)


def test_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    blocks = python_blocks(ROOT / "docs" / "testing.rst")
    tests = [block for block in blocks if "def test_" in block]
    for number, block in enumerate(tests):
        (tmp_path / f"test_{number}.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(tests)} passed" in done.stdout
