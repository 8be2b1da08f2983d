"""Heads: each field is the same after packing and reading, and a head has at most its maximum size."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.core.build import DEFAULTS, new_ledger

from distq.core import head
from distq.core.constraints import FAILURE_POLICIES, NO_CONSTRAINTS, DependsOn, TaskConstraints
from distq.core.head import NAME_BYTES_MAX, TASK_NAME_BYTES_MAX, NameTooLong
from distq.core.option_values import COST_MAX, LABELS_BYTES_MAX, PLAIN, TASK
from distq.core.states import EXPIRED
from distq.settings.role_keys import _NAME

HEAD_BYTES_MAX = 270
KEYS_BYTES_MAX = 200
"""Maximum additional bytes of a head with constraints, without headers."""
seconds = st.floats(0, 1e11)
text = st.text(st.characters(codec="utf-8"), max_size=16)


@given(
    numbers=st.tuples(*[st.integers(0, 65535)] * 2, *[seconds] * 3),
    state=st.integers(0, EXPIRED),
    delivery=st.integers(0, 2**32 - 1),
    registry=st.tuples(text, text, st.sampled_from([PLAIN, TASK])),
    options=st.tuples(st.integers(0, 9), st.integers(0, 65535), st.integers(1, 2**32 - 1), seconds),
    time_limit_s=st.none() | st.floats(0.001, 1e9),
    expires_at=st.none() | seconds,
    requires=st.frozensets(
        st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=9), max_size=4
    ),
    constraints=st.just(NO_CONSTRAINTS)
    | st.builds(
        TaskConstraints,
        text,
        st.integers(1, 1_000_000),
        text,
        st.none() | st.floats(1e-3, 1e9, allow_subnormal=False),
        st.none()
        | st.builds(
            DependsOn, st.integers(0, 2**62), st.integers(0, 10_000), st.sampled_from(FAILURE_POLICIES), st.booleans()
        ),
        st.lists(st.tuples(text, text), max_size=3).map(tuple),
    ),
    cost=st.integers(1, COST_MAX),
    key_name=st.just("") | st.from_regex(_NAME, fullmatch=True),
)
def test_a_head_is_read_as_it_was_packed(
    numbers: tuple[int, int, float, float, float],
    state: int,
    delivery: int,
    registry: tuple[str, str, str],
    options: tuple[int, int, int, float],
    time_limit_s: float | None,
    expires_at: float | None,
    requires: frozenset[str],
    constraints: TaskConstraints,
    cost: int,
    key_name: str,
) -> None:
    """Every field is the same after reading: names of any characters (also NUL), and instants to the last bit."""
    queue, name, kind = registry
    priority, retries, max_deliveries, ttl_s = options
    envelope = new_ledger(DEFAULTS._replace(tasks_per_key_max=1)).registry.envelope(
        queue,
        name,
        kind,
        priority=priority,
        retries=retries,
        max_deliveries=max_deliveries,
        result_ttl_s=ttl_s,
        time_limit_s=time_limit_s,
        requires=requires,
        cost=cost,
        key_name=key_name,
    )
    packed = head.pack(envelope, state, delivery, *numbers, expires_at, constraints)
    keys, labels = 0 if constraints is NO_CONSTRAINTS else KEYS_BYTES_MAX, LABELS_BYTES_MAX if requires else 0
    headers = len(json.dumps(constraints.headers, ensure_ascii=False).encode())
    assert len(packed) <= HEAD_BYTES_MAX + keys + labels + headers + (len(key_name) + 1 if key_name else 0)
    expected = (
        state,
        delivery,
        *numbers,
        expires_at,
        constraints,
        kind,
        queue,
        name,
        *options,
        time_limit_s,
        requires,
        cost,
        key_name,
    )
    assert head.unpack(packed) == head.Head(*expected)


def test_a_head_has_the_name_of_a_key_only_if_the_tasks_of_a_key_have_a_limit() -> None:
    """Without the limit an earlier release reads every head, and all keys share an envelope."""
    registry = new_ledger().registry
    assert registry.envelope("q", "f", TASK, key_name="ann") is registry.envelope("q", "f", TASK)
    assert registry.envelope("q", "f", TASK, key_name="ann").packed == registry.envelope("q", "f", TASK).packed
    limited = new_ledger(DEFAULTS._replace(tasks_per_key_max=1)).registry
    envelope = limited.envelope("q", "f", TASK, key_name="ann")
    assert envelope is not limited.envelope("q", "f", TASK, key_name="bob")
    assert len(envelope.packed) == len(registry.envelope("q", "f", TASK).packed) + len("ann") + 1


def test_the_longest_names_fit_into_a_head() -> None:
    """With names of the maximum size in bytes, a head has at most 270 bytes."""
    envelope = new_ledger().registry.envelope("é" * (NAME_BYTES_MAX // 2), "n" * TASK_NAME_BYTES_MAX, PLAIN)
    assert len(head.pack(envelope, 0, 0, 0, 0, 0.0, 0.0, 0.0, 1.0)) <= HEAD_BYTES_MAX


@pytest.mark.parametrize(
    ("queue", "name"), [("é" * 32 + "q", "f"), ("q", "f" * (TASK_NAME_BYTES_MAX + 1)), ("q", "é" * 64 + "f")]
)
def test_a_name_that_is_too_long_is_refused_and_leaves_nothing_behind(queue: str, name: str) -> None:
    """No queue and no counters are made for a name that was refused."""
    registry = new_ledger().registry
    with pytest.raises(NameTooLong, match="too long"):
        registry.envelope(queue, name, TASK)
    assert (registry.queues, registry.counters) == ({}, {})


def test_a_head_of_another_version_is_refused() -> None:
    """The reader raises an error for the head of a newer distq."""
    packed = head.pack(new_ledger().registry.envelope("q", "f", TASK), 0, 0, 0, 0, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="version 3, this distq reads 1 and 2"):
        head.unpack(b"\3" + packed[1:])


@given(
    arguments=st.binary(max_size=300),
    error=st.binary(max_size=300),
    causes=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=8),
)
def test_a_dead_letter_keeps_its_arguments_its_error_and_its_causes(
    arguments: bytes, error: bytes, causes: list[str]
) -> None:
    """One body contains all three: a requeue needs the arguments, an operator reads the error and the causes."""
    assert head.unpack_dead(head.pack_dead(arguments, error, causes)) == (arguments, error, causes)


def test_a_dead_letter_from_before_causes_were_stored_is_read() -> None:
    """The old body has the length of the arguments, the arguments and the error."""
    assert head.unpack_dead(b"\0" * 7 + b"\4argserror") == head.Dead(b"args", b"error", [])


def test_causes_with_characters_that_no_store_accepts_are_changed() -> None:
    """A lone surrogate or a NUL in an exception's text is replaced, so that the dead letter can be stored."""
    assert head.unpack_dead(head.pack_dead(b"a", b"e", ["a\0b\ud800"])).causes == ["a b?"]


