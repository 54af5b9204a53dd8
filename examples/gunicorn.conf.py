"""gunicorn's settings for an application that uses greenshard.

export GREENSHARD_CLUSTER=/path/to/cluster.toml
gunicorn -c examples/gunicorn.conf.py --chdir examples flask_view:app
"""

from __future__ import annotations

import os

# Each request runs in a greenlet, and a fan-out query lets the others run while the shards work.
worker_class = "gevent"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))

# Requests at the same time in one worker; those that find no connection in the pool wait for one.
worker_connections = int(os.environ.get("WORKER_CONNECTIONS", "100"))

# The application is imported before the workers are forked: its pool is not connected then, and
# begins anew in each worker. PostgreSQL's max_connections must allow, on each shard,
# workers * max_size connections, or twice as many if statements gather rows.
preload_app = True

bind = os.environ.get("BIND", "127.0.0.1:8000")
