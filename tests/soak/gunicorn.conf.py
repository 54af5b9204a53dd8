"""gunicorn's settings for a soak."""

import os

wsgi_app = "tests.soak.web_app:create_app()"
bind = f"unix:{os.environ['SOAK_SOCKET']}"
worker_class = "gevent"
workers = 2
worker_connections = 400
max_requests = 1500
max_requests_jitter = 1000
graceful_timeout = 20
control_socket_disable = True
