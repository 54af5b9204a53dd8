"""Lets hundreds of clients loose on pools over failing shards: ``make soak``.

Prints progress, each violation with what was going on, and the figures at the end. The exit code is
1 if there was a violation.
"""

from gevent import monkey

monkey.patch_all()

from psycogreen.gevent import patch_psycopg  # noqa: E402  # gevent must come first

patch_psycopg()

from tests.soak.program import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
