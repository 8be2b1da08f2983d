"""A submit: the bytes that a client writes, and the values that the master reads."""

import pickle
from typing import Any

import pytest
from tests.master.bench import DEFAULTS

from distq.core.constraints import DependsOn, TaskConstraints
from distq.core.registry import Registry
from distq.protocol.methods import BROKER, SUBMIT
from distq.protocol.submit import (
    REJECT,
    REPLACE,
    RETURN,
    SubmitAccepted,
    SubmitEnvelope,
    SubmitRefused,
    When,
    instants,
    queue_of,
    read_answer,
    read_entry,
    read_submit,
    with_headers,
    write_answer,
    write_constraints,
    write_entry,
    write_envelope,
    write_when,
)
from distq.wire.errors import BadCall
from distq.wire.inert import read_call
from distq.wire.messages import encode_call

NOW = 1_000.0
PLAIN = SubmitEnvelope("mail", "shop:send")
TRACE = (("tenant", "acme"),)


def registry() -> Registry:
    """The names that a new master knows."""
    return Registry(DEFAULTS)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (write_envelope(PLAIN), ("mail", "shop:send", None, None, None, None, None)),
        (
            write_envelope(PLAIN._replace(priority=9, requires=("gpu",))),
            ("mail", "shop:send", 9, None, None, None, None, ("gpu",)),
        ),
        (write_envelope(PLAIN._replace(cost=2)), ("mail", "shop:send", None, None, None, None, None, (), 2)),
        (write_when(When()), None),
        (write_when(When(expires_s=2.5)), (None, None, 2.5)),
        (write_constraints("k", 2, "u", 3.5, RETURN), ("k", 2, "u", 3.5, "return")),
        (
            write_constraints("k", depends_on=DependsOn(0, 1, "run", is_single=True)),
            ("k", None, None, None, "reject", (0, 1, "run", True)),
        ),
        (write_constraints(headers=TRACE), (None, None, None, None, "reject", None, (("tenant", "acme"),))),
        (with_headers(None, TRACE), (None, None, None, None, "reject", None, (("tenant", "acme"),))),
        (with_headers(None, ()), None),
        (
            with_headers(("k", 1, None, None, "reject", None, (("a", "1"), ("b", "2"))), (("b", "3"),)),
            ("k", 1, None, None, "reject", None, (("a", "1"), ("b", "3"))),
        ),
        (write_entry(0, 3, None, None), (0, 3)),
        (write_entry(0, 3, (1.0, None, None), None), (0, 3, (1.0, None, None))),
        (write_entry(0, 1, None, ("k", 1, None, None, "reject")), (0, 1, None, ("k", 1, None, None, "reject"))),
    ],
)
def test_a_client_sends_the_same_bytes_as_the_release_before(written: object, sent: object) -> None:
    """A named tuple's class would be named in the pickle, and the master's unpickler makes no classes."""
    assert pickle.dumps(written, 5) == pickle.dumps(sent, 5)


def test_the_master_reads_a_submit_as_the_client_meant_it() -> None:
    """The frame has runs of tasks, each with its envelope, its times and its constraints."""
    envelopes = [write_envelope(PLAIN), write_envelope(PLAIN._replace(queue="late", priority=9, cost=2))]
    keyed = write_constraints("k", 2, headers=TRACE)
    after = write_constraints(depends_on=DependsOn(0, 2, "run"))
    runs = [
        write_entry(0, 2, None, None),
        write_entry(1, 1, write_when(When(5.0, None, 60.0)), keyed),
        write_entry(0, 1, None, after),
    ]
    args: Any = read_call(encode_call(BROKER, SUBMIT, (7, envelopes, runs, [b"a", b"b", b"c", b"d"], 1.5))).args
    number, (first, second, third), bodies, wait_s = read_submit(registry(), args, NOW)
    assert (number, bodies, wait_s) == (7, [b"a", b"b", b"c", b"d"], 1.5)
    assert (first.envelope.queue.name, first.size, first.when, first.constraints) == (
        "mail",
        2,
        None,
        TaskConstraints(),
    )
    assert (second.envelope.queue.name, second.envelope.priority, second.envelope.cost) == ("late", 9, 2)
    assert second.when == When(5.0, None, 60.0)
    assert second.constraints == TaskConstraints("k", 2, headers=TRACE)
    assert third.constraints.depends_on == DependsOn(0, 2, "run")
    assert first.conflict == second.conflict == REJECT


