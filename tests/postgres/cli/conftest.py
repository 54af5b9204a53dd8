"""A small declared cluster, and its TOML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

import greenshard

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric(10,2));
CREATE TABLE customers (name text PRIMARY KEY, city text)
"""
TABLES = """
[tables]
orders = { shard_key = "id" }
customers = { reference = true }
"""
ORDERS = [(number, "abé"[number % 3], f"{number}.50") for number in range(1, 13)]
CUSTOMERS = [("a", "Åbo"), ("b", "Bonn"), ("é", "Évry")]


@pytest.fixture
def cluster_file(greenshard_dsns: dict[str, str], tmp_path: Path) -> str:
    """A cluster of two shards: twelve orders split by their id, three customers on both."""
    path = tmp_path / "cluster.toml"
    path.write_text(declaration(greenshard_dsns))
    for dsn in greenshard_dsns.values():
        with closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cursor:
            cursor.execute(SCHEMA)
    greenshard.init(path)
    with closing(greenshard.connect(path)) as conn:
        cursor = conn.cursor()
        cursor.executemany("INSERT INTO orders VALUES (%s, %s, %s)", ORDERS)
        cursor.executemany("INSERT INTO customers VALUES (%s, %s)", CUSTOMERS)
        conn.commit()
    return str(path)


def declaration(dsns: Mapping[str, str]) -> str:
    shards = "".join(f"{name} = {json.dumps(dsn)}\n" for name, dsn in dsns.items())
    return f"[shards]\n{shards}{TABLES}"
