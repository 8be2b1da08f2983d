"""Tests of the registry of queues, names and envelopes."""

from distq.core.option_values import TASK
from distq.core.queue import RESULT, WORK
from distq.core.registry import Defaults, Registry


def test_a_name_is_made_once_and_shared() -> None:
    """Tasks with the same options share one envelope, and tasks of one name and queue share counters."""
    registry = Registry(Defaults(capacity=7))
    envelope = registry.envelope("q", "f", TASK)
    assert registry.envelope("q", "f", TASK) is envelope
    other = registry.envelope("q", "f", TASK, priority=9)
    assert other is not envelope
    assert other.counters is envelope.counters is registry.counters_of("q", "f")
    assert other.queue is registry.queue("q")
    assert registry.queue("q").capacity == 7


def test_an_omitted_option_is_the_default_and_zero_is_not() -> None:
    """None means the default; 0 is a value and does not mean the default."""
    registry = Registry(Defaults(retries=3, max_deliveries=5, result_ttl_s=60.0, time_limit_s=9.0))
    default = registry.envelope("q", "f", TASK)
    assert (default.retries, default.max_deliveries, default.result_ttl_s, default.time_limit_s) == (3, 5, 60.0, 9.0)
    own = registry.envelope("q", "f", TASK, retries=0, max_deliveries=1, result_ttl_s=0.0, time_limit_s=1.0)
    assert (own.retries, own.max_deliveries, own.result_ttl_s, own.time_limit_s) == (0, 1, 0.0, 1.0)


def test_a_queue_keeps_its_role_until_it_is_given_another() -> None:
    """A queue is a work queue unless a caller gives another role."""
    registry = Registry(Defaults())
    assert registry.queue("q").role == WORK
    assert registry.queue("q", RESULT).role == RESULT
    assert registry.queue("q").role == RESULT
