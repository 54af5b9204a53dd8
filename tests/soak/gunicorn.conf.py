"""gunicorn's settings for a soak."""

import os

wsgi_app = "tests.soak.web_app:create_app()"
bind = f"unix:{os.environ['SOAK_SOCKET']}"
worker_class = "gevent"
workers = 2
worker_connections = 400
max_requests = 200
max_requests_jitter = 400
# Longer than any request may take: nothing but a kill breaks one off.
graceful_timeout = 120
control_socket_disable = True
