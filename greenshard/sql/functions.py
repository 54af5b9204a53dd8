"""What is known of PostgreSQL's own functions by their names: one table, for whoever must know one.

    facts_of("pg_backend_pid")      Fact.PLACE_BOUND: another answer on each server
    facts_of("random")              Fact.ANYWHERE | Fact.QUIET: VOLATILE, and harmless
    AGGREGATES["avg"].parts         Parts.AVERAGE: made of sums and counts

The server's catalog says whether a function is IMMUTABLE, STABLE or VOLATILE. That is about one
database; over several, "STABLE" holds both for `to_char` and for `pg_backend_pid`. This table tells
them apart. It has every function that can be called and is not IMMUTABLE, and every aggregate and
window function, of PostgreSQL 14 to 18; ``tests/postgres/one_database/test_known_functions.py``
compares it with ``pg_proc``. What it does not have is taken for the worst: STABLE, it may tell of
its server; VOLATILE, it must run in one place and may leave anything in its session; an aggregate
cannot be computed from parts. Only what does not write cannot be told so: see `read_only`.

A name counts, with whatever arguments: which function is meant depends on their types.

Source: src/include/catalog/pg_proc.dat of each version; PostgreSQL manual, 9 "Functions and
Operators".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import NamedTuple


def _words(text: str) -> list[str]:
    return text.split()


class Fact(Flag):
    """What is known of a function."""

    #: Not IMMUTABLE, but of its arguments, the session's settings and the schema alone, which are
    #: the same on all shards. That also counts where PostgreSQL calls it VOLATILE.
    ALIKE = auto()
    #: VOLATILE, but as good on one server as on another.
    ANYWHERE = auto()
    #: Has another answer on each server, or in each session, though the rows are the same.
    PLACE_BOUND = auto()
    #: Changes something besides rows: a sequence, a setting, a lock, a file, another session. What
    #: calls it does not only read.
    WRITES = auto()
    #: Tells of a table's rows on one server, though the statement may name no table.
    OF_PART = auto()
    #: VOLATILE, but leaves nothing in its session.
    QUIET = auto()
    #: Runs a query that it is given or makes; or sets something without being VOLATILE.
    RUNS = auto()
    #: Tells how a value is stored, which is not so of a copy that went to another server.
    OF_STORAGE = auto()
    #: Tells of a table by its name or OID. Gathered rows are in a temporary table of that name.
    OF_TABLE = auto()
    #: Tells the time at which the transaction began.
    TELLS_TIME = auto()
    #: Tells what the session has counted last. It has a session on each shard, and an INSERT counts
    #: where its row goes.
    COUNTED = auto()
    #: Makes floats, also of what is none.
    FLOATS = auto()
    #: Takes a row, and shows its fields but not its type's name.
    ANY_ROW = auto()
    #: Tells of the user, rights, comments, settings or the like. A cluster's shards have the same,
    #: or a statement that runs on them is as good with each one's own; but nothing says that they
    #: are equal, and copies of a row must be.
    OF_INSTALLATION = auto()


class Versions(NamedTuple):
    """The versions of PostgreSQL that have a function; None: no bound."""

    first: int | None = None
    last: int | None = None

    def __contains__(self, version: object) -> bool:
        if not isinstance(version, int):
            return False
        return (self.first or version) <= version <= (self.last or version)


#: All that are supported.
EVERY = Versions()

_Group = tuple[Fact, str]
_ALIKE, _ANYWHERE, _PLACE, _WRITES = Fact.ALIKE, Fact.ANYWHERE, Fact.PLACE_BOUND, Fact.WRITES
_QUIET, _ANY_ROW = Fact.QUIET, Fact.ANY_ROW
_INSTALLED = _ALIKE | Fact.OF_INSTALLATION

#: PostgreSQL's own, each name once. `name:16-` is there since version 16, `name:-14` until 14. A
#: star stands for whatever may follow: where PostgreSQL names a family so, and adds to it.
_TABLE: tuple[_Group, ...] = (
    # The time. clock_timestamp() moves on while a statement runs, on one server as on several; that
    # of the transaction must be one for all, so it is asked for once and put in (`now`).
    (_ALIKE | Fact.TELLS_TIME, "now transaction_timestamp"),
    (_PLACE, "statement_timestamp"),
    (_ANYWHERE | _QUIET, "clock_timestamp timeofday pg_sleep pg_sleep_for pg_sleep_until"),
    # Chance.
    (_ANYWHERE | _QUIET, """
        array_sample:16- array_shuffle:16- gen_random_uuid random random_normal:16- uuidv4:18-
        uuidv7:18-
    """),
    # Text, JSON, dates: STABLE because settings decide (DateStyle, TimeZone, the text search
    # configuration), or an operator or cast of the arguments' type.
    (_ALIKE, """
        age array_to_json array_to_string bpcharsend convert convert_from convert_to date
        date_add:16- date_subtract:16- date_trunc enum_first enum_last enum_range
        enum_send extract generate_series get_current_ts_config in_range json_populate_record
        json_populate_recordset json_to_record json_to_recordset json_to_tsvector
        jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz
        jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record
        jsonb_populate_record_valid:17- jsonb_populate_recordset jsonb_to_record
        jsonb_to_recordset jsonb_to_tsvector length make_timestamptz money namesend numeric
        overlaps phraseto_tsquery plainto_tsquery quote_literal quote_nullable textsend time
        timestamp timestamptz timetz to_char to_date to_number to_timestamp to_tsquery to_tsvector
        ts_debug ts_headline ts_parse ts_token_type varcharsend websearch_to_tsquery xml
        xml_is_well_formed
    """),
    (_ALIKE | Fact.FLOATS, "date_part"),
    (Fact.FLOATS, """
        acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt cos cosd cosh cot cotd
        degrees dexp dlog1 dlog10 erf:16- erfc:16- exp gamma:18- lgamma:18- ln log log10 pi pow
        power radians sin sind sinh sqrt tan tand tanh ts_rank ts_rank_cd
    """),  # IMMUTABLE
    (_ALIKE | _ANY_ROW, """
        concat concat_ws format json_build_array json_build_object jsonb_build_array
        jsonb_build_object row_to_json to_json to_jsonb
    """),
    (_ANY_ROW, "num_nonnulls num_nulls"),  # IMMUTABLE
    # `AT TIME ZONE` calls it. For a time with time zone it was VOLATILE until version 14, as it
    # asked for the offset of the very second.
    (_ALIKE | _QUIET, "timezone"),
    # The session, the schema, the server's kind and version: a cluster's shards have the same.
    (_ALIKE, """
        current_schema current_schemas pg_basetype:17- pg_char_to_encoding pg_collation_for
        pg_encoding_to_char pg_input_error_info:16- pg_input_is_valid:16- pg_trigger_depth pg_typeof
        regclass to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc
        to_regprocedure to_regrole to_regtype to_regtypemod:17-
    """),
    (_INSTALLED, """
        aclexplode current_setting current_user format_type
        getdatabaseencoding getpgusername has_database_privilege
        has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege
        has_largeobject_privilege:18- has_parameter_privilege:15- has_schema_privilege
        has_sequence_privilege has_server_privilege has_tablespace_privilege has_type_privilege
        oidvectortypes pg_client_encoding
        pg_collation_is_visible pg_conversion_is_visible
        pg_function_is_visible pg_has_role pg_indexam_has_property
        pg_mcv_list_items pg_opclass_is_visible pg_operator_is_visible
        pg_opfamily_is_visible pg_options_to_table pg_sequence_parameters
        pg_settings_get_flags:15- pg_split_walfile_name:16- pg_statistics_obj_is_visible
        pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
        pg_ts_template_is_visible pg_type_is_visible session_user
        shobj_description system_user:16- version
    """),
    # A value is stored compressed or not, with a long header or a short one.
    (_INSTALLED | Fact.OF_STORAGE, "pg_column_compression pg_column_size"),
    # The user owns the temporary table in which gathered rows are, and it has no comment.
    (_INSTALLED | Fact.OF_TABLE, """
        col_description has_any_column_privilege has_column_privilege has_table_privilege
        obj_description pg_column_is_updatable pg_describe_object pg_identify_object
        pg_identify_object_as_address pg_index_column_has_property pg_index_has_property
        pg_relation_is_publishable pg_relation_is_updatable pg_table_is_visible
        row_security_active
    """),
    (_INSTALLED | Fact.OF_TABLE | _QUIET, "pg_partition_ancestors pg_partition_tree"),
    (_INSTALLED, "amvalidate"),
    # The server: its process, addresses, files, build, what is installed there.
    (_PLACE, """
        current_database inet_client_addr inet_client_port inet_server_addr inet_server_port
        pg_available_extension_versions pg_available_extensions pg_backend_pid
        pg_backup_start_time:-14 pg_collation_actual_version pg_conf_load_time pg_config
        pg_control_* pg_current_logfile pg_database_collation_actual_version:15-
        pg_extension_update_paths pg_hba_file_rules pg_ident_file_mappings:15- pg_is_in_backup:-14
        pg_jit_available pg_ls_* pg_numa_available:18- pg_postmaster_start_time
        pg_read_binary_file pg_read_file pg_read_file_old:-16 pg_show_all_file_settings
        pg_show_all_settings pg_tablespace_databases pg_tablespace_location
        pg_timezone_abbrevs:-17 pg_timezone_abbrevs_abbrevs:18- pg_timezone_abbrevs_zone:18-
        pg_timezone_names
    """),
    (_PLACE | _QUIET, "pg_is_in_recovery"),
    # What the server's transactions, log, locks and statistics are at.
    (_PLACE, """
        mxid_age pg_available_wal_summaries:17- pg_current_snapshot pg_current_xact_id
        pg_current_xact_id_if_assigned pg_event_trigger_ddl_commands
        pg_event_trigger_dropped_objects pg_event_trigger_table_rewrite_oid
        pg_event_trigger_table_rewrite_reason pg_is_wal_replay_paused
        pg_isolation_test_session_is_blocked pg_last_committed_xact pg_prepared_xact
        pg_replication_origin_oid pg_replication_origin_progress
        pg_replication_origin_session_is_setup pg_replication_origin_session_progress
        pg_show_replication_origin_status pg_stat_clear_snapshot pg_stat_file
        pg_stat_get_activity pg_stat_get_backend_* pg_stat_get_progress_info
        pg_stat_get_snapshot_timestamp pg_stat_get_wal_receiver pg_stat_get_wal_senders
        pg_stat_have_stats:15- pg_wal_summary_contents:17- pg_xact_commit_timestamp
        pg_xact_commit_timestamp_origin txid_current txid_current_if_assigned
        txid_current_snapshot
    """),
    (_PLACE | _QUIET, """
        pg_blocking_pids pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
        pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
        pg_lock_status pg_notification_queue_usage pg_safe_snapshot_blocking_pids pg_xact_status
        txid_status
    """),
    # The session on that server: cursors, prepared statements, what it counted; the text that was
    # sent there, in which the time and the names of tables may be others.
    (_PLACE | Fact.COUNTED, "currval lastval"),
    (_PLACE, """
        pg_cursor pg_is_other_temp_schema pg_listening_channels pg_my_temp_schema
        pg_prepared_statement
    """),
    (_PLACE | _QUIET, "current_query"),
    # Where a row or a table is stored; OIDs, which each server gives as they come. pg_get_* print
    # parts of the catalog by OID, or what the server is at.
    (_PLACE, """
        currtid2 lo_get loread pg_column_toast_chunk_id:17- pg_filenode_relation pg_get_*
        pg_relation_filenode pg_relation_filepath
    """),
    (_PLACE, "hashenum hashenumextended"),  # called IMMUTABLE, and hash the OID of a label
    # Sizes, and whatever runs a query over the rows there.
    (_PLACE | _QUIET, "pg_sequence_last_value"),
    (_PLACE | Fact.OF_PART, "pg_stat_get_*"),
    (_PLACE | _QUIET | Fact.OF_PART, """
        pg_database_size pg_tablespace_size
        pg_indexes_size pg_relation_size pg_table_size pg_total_relation_size
    """),
    (_PLACE | Fact.RUNS | Fact.OF_PART, """
        cursor_to_xml cursor_to_xmlschema database_to_xml database_to_xml_and_xmlschema
        database_to_xmlschema query_to_xml query_to_xml_and_xmlschema query_to_xmlschema
        schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema table_to_xml
        table_to_xml_and_xmlschema table_to_xmlschema ts_stat
    """),
    (_ALIKE | Fact.RUNS, "ts_rewrite"),  # only with two arguments: `calls.measures_tables`
    # Sequences, settings, locks, notifications, snapshots. A lock of the transaction leaves nothing
    # when that has ended.
    (_WRITES, """
        nextval pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all
        pg_advisory_unlock_shared pg_export_snapshot pg_try_advisory_lock
        pg_try_advisory_lock_shared set_config setseed setval
    """),
    (_WRITES | _QUIET, """
        pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_notify pg_try_advisory_xact_lock
        pg_try_advisory_xact_lock_shared
    """),
    # Large objects, also those of the extension lo; indexes; the catalog.
    (_WRITES, """
        binary_upgrade_* brin_desummarize_range brin_summarize_new_values brin_summarize_range
        gin_clean_pending_list lo_* lowrite pg_clear_attribute_stats:18-
        pg_clear_relation_stats:18- pg_extension_config_dump pg_import_system_collations
        pg_nextoid pg_restore_attribute_stats:18- pg_restore_relation_stats:18-
        pg_stop_making_pinned_objects:15-
    """),
    # Other sessions, the server, its log, its standbys.
    (_WRITES, """
        pg_backup_start:15- pg_backup_stop:15- pg_cancel_backend pg_copy_* pg_create_* pg_drop_*
        pg_log_* pg_logical_* pg_promote pg_reload_conf pg_replication_* pg_rotate_logfile
        pg_rotate_logfile_old:-16 pg_start_backup:-14 pg_stat_force_next_flush:15- pg_stat_reset*
        pg_stop_backup:-14 pg_switch_wal pg_sync_replication_slots:17- pg_terminate_backend
        pg_wal_replay_*
    """),
    # What no statement calls by its name: sampling methods, and the triggers of constraints.
    (_QUIET, """
        bernoulli system suppress_redundant_updates_trigger tsvector_update_trigger
        tsvector_update_trigger_column unique_key_recheck RI_FKey_cascade_del RI_FKey_cascade_upd
        RI_FKey_check_ins RI_FKey_check_upd RI_FKey_noaction_del RI_FKey_noaction_upd
        RI_FKey_restrict_del RI_FKey_restrict_upd RI_FKey_setdefault_del RI_FKey_setdefault_upd
        RI_FKey_setnull_del RI_FKey_setnull_upd
    """),
)  # fmt: skip

#: Of extensions that come with PostgreSQL.
_OF_EXTENSIONS: Mapping[str, tuple[_Group, ...]] = {
    "adminpack": ((_WRITES, "pg_file_*"),),
    "dblink": ((_WRITES, "dblink*"),),
    "isn": ((Fact.RUNS, "isn_weak"),),  # sets; called IMMUTABLE until version 17
    "pgcrypto": ((_QUIET, "gen_random_bytes gen_salt"),),
    "uuid-ossp": ((_QUIET, "uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4"),),
    "xml2": ((Fact.RUNS, "xpath_table"),),
}

#: Extensions whose functions in C do as they say: what is not VOLATILE only computes, but for
#: `Fact.RUNS`. Not among them are tablefunc, dblink, postgis_raster, address_standardizer and
#: pgrouting, which run queries that they are given or make; postgis, which looks up
#: ``spatial_ref_sys`` with operators that the search path chooses; and what nobody looked through.
COMPUTING_EXTENSIONS = frozenset(
    _words("""
    bloom btree_gin btree_gist citext cube dict_int dict_xsyn earthdistance fuzzystrmatch hstore
    intagg intarray isn lo ltree pg_trgm pgcrypto seg tsm_system_rows tsm_system_time unaccent
    uuid-ossp vector xml2
    """)
)

#: What only counts: afterwards the session has a `lastval()`, and nothing else.
COUNTING = "nextval"
#: What tells a setting, by its name.
ASKING = "current_setting"
#: What makes one.
SETTING = "set_config"
#: What tells the text that the server was sent.
TELLING_TEXT = "current_query"
#: What `setseed` decides.
SEEDED = frozenset({"array_sample", "array_shuffle", "random", "random_normal"})
#: With one argument it counts back from the day of the transaction.
AGE = "age"


class Parts(Enum):
    """How an aggregate of all rows is made of those of parts of them."""

    SAME = "the same over the parts"
    COUNT = "the sum of the counts, 0 of none"
    SUM = "the sum, of the type that a part has"
    AVERAGE = "the sum of sums over the sum of counts"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is known of an aggregate.

    Attributes:
        parts: How it is made of parts; None: not at all, or not with the same digits.
        reduced: What `Reduction` calls it; None if Python cannot compute it of parts.
        idempotent: Whether rows that are met twice make no difference, so that DISTINCT does not.
        unordered: Whether it is the same in whatever order the rows come, but for what follows.
        adds: Whether it adds, so that the last digits of floats depend on the order.
        floats: Whether it adds floats, whatever it is given.
        picks: Whether it gives one of its values, so that equal ones may look different.
        any_row: `Fact.ANY_ROW`.
        versions: Where it is.
    """

    parts: Parts | None = None
    reduced: str | None = None
    idempotent: bool = False
    unordered: bool = False
    adds: bool = False
    floats: bool = False
    picks: bool = False
    any_row: bool = False
    versions: Versions = EVERY


