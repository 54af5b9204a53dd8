"""What was written, as far as the writer was told; and whether the servers have just that.

Each row of ``entry`` carries the number of its request. A request that was acknowledged must have
all of its rows, once. One that failed before it could commit must have none. If its end is not
known (killed in its commit, or the connection lost meanwhile), each shard has all of its rows of
the request or none of them; if the shards commit together, all of them have theirs or none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

COMMITTED, ABSENT, UNKNOWN = "committed", "absent", "unknown"


@dataclass(slots=True)
class Entry:
    """What a request writes: how many rows to each shard.

    Attributes:
        rows: Them.
        outcome: What the writer knows: nothing, until it is told.
        committed: Shards that have it, although the whole is not known or failed.
        together: Whether its shards commit together.
    """

    rows: dict[str, int]
    together: bool = False
    outcome: str = ABSENT
    committed: tuple[str, ...] = ()

    def allowed(self, shard):
        """How many rows a shard may have."""
        all_of_them = self.rows.get(shard, 0)
        if self.outcome == COMMITTED or shard in self.committed:
            return {all_of_them}
        if self.outcome == UNKNOWN:
            return {0, all_of_them}
        return {0}


class Ledger:
    """The entries of all requests."""

    def __init__(self):
        self._entries = {}

    def begin(self, number, rows, *, together=False):
        """A request is about to write; until it says otherwise nothing of it may be there."""
        entry = self._entries[number] = Entry(dict(rows), together)
        return entry

    def judge(self, found):
        """Compare.

        Args:
            found: For each shard, pairs of a request's number and how many rows it has.

        Yields:
            What is wrong.
        """
        there = defaultdict(Counter)
        for shard, pairs in found.items():
            for number, count in pairs:
                there[number][shard] += count
        for number in sorted(there.keys() - self._entries.keys()):
            yield f"rows of request {number}, which has written none"
        for number, entry in self._entries.items():
            for shard in sorted({*found, *entry.rows}):
                count, allowed = there[number][shard], entry.allowed(shard)
                if count not in allowed:
                    told = " or ".join(map(str, sorted(allowed)))
                    yield (
                        f"{_name(count, allowed)} write: {shard} has {count} rows of request "
                        f"{number}, which is {entry.outcome}: {told} expected"
                    )
            if entry.together and 0 < sum(map(bool, there[number].values())) < len(entry.rows):
                have = ", ".join(sorted(shard for shard, n in there[number].items() if n))
                yield f"half committed write: of request {number} only {have} has rows"

    def counts(self):
        """How many requests have written, by what is known of them."""
        counts = Counter(entry.outcome for entry in self._entries.values())
        return ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())


def _name(count, allowed):
    if count > max(allowed):
        return "unacknowledged" if allowed == {0} else "doubled"
    return "lost" if count == 0 else "torn"
