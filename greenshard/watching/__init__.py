"""What the shards are doing now, and how to end one of their statements.

``shard_status`` has the values (pure), ``asking_status`` asks for them, ``cancelling`` cancels.
"""

from __future__ import annotations

from greenshard.watching.asking_status import look
from greenshard.watching.cancelling import Cancelled, cancel
from greenshard.watching.shard_status import Running, ShardStatus, Status, Wait

__all__ = ["Cancelled", "Running", "ShardStatus", "Status", "Wait", "cancel", "look"]
