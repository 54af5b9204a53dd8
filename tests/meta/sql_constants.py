"""Finds the SQL that stands in a package as constants, whole or in pieces."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from greenshard.sql.parser import Message, ParserError, parse
from tests.meta.sql_names import HOLE

#: As what a piece may be parsed.
_FRAMES = ("{}", "SELECT {}", "SELECT FROM {}", "SELECT 1 {}", "SELECT 1 WHERE {}")
#: Without any of them a text names nothing that the search path decides.
_TELLING = re.compile(r"[(]|::|\bFROM\b|\bJOIN\b|[=<>]|OPERATOR|\bCOLLATE\b")
_SQL = re.compile(
    r"pg_catalog|::|\b(?:SELECT|FROM|WHERE|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|JOIN|CASE"
    r"|ORDER BY|GROUP BY|COALESCE|LEAST|COLLATE|WITH|SET|CAST|UNION|ANY|NULLIF|BETWEEN|LIKE)\b"
    r"|^\s*[a-z_]+\([^ ]*\)$"
)


class SqlText(NamedTuple):
    """A constant.

    Attributes:
        path: The module's file, from the package.
        name: The top-level name that it belongs to: a constant's, function's or class's.
        text: It, with `HOLE` where something is formatted into it.
        trees: What it is parsed as; none if it is no SQL, or cannot be parsed.
    """

    path: str
    name: str
    text: str
    trees: list[Message]


def sql_constants(package: Path) -> Iterator[SqlText]:
    """All that may be SQL."""
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package)
        names = ".".join((package.name, *path.with_suffix("").parts)).removesuffix(".__init__")
        tree = ast.parse(file.read_text("utf-8"))
        for statement in tree.body:
            name = getattr(statement, "name", None) or _target(statement)
            for text in _texts(statement, names):
                if _SQL.search(text) and _TELLING.search(text):
                    yield SqlText(str(path), name, text, _parsed(text))


def _target(statement: ast.stmt) -> str:
    targets = [getattr(statement, "target", None), *getattr(statement, "targets", ())]
    target = next((each for each in targets if each is not None), None)
    return target.id if isinstance(target, ast.Name) else ""


def _texts(root: ast.AST, module: str) -> Iterator[str]:
    """The texts below a node, without docstrings; one that is made of others once and whole."""
    pending: list[ast.AST] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(_piece(each, module) for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            pending.extend(ast.iter_child_nodes(node))


def _piece(node: ast.expr, module: str) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    value = node.value if isinstance(node, ast.FormattedValue) else node
    found = None
    if isinstance(value, ast.Name):
        with suppress(ImportError):
            found = getattr(importlib.import_module(module), value.id, None)
    return str(found) if isinstance(found, (str, int)) else HOLE


def _parsed(text: str) -> list[Message]:
    """The statements of a text, in the first frame that it fits."""
    sql = _plain(text)
    for frame in _FRAMES:
        try:
            found = parse(frame.format(sql))
        except ParserError:
            continue
        return found
    return []


def _plain(text: str) -> str:
    """A text of psycopg2's, of `str.format`'s or psql's, as the parser reads it."""
    sql = re.sub(r"^\\.*$", "", text, flags=re.MULTILINE)
    sql = re.sub(r"\\g(?:set|exec)", ";", sql)
    sql = re.sub(r":SERVER_VERSION_NUM", "150000", sql)
    sql = re.sub(r"""(?<!:):(['"])\w+\1""", HOLE, sql)
    sql = re.sub(r"%\((?:\w|\$)+\)s|%s", "$1", sql).replace("%%", "%")
    sql = re.sub(r"%\(\w*" + HOLE + r"\)s|%\(\w*\$" + HOLE + r"\)s", "$1", sql)
    return re.sub(r"\{\{?\w*(?:\[\w+\])?\}?\}", HOLE, sql)
