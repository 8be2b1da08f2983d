"""The transactional outbox of SQLAlchemy: a task is a row of a table, which commits or rolls back with your data.

    outbox = OutboxTable(Base.metadata)

    with Session(engine) as session, session.begin():
        session.add(order)
        outbox.add(session, send_receipt, order.id)

`python -m distq.contrib.sqlalchemy URL` submits the rows.
"""

from __future__ import annotations

from distq.client.unsendable import ExtraMissing

try:
    from distq.contrib.sqlalchemy.outbox import OutboxTable as OutboxTable
except ImportError as error:
    if (error.name or "").partition(".")[0] != "sqlalchemy":
        raise
    raise ExtraMissing(
        f"distq.contrib.sqlalchemy needs SQLAlchemy 2.0 or newer ({error}): pip install 'distq[sqlalchemy]'."
    ) from None
