"""The tasks of each key are counted while they are kept, and have a limit."""

import pytest
from tests.core.build import DEFAULTS, new_ledger

from distq.core.errors import TasksFull
from distq.core.option_values import TASK


def test_a_key_has_room_again_once_its_submit_was_forgotten_or_its_tasks_are_dropped() -> None:
    """Tasks of the present cycle count; a refused commit gives their room back."""
    ledger = new_ledger(DEFAULTS._replace(tasks_per_key_max=2))
    envelope = ledger.registry.envelope("q", "f", TASK, key_name="ann")
    ledger.check_room(envelope, 2)
    first = ledger.submit(envelope, [b"a", b"b"], None, 0.0)
    with pytest.raises(TasksFull, match="2 tasks that the key 'ann' has submitted"):
        ledger.check_room(envelope, 1)
    ledger.forget()
    ledger.check_room(envelope, 2)
    first = ledger.submit(envelope, [b"a", b"b"], None, 0.0)
    ledger.apply(0.0)
    with pytest.raises(TasksFull):
        ledger.check_room(ledger.registry.envelope("other", "g", TASK, key_name="ann"), 1)
    ledger.check_room(ledger.registry.envelope("q", "f", TASK, key_name="bob"), 2)
    ledger.cancel(first)
    ledger.apply(0.0)
    with pytest.raises(TasksFull):
        ledger.check_room(envelope, 1)
    ledger.sweeper.sweep(DEFAULTS.result_ttl_s + 1)
    ledger.apply(DEFAULTS.result_ttl_s + 1)
    ledger.check_room(envelope, 1)


def test_keys_without_tasks_cost_nothing() -> None:
    """A key's number is dropped with its last envelope."""
    ledger = new_ledger(DEFAULTS._replace(tasks_per_key_max=2))
    for number in range(100):
        ledger.registry.envelope("q", "f", TASK, key_name=f"key-{number}")
    assert len(ledger.registry.key_tasks) == 0
