"""The table of the outbox, as a relay uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import InterfaceError, OperationalError, connections, models, transaction
from django.db.models.functions import Coalesce

from distq.contrib.django.outbox.models import WaitingTask
from distq.contrib.outbox.relay import Postponed
from distq.contrib.outbox.rows import OutboxRow


class DjangoOutboxStore:
    """The rows in one database of the project."""

    errors: tuple[type[Exception], ...] = (OperationalError, InterfaceError)

    def __init__(self, using: str) -> None:
        self._using = using

    @property
    def _rows(self) -> Any:
        return WaitingTask.objects.using(self._using)

    def claim(self, token: str, limit: int, now: float, until_at: float) -> list[OutboxRow]:  # noqa: D102 - as OutboxStore
        due = self._rows.filter(due_at__lte=now)
        if connections[self._using].features.has_select_for_update_skip_locked:
            with transaction.atomic(self._using):
                ids = list(due.select_for_update(skip_locked=True).order_by("id").values_list("id", flat=True)[:limit])
                self._take(due, ids, token, now, until_at)
        else:
            # Two relays may read the same ids; the UPDATE, a transaction of its own, gives each row to one of them.
            self._take(due, list(due.order_by("id").values_list("id", flat=True)[:limit]), token, now, until_at)
        found = self._rows.filter(claim=token).order_by("id").values_list(*OutboxRow._fields)
        # Drivers return the bytes of a column as bytes or as a memoryview.
        return [row._replace(body=bytes(row.body)) for row in map(OutboxRow._make, found)]

    def _take(self, due: Any, ids: Sequence[int], token: str, now: float, until_at: float) -> None:
        if ids:
            due.filter(id__in=ids).update(
                claim=token,
                due_at=until_at,
                attempted_at=Coalesce("attempted_at", models.Value(now, output_field=models.FloatField())),
                attempts=models.F("attempts") + 1,
            )

    def delete(self, ids: Sequence[int]) -> None:  # noqa: D102
        self._rows.filter(id__in=ids)._raw_delete(self._using)  # noqa: SLF001 - without a SELECT of all columns first

    def postpone(self, token: str, rows: Sequence[Postponed]) -> None:  # noqa: D102
        with transaction.atomic(self._using):
            for row in rows:
                self._rows.filter(id=row.id, claim=token).update(
                    claim="", due_at=row.due_at, attempted_at=row.attempted_at, error=row.error
                )

    def decide(self, *, submit: bool) -> int:  # noqa: D102
        doubtful = self._rows.filter(due_at=None)
        if submit:
            return int(doubtful.update(due_at=0.0, attempted_at=None))
        return int(doubtful.delete()[0])

    def count(self) -> tuple[int, int]:  # noqa: D102
        doubtful = self._rows.filter(due_at=None).count()
        return self._rows.count() - doubtful, doubtful

    def close(self) -> None:  # noqa: D102
        connections[self._using].close()
