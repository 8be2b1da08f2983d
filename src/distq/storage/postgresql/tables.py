"""The tables in a schema of the database, as numbered migrations, and the statements that use them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from distq.storage.error_messages import StoreUnusable
from distq.storage.postgresql.arrays import integer
from distq.storage.postgresql.session import DatabaseSession
from distq.storage.postgresql.target import Target

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        "CREATE TABLE {schema}.distq_version (version bigint NOT NULL)",
        "INSERT INTO {schema}.distq_version VALUES (0)",
        """CREATE TABLE {schema}.distq_clusters (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL UNIQUE,
            epoch bigint NOT NULL,
            leader text NOT NULL
        )""",
        # One row for head and body: each change is one row and one entry of the index, and an amended head leaves a
        # body of more than 2 kB where it is. Rows die young: dead ones are removed early.
        """CREATE TABLE {schema}.distq_rows (
            cluster bigint NOT NULL,
            key bigint NOT NULL,
            head bytea NOT NULL,
            body bytea NOT NULL,
            PRIMARY KEY (cluster, key)
        ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000)""",
        # Compressing a body would take longer than the rest of its commit.
        "ALTER TABLE {schema}.distq_rows ALTER COLUMN body SET STORAGE EXTERNAL",
    ),
    (
        # Not columns of distq_clusters: every commit locks the row there, so that a renewal would wait for commits.
        """CREATE TABLE {schema}.distq_leases (
            cluster bigint PRIMARY KEY,
            epoch bigint NOT NULL,
            beat bigint NOT NULL,
            lease_ms bigint NOT NULL,
            released boolean NOT NULL,
            server_started_at timestamptz NOT NULL
        ) WITH (fillfactor = 50)""",
    ),
    (
        # The keys of each commit, for masters that follow it. A column of distq_rows that changes with each commit
        # would need an index, and then each amended head would be a new entry in both indexes.
        """CREATE TABLE {schema}.distq_changes (
            cluster bigint NOT NULL,
            number bigint NOT NULL,
            epoch bigint NOT NULL,
            keys bigint[] NOT NULL,
            PRIMARY KEY (cluster, number)
        ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000)""",
        "ALTER TABLE {schema}.distq_changes ALTER COLUMN keys SET STORAGE EXTERNAL",
    ),
)
"""Each migration brings the schema from version n to n + 1. All of these are released: add new ones, change none."""

VERSION: Final = len(MIGRATIONS)
OLDEST_SERVER: Final = 13

COMMIT: Final = """
WITH fence AS (
    SELECT FROM {schema}.distq_clusters WHERE id = {cluster} AND epoch = {epoch} FOR SHARE
), allowed AS (
    SELECT FROM fence WHERE cardinality($1::bigint[])
        = (SELECT count(*) FROM {schema}.distq_rows WHERE cluster = {cluster} AND key = ANY($1::bigint[]))
), amended AS (
    INSERT INTO {schema}.distq_rows SELECT {cluster}, new.key, new.head, ''
        FROM unnest($1::bigint[], $2::bytea[]) AS new(key, head) WHERE EXISTS (SELECT FROM allowed)
    ON CONFLICT (cluster, key) DO UPDATE SET head = excluded.head
), put AS (
    INSERT INTO {schema}.distq_rows SELECT {cluster}, new.key, new.head, new.body
        FROM unnest($3::bigint[], $4::bytea[], $5::bytea[]) AS new(key, head, body) WHERE EXISTS (SELECT FROM allowed)
    ON CONFLICT (cluster, key) DO UPDATE SET head = excluded.head, body = excluded.body
), dropped AS (
    DELETE FROM {schema}.distq_rows
        WHERE cluster = {cluster} AND key = ANY($6::bigint[]) AND EXISTS (SELECT FROM allowed)
), logged AS (
    INSERT INTO {schema}.distq_changes
        SELECT {cluster}, $7::bigint, {epoch}, $1::bigint[] || $3::bigint[] || $6::bigint[]
        WHERE EXISTS (SELECT FROM allowed)
)
SELECT (SELECT count(*) FROM fence), (SELECT count(*) FROM allowed)
"""
"""Stores a batch if the epoch is still the leader's and all amended keys are stored; the counts tell which failed.

