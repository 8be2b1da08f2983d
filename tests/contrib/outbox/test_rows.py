"""Rows of the outbox: what a program adds, and what a relay submits."""

from typing import Any

import pytest
from tests.contrib.outbox import work

import distq
from distq.contrib.outbox.rows import (
    CLOCKS_S,
    EXPIRED_S,
    ONCE_S,
    NewRow,
    OutboxRow,
    RowEncoder,
    queue_of,
    submit_options_of,
)
from distq.protocol.submit import SubmitConstraints, SubmitEnvelope, When

ENCODER = RowEncoder({})


def claimed(row: NewRow, at: float = 0.0) -> OutboxRow:
    """Return the row as a relay claims it."""
    return OutboxRow(1, row.key, row.created_at, row.options, row.body, at, 1)


def test_a_row_keeps_every_option_of_its_task() -> None:
    """The unique key of the row is added; the master keeps it, and the result, for a day."""
    row = claimed(ENCODER.with_options({"retries": 4, "time_limit": "1m"}).row(work.rich, (5,), {}))
    options = submit_options_of(row, row.created_at)
    assert SubmitEnvelope(*options.envelope) == SubmitEnvelope(
        "mail", "tests.contrib.outbox.work:rich", 7, 4, 60.0, None, None, ("gpu",), 2
    )
    hash(options.envelope)  # the client groups tasks by it
    assert options.when is None
    assert SubmitConstraints(*options.constraints or ()) == SubmitConstraints(
        "k", None, row.key, ONCE_S + CLOCKS_S, "return", None, (("tenant", "a"),)
    )
    assert queue_of(row) == "mail"


def test_times_are_counted_from_the_program_s_call() -> None:
    """A row may wait in its table for longer than a delay, or until the expiry of its task."""
    row = claimed(ENCODER.with_options({"delay": 60, "expires": 100}).row(work.trace, (1,), {}))
    later = When(*submit_options_of(row, row.created_at + 30).when or ())
    assert later.delay_s is None
    assert later.eta_at is not None
    assert later.eta_at == row.created_at + 60
    assert later.expires_s == pytest.approx(70)
    assert When(*submit_options_of(row, row.created_at + 200).when or ()).expires_s == EXPIRED_S
    at = claimed(ENCODER.with_options({"eta": 5.0}).row(work.trace, (1,), {}))
    assert submit_options_of(at, at.created_at).when == (None, 5.0, None)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"unique_key": "k"}, TypeError, "takes no unique_key: it has a unique key of its own"),
        ({"debounce": 5}, TypeError, "takes no debounce"),
        ({"full": "raise"}, TypeError, "takes no option full"),
        ({"retires": 3}, TypeError, "there is no option 'retires'"),
        ({"priority": 10}, ValueError, "from 0 to 9"),
    ],
)
def test_an_option_that_a_row_cannot_have_is_refused_where_it_is_given(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Nothing of it reaches the table."""
    with pytest.raises(error, match=text):
        ENCODER.with_options(options)


def test_a_call_that_cannot_be_sent_is_refused_where_it_is_added() -> None:
    """As `client.submit` refuses it, without a master."""
    with pytest.raises(distq.NotATask):
        ENCODER.row(lambda: None, (), {})
    with pytest.raises(TypeError):
        ENCODER.row(work.trace, (), {})
    with pytest.raises(distq.NotPicklable):
        ENCODER.row(work.trace, (lambda: None,), {})
    with pytest.raises(distq.PayloadTooLarge):
        RowEncoder({}, 100).row(work.trace, ("x" * 200,), {})
    with pytest.raises(TypeError, match=r"tests\.contrib\.outbox\.work:unique has a unique key, and a row of"):
        ENCODER.row(work.unique, (), {})