def _same(reduced: str | None = None, *, picks: bool = False) -> Aggregate:
    return Aggregate(Parts.SAME, reduced, idempotent=True, unordered=True, picks=picks)


#: Sums of products: another order of the rows gives other digits at most.
_STATISTICAL = Aggregate(unordered=True, adds=True)
#: Of pairs: they make floats of any numbers.
_OF_PAIRS = Aggregate(unordered=True, adds=True, floats=True)
#: What is in the order of the rows.
_LISTING = Aggregate()
_LISTING_ROWS = Aggregate(any_row=True)
_LISTING_ROWS_16 = Aggregate(any_row=True, versions=Versions(16))
#: With WITHIN GROUP, whose ORDER BY they sort by themselves.
_OF_SORTED = Aggregate(unordered=True)
_PICKING = Aggregate(unordered=True, picks=True)

#: PostgreSQL's own. What is not here cannot be computed from parts, and keeps the rows' order.
AGGREGATES: Mapping[str, Aggregate] = {
    "count": Aggregate(Parts.COUNT, "count", unordered=True, any_row=True),
    "sum": Aggregate(Parts.SUM, "sum", unordered=True, adds=True),
    "avg": Aggregate(Parts.AVERAGE, unordered=True, adds=True),
    "min": _same("min", picks=True),
    "max": _same("max", picks=True),
    "bool_and": _same("bool_and"),
    "every": _same("bool_and"),
    "bool_or": _same("bool_or"),
    "bit_and": _same(),
    "bit_or": _same(),
    "bit_xor": Aggregate(Parts.SAME, unordered=True),
    "any_value": Aggregate(Parts.SAME, versions=Versions(16)),  # which one, the order says
    "range_agg": Aggregate(unordered=True),
    "range_intersect_agg": Aggregate(unordered=True),
    **dict.fromkeys(
        _words("""
        corr covar_pop covar_samp regr_avgx regr_avgy regr_intercept regr_r2 regr_slope regr_sxx
        regr_sxy regr_syy
        """),
        _OF_PAIRS,
    ),
    **dict.fromkeys(
        _words("regr_count stddev stddev_pop stddev_samp var_pop var_samp variance"), _STATISTICAL
    ),
    **dict.fromkeys(
        _words("cume_dist dense_rank percent_rank percentile_cont rank"),
        _OF_SORTED,
    ),
    **dict.fromkeys(_words("mode percentile_disc"), _PICKING),
    **dict.fromkeys(_words("array_agg string_agg xmlagg"), _LISTING),
    **dict.fromkeys(_words("json_agg json_object_agg jsonb_agg jsonb_object_agg"), _LISTING_ROWS),
    **dict.fromkeys(
        _words("""
        json_agg_strict json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict
        jsonb_agg_strict jsonb_object_agg_strict jsonb_object_agg_unique
        jsonb_object_agg_unique_strict
        """),
        _LISTING_ROWS_16,
    ),
}

