"""The transactional outbox of Django: a task is a row of a table, which commits or rolls back with your data.

    INSTALLED_APPS = [..., "distq.contrib.django", "distq.contrib.django.outbox"]

    from distq.contrib.django import outbox

    with transaction.atomic():
        order = Order.objects.create(...)
        outbox.add(send_receipt, order.pk)

`manage.py distq_outbox` submits the rows. Tasks of Django go through the outbox with `"OPTIONS": {"OUTBOX": True}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Unpack

from distq.contrib.outbox.rows import RowEncoder
from distq.tasks.options import SubmitKeywords

P = ParamSpec("P")


class ProjectOutbox:
    """The outbox of the project with options for the tasks that are added; `options` returns one."""

    def __init__(self, encoder: RowEncoder, using: str | None = None) -> None:
        self._encoder = encoder
        self._using = using

    def options(self, *, using: str | None = None, **options: Unpack[SubmitKeywords]) -> ProjectOutbox:
        """The same outbox with other options, as `client.options` takes them; `using` is the alias of the database.

        Raises:
            TypeError: there is no such option, or a row cannot have it (unique_key, full and others).
            ValueError: a value is out of range.
        """
        return ProjectOutbox(self._encoder.with_options(options), using or self._using)

    def add(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Add the call `fn(*args, **kwargs)` to the table, in the current transaction; returns the row's key.

        Without a transaction the row commits immediately. Raises what `distq.Client.submit` raises for a call that
        cannot be sent; the master need not be there.
        """
        return self.add_row(fn, args, kwargs)

    def add_row(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], key: str | None = None
    ) -> str:
        """Do the same with a key that the caller has made."""
        from distq.contrib.django.outbox.models import WaitingTask  # noqa: PLC0415 - models need the apps of Django

        row = self._encoder.row(fn, args, kwargs, key)
        WaitingTask.objects.using(self._using).create(due_at=row.created_at, **row._asdict())
        return row.key

    def find(self, key: str) -> Any:
        """The row with a key, None if no such row waits."""
        from distq.contrib.django.outbox.models import WaitingTask  # noqa: PLC0415 - as above

        return WaitingTask.objects.using(self._using).filter(key=key).first()


_outbox = ProjectOutbox(RowEncoder({}))
options = _outbox.options
add = _outbox.add
find = _outbox.find