FOR SHARE makes the next leader, which changes the row, wait for the end of a commit that has seen the old epoch.
Amended keys are stored, so that their insert always becomes an update of the head. A plain UPDATE would join the table
with the array, by a plan that was made for an empty table.
"""
BEGIN_CHANGES: Final = """
INSERT INTO {schema}.distq_changes
    SELECT {cluster}, coalesce(max(number), 0) + 1, {epoch}, '{{}}'
    FROM {schema}.distq_changes WHERE cluster = {cluster}
RETURNING number
"""
"""The first row of an epoch in the log of changes, after the epoch has begun: no other leader adds one any more.

The rows of a cluster are numbered without a gap, over epochs too. An epoch without a first row belongs to a master of a
release that did not log its changes.
"""
LAST_CHANGE: Final = """
SELECT known.epoch, log.number, log.epoch FROM {schema}.distq_clusters AS known
JOIN {schema}.distq_changes AS log ON log.cluster = known.id
WHERE known.id = {cluster} ORDER BY log.number DESC LIMIT 1
"""
CHANGES: Final = (
    "SELECT number, epoch, keys FROM {schema}.distq_changes WHERE cluster = {cluster} AND number > $1::bigint "
    "ORDER BY number LIMIT $2::bigint"
)
TRIM_CHANGES: Final = "DELETE FROM {schema}.distq_changes WHERE cluster = {cluster} AND number < $1::bigint"
HEADS_OF: Final = "SELECT key, head FROM {schema}.distq_rows WHERE cluster = {cluster} AND key = ANY($1::bigint[])"
HEADS: Final = (
    "SELECT key, head FROM {schema}.distq_rows WHERE cluster = {cluster} AND key >= $1::bigint "
    "ORDER BY key LIMIT $2::bigint"
)
BODIES: Final = "SELECT key, body FROM {schema}.distq_rows WHERE cluster = {cluster} AND key = ANY($1::bigint[])"
SIZES: Final = (
    "SELECT key, octet_length(body)::bigint FROM {schema}.distq_rows "
    "WHERE cluster = {cluster} AND key = ANY($1::bigint[])"
)
LEAD: Final = (
    "UPDATE {schema}.distq_clusters SET epoch = epoch + 1, leader = convert_from($1::bytea, 'UTF8') "
    "WHERE id = {cluster} RETURNING epoch"
)
LOCK: Final = "SELECT pg_try_advisory_lock($1::bigint)::int::bigint"
UNLOCK: Final = "SELECT pg_advisory_unlock($1::bigint)::int::bigint"
READ_LEADER: Final = """
SELECT known.epoch, convert_to(known.leader, 'UTF8'), coalesce(lease.beat, 0), coalesce(lease.lease_ms, 0),
    coalesce(lease.released, false)::int::bigint,
    coalesce(lease.server_started_at = pg_postmaster_start_time(), false)::int::bigint
FROM {schema}.distq_clusters AS known
LEFT JOIN {schema}.distq_leases AS lease ON lease.cluster = known.id AND lease.epoch = known.epoch
WHERE known.id = {cluster}
"""
RENEW: Final = """
WITH fence AS (
    SELECT FROM {schema}.distq_clusters WHERE id = {cluster} AND epoch = $1::bigint FOR SHARE
)
INSERT INTO {schema}.distq_leases AS lease (cluster, epoch, beat, lease_ms, released, server_started_at)
    SELECT {cluster}, $1::bigint, 1, $2::bigint, false, pg_postmaster_start_time() FROM fence
ON CONFLICT (cluster) DO UPDATE SET epoch = excluded.epoch, beat = lease.beat + 1, lease_ms = excluded.lease_ms,
    released = false, server_started_at = excluded.server_started_at
WHERE lease.epoch <= excluded.epoch
RETURNING beat
"""
"""Renews the lease unless a later epoch has begun; FOR SHARE makes it wait for one that is just beginning."""
RELEASE: Final = "UPDATE {schema}.distq_leases SET released = true WHERE cluster = {cluster} AND epoch = $1::bigint"
COUNT_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = convert_from($1::bytea, 'UTF8') "
    "AND datname = current_database() AND pid <> pg_backend_pid()"
)
FIGURES: Final = f"""
SELECT epoch, convert_to(leader, 'UTF8'), pg_total_relation_size('{{schema}}.distq_rows'), ({COUNT_OTHERS})
FROM {{schema}}.distq_clusters WHERE id = {{cluster}}
"""  # noqa: S608 - constants
END_LOCK_HOLDER: Final = (
    "SELECT pg_terminate_backend(pid)::int::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = $1::bigint AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""Ends the lock session of a leader whose lease is over: a frozen process keeps its session, and so the lock."""
