"""Makes a coordinator, all of it or nothing, and removes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from greenshard import errors
from greenshard._driver import (
    Attribute,
    RawConnection,
    ours,
)
from greenshard.cluster import Cluster
from greenshard.cluster.model import COORDINATOR
from greenshard.connection import Connection
from greenshard.coordinating import blueprint
from greenshard.coordinating.existing import Condition, Tables, notes, obstacles, tables_of
from greenshard.coordinating.looking import (
    describe_shards,
    exchanged,
    read_condition,
    reader_of,
)
from greenshard.coordinating.shard_rights import missing_rights
from greenshard.dbapi import connect
from greenshard.links.coordinator import STAMP, server_of
from greenshard.links.description import Name
from greenshard.links.look import Stamp, wrong_stamps
from greenshard.links.physical import Physical
from greenshard.secret import Secret, reveal
from greenshard.sql.nodes import quoted

#: Any number that no one else takes.
_LOCK = 7_206_173_016
_BEGIN = f"""
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '10s';
SET LOCAL jit = off;
SET LOCAL default_transaction_read_only = off;
SELECT pg_catalog.pg_advisory_xact_lock({_LOCK})
"""
#: Of libpq's parameters, those that lead to a server and are as good from elsewhere.
_KEPT = frozenset(
    {
        "channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_count",
        "keepalives_idle", "keepalives_interval", "krbsrvname", "sslcert", "sslcrl", "sslkey",
        "sslmode", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout",
    }
)  # fmt: skip
_info = Attribute(RawConnection, "info")
_READ_COMMITTED = 1
_DEPENDENT = "2BP01"
_CANNOT = "the coordinator cannot be changed"


@dataclass(frozen=True)
class Made:
    """What was made, or removed.

    Attributes:
        reader: The role that reads.
        tables: The names of the tables that can be read.
        changes: How many statements it took; 0 if all was there.
        notes: What is worth knowing.
    """

    reader: str
    tables: tuple[str, ...] = ()
    changes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Way:
    """How the coordinator gets to a shard.

    Attributes:
        options: Of the server.
        user: Who it is there.
        password: That one's; None if the shard asks for none.
    """

    options: Mapping[str, str]
    user: str
    password: Secret | None = field(repr=False)


def set_up(
    cluster: Cluster,
    dsn: str,
    reader: str | None = None,
    shard_user: str | None = None,
    shard_password: str | None = None,
    *,
    analyze: bool = True,
    connect_timeout: float | None = None,
) -> Made:
    """Make a database the coordinator of a cluster, or bring it up to date.

    Args:
        cluster: The declaration.
        dsn: Of the database, as a role that may make all this.
        reader: The role that is to read there; by default the user of the declared coordinator.
        shard_user: Who it is on the shards; by default the user that the cluster's file names.
        shard_password: That one's password.
        analyze: Whether it is to learn how many rows and values there are.
        connect_timeout: As `greenshard.connect`'s.

    Raises:
        greenshard.ProgrammingError: It cannot be (GS113). Nothing was changed.
        greenshard.OperationalError: A server cannot be reached.

    Switches: yes.
    """
    shards = {name: shard.primary for name, shard in cluster.shards.items()}
    who = reader or reader_of(cluster)
    with (
        closing(connect(shards, connect_timeout=connect_timeout)) as conn,
        _changing(dsn, connect_timeout) as there,
    ):
        described, stamps = describe_shards(conn, cluster)
        condition = read_condition(there, cluster, who)
        tables = tables_of(cluster, described)
        wrong = [*_unstamped(cluster, stamps), *obstacles(cluster, described, condition, tables)]
        ways = {
            shard: _way(conn._session.physical(shard), shard_user, shard_password)
            for shard in cluster.names
        }
        if not condition.facts["super"] and any(way.password is None for way in ways.values()):
            wrong.append(f"{_no_password(shard_user)}, {_ONLY_A_SUPERUSER}")
        wrong += missing_rights(conn, cluster, tables.wanted, {s: w.user for s, w in ways.items()})
        if shard_user is None:
            wrong += _others_before(condition, who, ways)
        _refuse(wrong)
        changes = _made(cluster, condition, tables, who, ways)
        for text in changes:
            _run(there, text)
        _let_in(there, condition, cluster, tables, who, ways)
        try:
            _try_out(there, cluster, tables, who, stamps)
        except errors.Error as error:
            raise _explained(error, shard_user, ways) from error
        for table in tables.wanted if analyze else ():
            _run(there, blueprint.analyzed(cluster, table))
        first = described[cluster.names[0]]
        told = [
            *(f"dropped: {each}, which is no shard any more" for each in condition.former(cluster)),
            *notes(first, condition, tables),
        ]
        if not condition.facts["super"] and any(way.password for way in ways.values()):
            told.append(
                "passwords may be in the coordinator's log, if its log_statement is ddl or all: "
                "only a superuser may keep them out"
            )
    names = tuple(".".join(table.name) for table in tables.wanted)
    return Made(who, names, len(changes), tuple(told))


def remove(
    cluster: Cluster,
    dsn: str,
    reader: str | None = None,
    *,
    connect_timeout: float | None = None,
) -> Made:
    """Drop what `set_up` has made. The extension stays.

    Raises:
        greenshard.ProgrammingError: Something else depends on it (GS113). Nothing was changed.

    Switches: yes.
    """
    who = reader or reader_of(cluster)
    with _changing(dsn, connect_timeout) as there:
        condition = read_condition(there, cluster, who)
        changes = [*_dropped(condition.foreign, condition.parents)]
        servers = [name for name, facts in condition.servers.items() if facts["made"]]
        changes += _dropped_servers(condition, servers)
        schemas = condition.facts["schemas"] or {}
        changes += [f"DROP SCHEMA {quoted(name)}" for name, made in schemas.items() if made]
        for text in changes:
            _run(there, text)
        told = _drop_reader(there, condition, who)
    return Made(who, (), len(changes), told)


#: A shard that does not ask for a password lets the user of the server in, whoever that is.
_NOT_ASKED = "2F003"
_NONE_SUPPLIED = "no password supplied"
_ONLY_A_SUPERUSER = "and only a superuser may let the coordinator connect without one"


def _no_password(user: str | None) -> str:
    """That there is none, and where it would be."""
    if user is None:
        return "the cluster's file has no password for the shards"
    return f"there is no password for {user}: $GREENSHARD_SHARD_PASSWORD is not set"


def _explained(
    error: errors.Error, user: str | None, ways: Mapping[str, _Way]
) -> errors.ProgrammingError:
    """Why the coordinator does not get to the shards, and what to do."""
    what, cause = str(error).removesuffix(" [GS113]"), error.__cause__
    if _NONE_SUPPLIED in what and any(way.password is None for way in ways.values()):
        what = f"{what}; {_no_password(user)}"
    elif getattr(cause, "pgcode", None) == _NOT_ASKED:
        what = (
            f"{_CANNOT}: a shard asks for no password (trust, peer, a certificate) where one was "
            "given. Leave it out, and run this as a superuser; or let pg_hba.conf ask for it"
        )
    return errors.ProgrammingError(what, code="GS113")


# What is in the way -----------------------------------------------------------------------------


def _unstamped(cluster: Cluster, stamps: Mapping[str, Stamp | None]) -> Iterator[str]:
    """Which shards do not say which ones they are."""
    missing = [shard for shard in cluster.names if stamps.get(shard) is None]
    if missing:
        yield f"not initialised: {', '.join(missing)}; run greenshard init first"
    yield from (what for _, what in wrong_stamps(stamps, cluster))


def _others_before(condition: Condition, reader: str, ways: Mapping[str, _Way]) -> Iterator[str]:
    """Who else the reader was on the shards, where nobody has said who it is to be now."""
    servers = {server_of(shard): way.user for shard, way in ways.items()}
    for server, user, known in condition.facts["mappings"] or ():
        mine = servers.get(server)
        if user == reader and known and mine is not None and known != mine:
            yield (
                f"on the shards {reader} is {known}, and would become {mine}: give --shard-user "
                f"{known} again, or --shard-user {mine}"
            )
            return


def _way(physical: Physical, user: str | None, password: str | None) -> _Way:
    """How the coordinator gets to a shard: as we did, as far as that is said."""
    info, given = _info.read(physical.raw), physical.dsn.public
    options = {name: text for name, text in given.items() if name in _KEPT}
    # What the environment of this program says means nothing there.
    where = {"host": given.get("host") or info.host, "port": str(info.port), "dbname": info.dbname}
    if "hostaddr" in given:
        where["hostaddr"] = given["hostaddr"]
    if "," in where["host"] and "port" in given:
        where["port"] = given["port"]
    known = password if user is not None else info.password
    secret = Secret(known) if known else None
    return _Way({**blueprint.SERVER_OPTIONS, **options, **where}, user or info.user, secret)


# Making -----------------------------------------------------------------------------------------


@contextmanager
def _changing(dsn: str, connect_timeout: float | None) -> Iterator[Connection]:
    """A transaction on the coordinator: committed in the end, or nothing of it is done."""
    with closing(connect({COORDINATOR: dsn}, connect_timeout=connect_timeout)) as conn:
        conn.isolation_level = _READ_COMMITTED
        try:
            _run(conn, _BEGIN)
            yield conn
        except BaseException:
            conn.rollback()
            raise
        conn.commit()


def _run(conn: Connection, text: str, secrets: Sequence[str] = ()) -> None:
    """Run a statement there.

    Args:
        conn: The connection.
        text: The statement; with placeholders for `secrets`, which no error shows.

    Raises:
        errors.Error: It fails. That something depends on what is dropped is told as GS113.
    """
    with conn.cursor() as cursor:
        try:
            cursor.execute(text, [ours(reveal(each)) for each in secrets] if secrets else None)
        except errors.Error as error:
            if error.pgcode != _DEPENDENT:
                raise
            detail = (error.diag.message_detail or str(error)).strip().replace("\n", "; ")
            _refuse([f"something else depends on what is to be dropped: {detail}. Drop that first"])


def _made(
    cluster: Cluster,
    condition: Condition,
    tables: Tables,
    reader: str,
    ways: Mapping[str, _Way],
) -> list[str]:
    """What changes what is there to what there is to be; nothing, if it is."""
    facts = condition.facts
    changes = [] if facts["extension"] else ["CREATE EXTENSION postgres_fdw SCHEMA pg_catalog"]
    if facts["reader"] is None:
        changes += blueprint.reader_made(reader)
    keep = {
        table.name
        for table in tables.wanted
        if table.name in condition.described.relations
        and condition.is_ours(table.name)
        and blueprint.is_made(cluster, table, condition.described.relations[table.name])
    }
    changes += _dropped_but(cluster, condition, keep)
    former = condition.former(cluster)
    changes += _dropped_servers(condition, former)
    made = facts["schemas"] or {}
    changes += [f"DROP SCHEMA {quoted(server)}" for server in former if made.get(server)]
    for shard in cluster.names:
        found = condition.servers.get(server_of(shard))
        if found is None:
            changes += blueprint.server_made(shard, ways[shard].options)
        else:
            changes += blueprint.server_changed(shard, ways[shard].options, found["options"] or {})
        if not condition.has_stamp(shard):
            changes += blueprint.stamp_made(shard)
    schemas = set(facts["schemas"] or ())
    for table in tables.wanted:
        if table.name in keep:
            continue
        if table.name[0] not in schemas:
            schemas.add(table.name[0])
            changes.append(f"CREATE SCHEMA {quoted(table.name[0])}")
            changes.append(f"COMMENT ON SCHEMA {quoted(table.name[0])} IS '{blueprint.MARK}'")
        changes += blueprint.table_made(cluster, table)
    return changes


def _dropped_but(cluster: Cluster, condition: Condition, keep: set[Name]) -> Iterator[str]:
    """What drops the tables that are not as they are to be, or not to be there."""
    kept_parts = {
        (server_of(shard), blueprint.part_name(name)) for name in keep for shard in cluster.names
    }
    former = condition.former(cluster)
    foreign = [
        (schema, name, server)
        for schema, name, server in condition.foreign
        if (schema, name) not in keep
        and (schema, name) not in kept_parts
        and ((schema, name) != (server, STAMP) or server in former)
    ]
    parents = [name for name in condition.parents if name not in keep]
    return _dropped(foreign, parents)


def _dropped_servers(condition: Condition, servers: Collection[str]) -> Iterator[str]:
    """What drops servers, and who is who there, with the passwords."""
    for server, user, _ in condition.facts["mappings"] or ():
        if server in servers:
            yield f"DROP USER MAPPING FOR {_user(user)} SERVER {quoted(server)}"
    yield from (f"DROP SERVER {quoted(server)}" for server in servers)


def _dropped(
    foreign: Iterable[tuple[str, str, str]],
    parents: Iterable[Name],
) -> Iterator[str]:
    for schema, name, _ in foreign:
        yield f"DROP FOREIGN TABLE {quoted(schema)}.{quoted(name)}"
    for schema, name in parents:
        yield f"DROP TABLE {quoted(schema)}.{quoted(name)}"


def _let_in(
    conn: Connection,
    condition: Condition,
    cluster: Cluster,
    tables: Tables,
    reader: str,
    ways: Mapping[str, _Way],
) -> None:
    """Tell the coordinator who it is on the shards, and give the reader its rights."""
    facts = condition.facts
    for text in blueprint.UNLOGGED if facts["super"] else ():
        _run(conn, text)
    for shard, way in ways.items():
        # Its tables' owner, as whom they are analyzed, and who reads.
        for user in dict.fromkeys((facts["user"], reader)):
            text = blueprint.mapping_made(shard, quoted(user), way.password is not None)
            _run(conn, text, [way.user, *([way.password] if way.password is not None else ())])
    # To try it out as that role, which a superuser may anyhow.
    member = () if facts["super"] else (f"GRANT {quoted(reader)} TO CURRENT_USER",)
    for text in (
        *member,
        *blueprint.reader_set(reader, facts["database"]),
        *blueprint.granted(reader, cluster.names, tables.wanted),
    ):
        _run(conn, text)


def _try_out(
    conn: Connection,
    cluster: Cluster,
    tables: Tables,
    reader: str,
    stamps: Mapping[str, Stamp | None],
) -> None:
    """See that the reader reads the shards, and that these are they.

    Raises:
        errors.ProgrammingError: It does not.
    """
    doing = "the servers cannot be asked"
    try:
        _run(conn, f"SET LOCAL ROLE {quoted(reader)}")
        others = exchanged(conn, cluster, stamps)
        for table in tables.wanted:
            doing = f"{'.'.join(table.name)} cannot be read"
            # The shards plan it too, which they do only for who may read.
            _run(conn, f"EXPLAIN SELECT * FROM {table.sql}")
        _run(conn, "RESET ROLE")
    except (errors.OperationalError, errors.ProgrammingError, errors.InternalError) as error:
        told = [
            _first_line(error),
            error.diag.message_detail,
            error.diag.message_hint,
        ]
        what = ". ".join(each.strip().replace("\n", " ") for each in told if each)
        raise _not_made([f"as {reader}, {doing}: {what}"]) from error
    _refuse(
        [f"what the coordinator reaches as shard {each} is another database" for each in others]
    )


def _drop_reader(conn: Connection, condition: Condition, reader: str) -> tuple[str, ...]:
    """Drop the role that reads, if it was made here; else say why it stays."""
    facts = condition.facts["reader"]
    if facts is None:
        return ()
    if not facts["made"]:
        return (f"the role {reader} stays: it was there before",)
    with conn.cursor() as cursor:
        try:
            cursor.execute(f"DROP OWNED BY {quoted(reader)}; SAVEPOINT reader")
            cursor.execute(f"DROP ROLE {quoted(reader)}")
        except errors.Error as error:
            cursor.execute("ROLLBACK TO SAVEPOINT reader")
            # Of another cluster's coordinator, for example.
            detail = str(error.diag.message_detail or "").replace("\n", "; ")
            why = f"it is in use: {detail}" if error.pgcode == _DEPENDENT else _first_line(error)
            return (f"the role {reader} stays: {why}",)
    return ()


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]


def _user(name: str) -> str:
    """Whose a user mapping is, as SQL."""
    return "PUBLIC" if name == "public" else quoted(name)


def _refuse(reasons: Sequence[str]) -> None:
    if reasons:
        raise _not_made(reasons)


def _not_made(reasons: Sequence[str]) -> errors.ProgrammingError:
    if len(reasons) == 1:
        return errors.ProgrammingError(f"{_CANNOT}: {reasons[0]}", code="GS113")
    lines = "".join(f"\n  {reason}" for reason in reasons)
    return errors.ProgrammingError(f"{_CANNOT}:{lines}", code="GS113")
