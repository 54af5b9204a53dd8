"""Deadlocks over shards: who waits for whom, and who is to give way.

``graph`` decides, and is pure; ``observer`` asks the servers; ``waits`` notices which statements of
this process take long; ``watcher`` looks on their behalf, and ends the one that gives way.
"""
