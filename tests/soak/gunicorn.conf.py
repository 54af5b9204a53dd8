"""gunicorn's settings for a soak."""

import os

wsgi_app = "tests.soak.web_app:create_app()"
bind = f"unix:{os.environ['SOAK_SOCKET']}"
worker_class = "gevent"
workers = 2
worker_connections = 400
max_requests = 200
max_requests_jitter = 400
# Longer than any request takes: nothing but a kill breaks one off.
graceful_timeout = 45
control_socket_disable = True


def post_worker_init(worker):
    """From now on it hears signals."""
    worker.log.info("Worker ready (pid: %s)", worker.pid)
