"""Makes databases shards: each says which one it is, and has what transactions over several need.

`schema` is what there is to be, `condition` what a shard has of it and what is in the way (both
pure); `initialization` carries it out. `greenshard check` asks the same of `condition`.
"""

from __future__ import annotations

from greenshard.initializing.initialization import init

__all__ = ["init"]