#: Window functions, and whether they give peers different values, so that the rows must be in one
#: order. Of an aggregate as a window function that is told by its `Aggregate.unordered`.
WINDOW_FUNCTIONS: Mapping[str, bool] = {
    **dict.fromkeys(_words("first_value lag last_value lead nth_value ntile row_number"), True),
    **dict.fromkeys(_words("cume_dist dense_rank percent_rank rank"), False),
}

#: Functions in FROM and the columns that they give, whatever they are called with; one without a
#: name is called as the function or its alias. `unnest` is not here: it has as many as a row.
SET_COLUMNS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        _words("""
        generate_series generate_subscripts json_object_keys jsonb_object_keys jsonb_path_query
        jsonb_path_query_tz regexp_matches regexp_split_to_table string_to_table
        """),
        ("",),
    ),
    **dict.fromkeys(
        _words("""
        json_array_elements json_array_elements_text jsonb_array_elements
        jsonb_array_elements_text
        """),
        ("value",),
    ),
    **dict.fromkeys(
        _words("json_each json_each_text jsonb_each jsonb_each_text"), ("key", "value")
    ),
}

#: Functions that take times, and the place of the argument whose type they have themselves; None:
#: what they give is no time, or of a type of its own. A date becomes a timestamptz.
OF_TIMES: Mapping[str, int | None] = {
    **dict.fromkeys(
        _words("age date_part extract isfinite overlaps timezone to_char tsrange tstzrange")
    ),
    **dict.fromkeys(_words("date_add date_subtract generate_series"), 0),
    **dict.fromkeys(_words("date_bin date_trunc"), 1),
}
#: Functions that make times of what may be none, and the type.
MAKING_TIMES: Mapping[str, str] = {
    **dict.fromkeys(_words("date make_date to_date"), "date"),
    **dict.fromkeys(_words("make_time"), "time"),
    **dict.fromkeys(_words("make_timestamp"), "timestamp"),
    **dict.fromkeys(
        _words("""
        clock_timestamp make_timestamptz now statement_timestamp to_timestamp
        transaction_timestamp
        """),
        "timestamptz",
    ),
}
#: Functions that give a value of their first argument.
GIVING_ARGUMENT = frozenset(
    _words("any_value first_value lag last_value lead max min nth_value unnest")
)

