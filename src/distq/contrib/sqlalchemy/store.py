"""The table of the outbox, as a relay uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, func, inspect, select, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from distq.contrib.outbox.relay import Postponed
from distq.contrib.outbox.rows import OutboxRow

SKIP_LOCKED: Final = ("postgresql", "mysql", "mariadb", "oracle")
"""The databases that leave out rows which another transaction has locked."""


class SqlOutboxStore:
    """The rows of one table."""

    errors: tuple[type[Exception], ...] = (OperationalError, InterfaceError, PoolTimeout)

    def __init__(self, engine: Engine, table: Table) -> None:
        self._engine = engine
        self._table = table

    def has_table(self) -> bool:
        """Whether the table exists; raises SQLAlchemyError without a database."""
        return inspect(self._engine).has_table(self._table.name, self._table.schema)

    def claim(self, token: str, limit: int, now: float, until_at: float) -> list[OutboxRow]:  # noqa: D102 - as OutboxStore
        table = self._table
        due = table.c.due_at <= now
        ids = select(table.c.id).where(due).order_by(table.c.id).limit(limit)
        if self._engine.dialect.name in SKIP_LOCKED:
            with self._engine.begin() as connection:
                self._take(
                    connection,
                    due,
                    connection.scalars(ids.with_for_update(skip_locked=True)).all(),
                    token,
                    now,
                    until_at,
                )
        else:
            # Two relays may read the same ids; the UPDATE, a transaction of its own, gives each row to one of them.
            with self._engine.begin() as connection:
                found = connection.scalars(ids).all()
            with self._engine.begin() as connection:
                self._take(connection, due, found, token, now, until_at)
        columns = [table.c[name] for name in OutboxRow._fields]
        with self._engine.begin() as connection:
            rows = connection.execute(select(*columns).where(table.c.claim == token).order_by(table.c.id)).all()
        return [OutboxRow(*row) for row in rows]

    def _take(
        self,
        connection: Connection,
        due: ColumnElement[bool],
        ids: Sequence[int],
        token: str,
        now: float,
        until_at: float,
    ) -> None:
        if ids:
            columns = self._table.c
            connection.execute(
                update(self._table)
                .where(columns.id.in_(ids), due)
                .values(
                    claim=token,
                    due_at=until_at,
                    attempted_at=func.coalesce(columns.attempted_at, now),
                    attempts=columns.attempts + 1,
                )
            )

    def delete(self, ids: Sequence[int]) -> None:  # noqa: D102
        with self._engine.begin() as connection:
            connection.execute(delete(self._table).where(self._table.c.id.in_(ids)))

    def postpone(self, token: str, rows: Sequence[Postponed]) -> None:  # noqa: D102
        columns = self._table.c
        with self._engine.begin() as connection:
            for row in rows:
                connection.execute(
                    update(self._table)
                    .where(columns.id == row.id, columns.claim == token)
                    .values(claim="", due_at=row.due_at, attempted_at=row.attempted_at, error=row.error)
                )

    def decide(self, *, submit: bool) -> int:  # noqa: D102
        doubtful = self._table.c.due_at.is_(None)
        with self._engine.begin() as connection:
            if submit:
                values = {"due_at": 0.0, "attempted_at": None}
                return connection.execute(update(self._table).where(doubtful).values(**values)).rowcount
            return connection.execute(delete(self._table).where(doubtful)).rowcount

    def count(self) -> tuple[int, int]:  # noqa: D102
        columns = self._table.c
        with self._engine.begin() as connection:
            total, waiting = connection.execute(
                select(func.count(), func.count(columns.due_at)).select_from(self._table)
            ).one()
        return waiting, total - waiting

    def close(self) -> None:
        """Do nothing: the engine, which the program may use too, replaces broken connections."""
