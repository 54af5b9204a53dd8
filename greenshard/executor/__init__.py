"""Runs statements on the shards: one greenlet for each, deadlines, cancellation."""
