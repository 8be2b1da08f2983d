"""Failures: the bytes that programs write and read."""

import pickle

import pytest

from distq.core.failure import Failure, pack_exception, pack_failure_text, read_failure


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (pack_failure_text("TooManyParts", "it streams too much"), Failure("TooManyParts", "it streams too much")),
        (pack_exception(Failure("m:E", "no", "File x", b"...")), Failure("m:E", "no", "File x", b"...")),
        (pickle.dumps(("m:E", "no", "File x", None, "why", "new")), Failure("m:E", "no", "File x", None, "why")),
    ],
)
def test_a_failure_is_read_as_it_was_written_also_with_fields_of_a_later_version(body: bytes, failure: Failure) -> None:
    """The master writes failures without exceptions, executors write them with one."""
    assert read_failure(body, pickle.loads) == failure


def test_a_failure_is_a_plain_tuple_on_the_wire() -> None:
    """The master and standard-library programs unpickle it without distq's classes; the latter read protocol 4."""
    assert type(pickle.loads(pack_exception(Failure("m:E", "no")))) is tuple
    assert pack_failure_text("m:E", "no") == pickle.dumps(("m:E", "no", ""), 4)
