"""`distq.contrib.sqlalchemy.OutboxTable`: the table of the outbox, and what a program adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, Unpack

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
)
from sqlalchemy.orm import Session, scoped_session

from distq.client.client import Client
from distq.contrib.outbox.relay import INTERVAL_S, Relay, relay_client
from distq.contrib.outbox.rows import PAYLOAD_BYTES_MAX, RowEncoder, checked_payload_bytes_max
from distq.contrib.sqlalchemy.store import SqlOutboxStore
from distq.core.ranges import shown
from distq.tasks.options import SubmitKeywords

P = ParamSpec("P")

TABLE: Final = "distq_outbox"


class OutboxTable:
    """The outbox of a program.

    Args:
        metadata: where the table is declared, so that `create_all` or Alembic creates it.
        name: the name of the table.
        schema: the schema of the table.
        payload_bytes_max: the maximum bytes of a task's arguments, as the master's DISTQ_PAYLOAD_BYTES_MAX: a number,
            or a text such as `16MiB`.

    Raises:
        TypeError, ValueError: `metadata` is no MetaData, or `payload_bytes_max` is no size.
    """

    def __init__(
        self,
        metadata: MetaData,
        name: str = TABLE,
        *,
        schema: str | None = None,
        payload_bytes_max: int | str = PAYLOAD_BYTES_MAX,
    ) -> None:
        if not isinstance(metadata, MetaData):
            raise TypeError(f"metadata is a MetaData, such as Base.metadata, not {shown(metadata)}")
        self._encoder = RowEncoder({}, checked_payload_bytes_max(payload_bytes_max))
        self.table = table_of(metadata, name, schema)

    def options(self, **options: Unpack[SubmitKeywords]) -> OutboxTable:
        """The same outbox with other options for the tasks that are added, as `client.options` takes them.

        Raises:
            TypeError: there is no such option, or a row cannot have it (unique_key, full and others).
            ValueError: a value is out of range.
        """
        other = object.__new__(type(self))
        other.table = self.table
        other._encoder = self._encoder.with_options(options)
        return other

    def add(
        self,
        session: Session | scoped_session[Session] | Connection,
        fn: Callable[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str:
        """Add the call `fn(*args, **kwargs)` to the table, in the session's transaction; returns the row's key.

        In an AsyncSession: `await session.run_sync(lambda sync: outbox.add(sync, fn, ...))`. Raises what
        `distq.Client.submit` raises for a call that cannot be sent; the master need not be there.
        """
        if not isinstance(session, Session | scoped_session | Connection):
            raise TypeError(
                f"a row is added to the transaction of a Session, a scoped_session or a Connection, not of "
                f"{shown(session)}. With an engine, use `with engine.begin() as connection`; with an AsyncSession, "
                "`await session.run_sync(lambda sync: outbox.add(sync, ...))`"
            )
        row = self._encoder.row(fn, args, kwargs)
        session.execute(insert(self.table).values(due_at=row.created_at, **row._asdict()))
        return row.key

    def relay(
        self, engine: Engine, make_client: Callable[[], Client] = relay_client, interval_s: float = INTERVAL_S
    ) -> Relay:
        """A relay of this outbox; its `run()` submits rows until its `stop.set()` is called."""
        if not isinstance(engine, Engine):
            raise TypeError(f"engine is an Engine of SQLAlchemy, not {shown(engine)}")
        return Relay(SqlOutboxStore(engine, self.table), make_client, interval_s)


def table_of(metadata: MetaData, name: str, schema: str | None) -> Table:
    """The table of an outbox; instants are seconds since 1970."""
    return Table(
        name,
        metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("key", String(32), nullable=False, unique=True),
        Column("created_at", Double, nullable=False),
        Column("name", Text, nullable=False),
        Column("options", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("due_at", Double, index=True),
        Column("attempted_at", Double),
        Column("attempts", Integer, nullable=False, default=0, server_default="0"),
        Column("claim", String(32), nullable=False, default="", server_default="", index=True),
        Column("error", Text, nullable=False, default=""),
        schema=schema,
    )