#: What SQL calls without brackets, and is the time of the transaction: the type that it has. The
#: parser (`parser.VALUE_FUNCTIONS`) puts ``_n`` behind the name if a precision stands there.
TIME_VALUES: Mapping[str, str] = {
    "current_date": "date",
    "current_time": "timetz",
    "current_timestamp": "timestamptz",
    "localtime": "time",
    "localtimestamp": "timestamp",
}
#: The others: whether they differ from server to server.
OTHER_VALUES: Mapping[str, bool] = {
    "current_catalog": True,  # the database's name, as current_database()
    "current_role": False,
    "current_schema": False,
    "current_user": False,
    "session_user": False,
    "user": False,
}


#: What tells of the schemas on the search path that are there, or names a type as seen from it.
OF_PATH = frozenset({"current_schema", "current_schemas", "pg_typeof"})
#: Of these, those that name a user: shards may know the program by different names.
OF_USERS = frozenset({"current_role", "current_user", "session_user", "user"})


# Lookups ------------------------------------------------------------------------------------


def _read(groups: Iterable[_Group]) -> Iterator[tuple[str, Fact, Versions]]:
    for fact, names in groups:
        for each in _words(names):
            name, _, versions = each.partition(":")
            first, _, last = versions.partition("-")
            yield name, fact, Versions(int(first) if first else None, int(last) if last else None)


