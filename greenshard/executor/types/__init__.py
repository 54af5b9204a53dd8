"""The types of values: of one name on all shards, and in what form they travel."""
