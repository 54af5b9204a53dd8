"""gunicorn's settings for the application.

export GREENSHARD_CLUSTER=/path/to/cluster.toml
gunicorn -c examples/flask_app/gunicorn.conf.py
"""

from __future__ import annotations

import os
from pathlib import Path

wsgi_app = "flask_app:create_app()"
pythonpath = str(Path(__file__).resolve().parents[1])
bind = os.environ.get("BIND", "127.0.0.1:8000")

# Each request runs in a greenlet, and a fan-out query lets the others run while the shards work.
worker_class = "gevent"

# One process for each core that this application may use. Each has a pool of its own, so a shard
# sees at most workers * (max_size + max_gathers) connections.
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))

# Requests at the same time in one process. Those beyond the pool's max_size wait for a connection,
# but never longer than the pool's timeout.
worker_connections = int(os.environ.get("WORKER_CONNECTIONS", "200"))

# Seconds for the requests that run when gunicorn is told to stop: longer than the pool's timeout
# and a statement's together.
graceful_timeout = 10

# By default newer versions put a socket of one name into the home directory, for all their servers.
control_socket_disable = True