def _extensions() -> Iterator[tuple[str, Fact, Versions]]:
    for groups in _OF_EXTENSIONS.values():
        yield from _read(groups)


def entries() -> Iterator[tuple[str, Fact, Versions]]:
    """What the table says of PostgreSQL's own functions; families end in a star."""
    yield from _read(_TABLE)


def extension_entries() -> Iterator[tuple[str, str, Fact]]:
    """What it says of extensions' functions: extension, name, facts."""
    for extension, groups in _OF_EXTENSIONS.items():
        for name, fact, _ in _read(groups):
            yield extension, name, fact


_NOTHING = Fact(0)
_ALL = {name: fact for name, fact, _ in (*entries(), *_extensions())}
_FACTS = {
    name: fact | (Fact.ANY_ROW if name in AGGREGATES and AGGREGATES[name].any_row else _NOTHING)
    for name, fact in {**dict.fromkeys(AGGREGATES, _NOTHING), **_ALL}.items()
    if not name.endswith("*")
}
# The longest first: pg_stat_get_... is no pg_stat_...
_FAMILIES = tuple(
    (name[:-1], _ALL[name]) for name in sorted(_ALL, key=len, reverse=True) if name.endswith("*")
)
_STEMS = tuple(stem for stem, _ in _FAMILIES)


