"""Turns the rows of the shards into one answer: pure, without gevent or driver."""