@pytest.mark.parametrize(
    ("at", "changed"),
    [
        (0, b"\3"),
        (1, b"\x07"),
        (10, b"\x7f\xf8" + b"\0" * 6),
        (34, b"\x0a"),
        (-3, b"\xff\xff\xff"),
        (0, b""),
        (20, b""),
        (36, b""),
    ],
)
def test_a_head_that_no_distq_has_written_is_unreadable(at: int, changed: bytes) -> None:
    """A version, state, instant, priority or text out of its range, and a head that ends early, have one error."""
    envelope = new_ledger().registry.envelope("queue", "name", TASK)
    packed = head.pack(envelope, 0, 1, 0, 0, 1.0, 2.0, 3.0)
    at %= len(packed)
    with pytest.raises(head.UnreadableHead):
        head.unpack(packed[:at] + changed + packed[at + len(changed) :] if changed else packed[:at])


@pytest.mark.parametrize(
    "constraints",
    [
        "[",
        "[1, 1, 1, 1]",
        '["", 1, "", null, [1, 1000000000000, "run", false]]',
        '["", 1, "", null, [[], 1, "run", false]]',
        '["", 1, "", null, null, [["name", 5]]]',
        '["", 1, "", null, null, [["name"]]]',
        "[" * 5_000,
    ],
)
def test_constraints_that_no_distq_has_written_are_unreadable(constraints: str) -> None:
    """They cost neither time nor memory, however many dependencies they claim."""
    envelope = new_ledger().registry.envelope("queue", "name", TASK)
    packed = head.pack(envelope, 0, 1, 0, 0, 1.0, 2.0, 3.0, None, TaskConstraints(unique_key="u"))
    fixed = packed[: packed.index(b'["')]
    written = constraints.encode()
    with pytest.raises(head.UnreadableHead):
        head.unpack(fixed[:-2] + len(written).to_bytes(2, "big") + written + envelope.packed)


@pytest.mark.parametrize("body", [b"", b"\x80" + b"\0" * 7, b"\x80" + b"\0" * 14 + b"\1\xff"])
def test_the_body_of_a_dead_letter_that_ends_early_is_unreadable(body: bytes) -> None:
    """A reader of dead letters gets one kind of error for every damage."""
    with pytest.raises(head.UnreadableHead):
        head.unpack_dead(body)
