"""Tests that defects of a program's traces do not affect its tasks; tests/e2e/test_traces.py tests correct traces."""

import sys

import pytest

from distq.core.constraints import trace_id_of
from distq.core.outcome import Outcome
from distq.tasks.failure import TimeLimitExceeded
from distq.tasks.tracing import API, Attempt, outgoing, run_of

TRACE = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
ATTEMPT = Attempt("1-2a", "f", "q", 1, 1, (TRACE,))


def test_a_program_without_tracing_imports_nothing_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without tracing imports nothing for it."""
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)  # libraries of other tests in this process may have imported it
    assert API not in sys.modules
    assert outgoing("q", "f") == ()
    with run_of(ATTEMPT) as end_span:
        end_span(Outcome.SUCCESS, "")
    assert API not in sys.modules


@pytest.fixture(name="broken")
def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace OpenTelemetry by a module that can be imported but does not work."""
    for name in ("opentelemetry", API):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))


@pytest.mark.usefixtures("broken")
def test_traces_that_do_not_work_stop_no_submit_and_no_run() -> None:
    """The task returns its result."""
    assert outgoing("q", "f") == ()
    ran = []
    with run_of(ATTEMPT) as end_span:
        ran.append(1)
        end_span(Outcome.FAILURE, "no")
    assert ran == [1]


@pytest.mark.usefixtures("broken")
def test_an_exception_of_a_task_passes_through_its_span() -> None:
    """A time limit's exception is raised, too."""
    with pytest.raises(TimeLimitExceeded), run_of(ATTEMPT):
        raise TimeLimitExceeded("exceeded")


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ((), ""),
        ((TRACE,), "0af7651916cd43dd8448eb211c80319c"),
        ((("tenant", "a"), TRACE), "0af7651916cd43dd8448eb211c80319c"),
        ((("traceparent", "nonsense"),), ""),
    ],
)
def test_the_trace_is_the_second_part_of_traceparent(headers: tuple[tuple[str, str], ...], found: str) -> None:
    """Any other text has no trace."""
    assert trace_id_of(headers) == found