END_ABANDONED: Final = (
    "SELECT pg_terminate_backend(pid)::int::bigint FROM pg_stat_activity WHERE application_name = "
    "convert_from($1::bytea, 'UTF8') AND datname = current_database() AND pid <> pg_backend_pid()"
)
"""Ends the commit sessions of earlier leaders: one that waits for a standby keeps the lock of the cluster's row."""


class Statements(NamedTuple):
    """The statements for one schema and one cluster."""

    schema: str
    """The name of the schema in quotes, as SQL reads it."""
    cluster: int

    def text(self, sql: str, epoch: int = 0) -> str:
        """Return a statement with its names and numbers."""
        return sql.format(schema=self.schema, cluster=self.cluster, epoch=epoch)


def prepare_tables(session: DatabaseSession, target: Target) -> Statements:
    """Make or migrate the tables, and register the cluster.

    Raises:
        StoreUnusable: the server is too old, or a later release has made the tables.
        ServerError: the role lacks a right, or the server has no disk space.
    """
    check_server(session, target)
    version = version_of(session, target)
    if version < VERSION:
        migrate(session, target)
    elif version > VERSION:
        raise StoreUnusable(
            f"The tables in schema {target.schema} of {target.shown} were made by a newer distq (they are version "
            f"{version}, this one knows up to {VERSION}): run that release, or restore the backup made before the "
            "upgrade."
        )
    name, schema = target.cluster, target.quoted_schema
    session.run(
        f"INSERT INTO {schema}.distq_clusters (name, epoch, leader) SELECT '{name}', 0, '' "  # noqa: S608 - a checked name
        f"WHERE NOT EXISTS (SELECT FROM {schema}.distq_clusters WHERE name = '{name}') ON CONFLICT DO NOTHING"
    )
    ((number,),) = session.run(f"SELECT id FROM {schema}.distq_clusters WHERE name = '{name}'")  # noqa: S608
    return Statements(schema, int_of(number))


def check_server(session: DatabaseSession, target: Target) -> None:
    """Raise StoreUnusable if the server is older than OLDEST_SERVER."""
    if session.major_version < OLDEST_SERVER:
        raise StoreUnusable(
            f"The database of {target.shown} is PostgreSQL {session.server_version}; distq needs version "
            f"{OLDEST_SERVER} or later."
        )


def version_of(session: DatabaseSession, target: Target) -> int:
    """Return the version of the tables, 0 if there are none. Raises ServerError."""
    ((found,),) = session.run(f"SELECT to_regclass('{target.quoted_schema}.distq_version')::oid::bigint")
    if found is None:
        return 0
    ((version,),) = session.run(f"SELECT version FROM {target.quoted_schema}.distq_version")  # noqa: S608 - a checked name
    return int_of(version)


def migrate(session: DatabaseSession, target: Target) -> None:
    """Run the missing migrations in one transaction; another master that does the same waits. Raises ServerError."""
    session.run("SELECT pg_advisory_lock($1::bigint)", (integer(target.schema_lock),))
    try:
        found = session.run(f"SELECT FROM pg_namespace WHERE nspname = '{target.schema}'")
        create = [] if found else [f"CREATE SCHEMA {target.quoted_schema}"]
        statements = [sql for migration in MIGRATIONS[version_of(session, target) :] for sql in migration]
        if statements:
            statements.append(f"UPDATE {{schema}}.distq_version SET version = {VERSION}")  # noqa: S608
        session.run_together(create + [sql.format(schema=target.quoted_schema) for sql in statements])
    finally:
        if not session.ended:
            session.run("SELECT pg_advisory_unlock($1::bigint)", (integer(target.schema_lock),))


def int_of(value: bytes | None) -> int:
    """Return a bigint of a row."""
    assert value is not None
    return int.from_bytes(value, "big", signed=True)
