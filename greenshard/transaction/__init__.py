"""The transaction of a logical connection, which may be open on several shards.

::

    state      PURE  how it stands on each shard, and what is true of it as a whole
    protocol   PURE  how it ends: which steps follow which answers
    carrying_out     carries the steps out on the shards' connections
    commit           ends it as the connection's methods do
    by_sql           ends one that SQL ends, or that is one statement's own
    failing          lets it be failed as a whole: by an error that no shard has raised, or only one
    gids       PURE  the names of those that are prepared
    verdict    PURE  what is done about one that nobody has ended
    recovery         does that on the shards, on connections of its own
    snapshot_protocol  PURE  how one moment over all shards is found
    snapshot         finds it on the shards' connections; what may be run there, and its end
    barrier          what commits and snapshots lock, on one shard

The room lies below the executor, whose strategies ask how the transaction stands (a failed one
takes no statement but its end; what it wrote, another session does not see), and above `links`,
whose connections it is made of. Nothing here knows of statements, plans or answers: what else ends
with a transaction (what is known of the catalog, named cursors) is told so by the connection.
"""