def facts_of(name: str) -> Fact:
    """What is known of the functions of a name; nothing if the table does not have it.

    Cost: 0.1 us; of a family 1 us.

    >>> facts_of("nextval"), facts_of("pg_stat_get_some_day"), facts_of("lower")
    (<Fact.WRITES: 8>, <Fact.PLACE_BOUND|OF_PART: 20>, <Fact: 0>)
    """
    found = _FACTS.get(name)
    if found is not None:
        return found
    if name.startswith(_STEMS):
        return next(facts for stem, facts in _FAMILIES if name.startswith(stem))
    return _NOTHING


def stems_with(fact: Fact) -> list[str]:
    """What the names of the families begin with that have a fact."""
    return [stem for stem, facts in _FAMILIES if fact in facts]


def names_with(fact: Fact, *, families: bool = False) -> frozenset[str]:
    """The names that have a fact; no family may have it, unless those are asked for, too.

    >>> sorted(names_with(Fact.TELLS_TIME))
    ['now', 'transaction_timestamp']
    """
    assert families or not stems_with(fact)  # noqa: S101  # of the table above
    return frozenset(name for name, facts in _FACTS.items() if fact in facts)


def is_known(name: str) -> bool:
    """Whether the table has a name."""
    return name in _FACTS or name in WINDOW_FUNCTIONS or name.startswith(_STEMS)


#: What leaves nothing in its session, though VOLATILE; and what may do anything, though it is not.
QUIET = names_with(Fact.QUIET)
RUNNING = names_with(Fact.RUNS)
#: What is not the same on each shard: the time of its transaction, what tells of it.
VARYING = names_with(Fact.TELLS_TIME) | names_with(Fact.PLACE_BOUND, families=True)