def test_a_run_that_a_schedule_submits_is_read_in_the_same_way() -> None:
    """The tasks of such a client have no dependencies."""
    constraints = write_constraints(unique_key="u", on_conflict=REPLACE)
    run = read_entry(registry(), write_envelope(PLAIN), None, constraints, NOW)
    assert (run.constraints.unique_key, run.conflict) == ("u", "replace")
    with pytest.raises(ValueError, match="no dependencies"):
        read_entry(registry(), write_envelope(PLAIN), None, write_constraints(depends_on=DependsOn(0, 0)), NOW)


def test_fields_that_a_later_version_adds_to_constraints_are_not_read() -> None:
    """A master that is upgraded after its clients still serves them."""
    later = (*write_constraints("k", headers=TRACE), "later")
    assert read_entry(registry(), write_envelope(PLAIN), None, later, NOW).constraints.concurrency_key == "k"


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ((0, 2, "run", True), "a single dependency is 1 task, not 2"),
        ((0, 1, "hope", True), "on_failure is fail, cancel, run, not 'hope'"),
        ((0, 1.5, "run", True), "dependencies are"),
        ((0, 2, "run", False), "come before it in the same submit"),
    ],
)
def test_invalid_dependencies_are_refused_with_an_error(after: Any, sentence: str) -> None:
    """The master takes none of the submit's tasks."""
    runs = [(0, 1), (0, 1, None, (None, None, None, None, REJECT, after))]
    with pytest.raises(BadCall, match=sentence):
        read_submit(registry(), (1, [write_envelope(PLAIN)], runs, [b"", b""], 0.0), NOW)


def test_the_dependencies_of_one_submit_have_a_maximum() -> None:
    """A thousand callbacks of a thousand tasks each would cost the master gigabytes for a frame of a few kilobytes."""
    size = 1 << 11
    callbacks = (1, 1 << 10, None, (None, None, None, None, REJECT, (0, size, "run", False)))
    runs = [(0, size), (0, *callbacks[1:])]
    bodies = [b""] * (size + callbacks[1])
    with pytest.raises(BadCall, match=r"at most 1,048,576 dependencies together; these have 2,097,152\."):
        read_submit(registry(), (1, [write_envelope(PLAIN)], runs, bodies, 0.0), NOW)


def test_the_instants_of_a_task_follow_from_its_times_and_the_masters_clock() -> None:
    """The later of delay and eta counts; an instant that is past is no wait."""
    assert instants(When(), NOW) == (0.0, None)
    assert instants(When(5.0, NOW + 3.0, 60.0), NOW) == (NOW + 5.0, NOW + 60.0)
    assert instants(When(None, NOW - 3.0, None), NOW) == (0.0, None)


def test_the_queue_of_an_envelope_is_found_without_its_position() -> None:
    """Chains put the tasks that they add into the queue of the task before."""
    assert queue_of(write_envelope(PLAIN)) == "mail"


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (SubmitAccepted(7), (True, 7)),
        (SubmitAccepted(7, [(0, 3, True)]), (True, 7, [(0, 3, True)])),
        (SubmitRefused("queue_full", "The queue is full."), (False, "queue_full", "The queue is full.")),
    ],
)
def test_an_answer_to_a_submit_travels_as_a_plain_tuple(
    answer: SubmitAccepted | SubmitRefused, sent: tuple[Any, ...]
) -> None:
    """Clients of the previous release read the same fields; an answer without conflicts has no third one."""
    assert write_answer(answer) == sent
    assert type(write_answer(answer)) is tuple
    assert read_answer(sent) == answer
