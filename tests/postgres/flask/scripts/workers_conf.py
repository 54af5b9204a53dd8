"""gunicorn's settings for the tests: the log tells when a worker can be told to end.

gunicorn forgets a SIGTERM that reaches a gevent worker before this, and kills it 30 s later.
"""


def post_worker_init(worker):
    worker.log.info("Worker is ready")
