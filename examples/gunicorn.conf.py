"""gunicorn's settings for an application that uses greenshard.

export GREENSHARD_CLUSTER=/path/to/cluster.toml
gunicorn -c examples/gunicorn.conf.py --chdir examples flask_view:app
"""

from __future__ import annotations

import os

# Each request runs in a greenlet, and a fan-out query lets the others run while the shards work.
worker_class = "gevent"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))

# Requests at the same time in one worker. Each holds a connection to every shard, so PostgreSQL's
# max_connections must be above workers * worker_connections on each shard; on the first one above
# twice that, because statements that gather rows do so there, on a connection of their own.
worker_connections = int(os.environ.get("WORKER_CONNECTIONS", "40"))

# Preloading imports the application before the workers are forked. A declared cluster may cross the
# fork, a connection may not: it would raise InterfaceError. Open connections in the request, as
# flask_view.py does, or in post_fork.
preload_app = False

bind = os.environ.get("BIND", "127.0.0.1:8000")
