"""Ends transactions over several shards."""
