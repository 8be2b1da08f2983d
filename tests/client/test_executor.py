"""Tests that a client is an executor: what the standard library's executors do with a call, a client does too."""

import math

import pytest
from tests.client.functions import double
from tests.client.masters import Books, client_of, serving
from tests.waiting import SOON_S

import distq

RETRIES = 3
"""The index of `retries` in an envelope."""


@distq.task
def decorated(n: int) -> int:
    """Return twice the number."""
    return 2 * n


@pytest.mark.parametrize(
    ("function", "asked", "retries"),
    [
        (double, {}, 0),
        (math.sqrt, {}, 0),
        (double, {"retries": 2}, 2),
        (decorated, {}, None),
        (decorated, {"retries": 0}, 0),
    ],
)
def test_a_function_without_the_decorator_is_retried_only_if_its_submit_says_so(
    function: object, asked: dict[str, int], retries: int | None
) -> None:
    """None leaves the number to the master (DISTQ_RETRIES). Every way to submit sends the same."""
    books = Books()
    with serving(books) as master, client_of(master) as client:
        submitter = client.options(**asked)  # type: ignore[arg-type] # a parameter of this test
        submitter.submit(function, 1).result(SOON_S)  # type: ignore[arg-type] # as above
        list(submitter.map(function, [1, 2], chunksize=2))  # type: ignore[arg-type] # as above
        submitter.chain(distq.call(function, 1)).result(SOON_S)  # type: ignore[arg-type] # as above
        assert [envelope[RETRIES] for _, (envelope,), *_ in books.submits] == [retries] * 3


def test_a_task_that_is_submitted_by_its_name_is_retried_as_the_master_says() -> None:
    """The client does not import the function, and so cannot know whether it is decorated."""
    books = Books()
    with serving(books) as master, client_of(master) as client:
        client.submit_named("tests.client.functions:double", [1])
        client.flush(SOON_S)
        assert books.submits[0][1][0][RETRIES] is None
        client.abandon()
