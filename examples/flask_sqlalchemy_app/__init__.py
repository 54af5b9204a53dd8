"""A Flask-SQLAlchemy application over a cluster that its models declare; see `app`."""
