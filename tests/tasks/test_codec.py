"""P8: tests that a worker that takes only JSON loads no pickle, wherever a peer has put it."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

import distq
from distq.core.option_values import ACCEPT_JSON
from distq.core.outcome import Outcome
from distq.protocol.exchange import LeasedEnvelope, LeasedTask
from distq.tasks.codec import Codec, PayloadRefused
from distq.tasks.failure import unpack_failure
from distq.tasks.payload import pack_json, with_dependencies
from distq.worker.executor.current_task import current_of
from distq.worker.executor.functions import Functions
from distq.worker.executor.handler import RunOutcome

if TYPE_CHECKING:
    from distq.worker.executor.shutdown import ShutdownFlag

LIMIT = 1 << 20


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """Return the path of the file that exists once a planted pickle was read."""
    return tmp_path / "flag"


@distq.lifespan
def _role() -> Any:
    yield {"role": "reader"}


@distq.task
def _act(x: object, role: Any = distq.injected(_role)) -> str:
    return f"{x} as {role['role']}"


@distq.task
async def _act_later(x: object, role: Any = distq.injected(_role)) -> str:
    return f"{x} as {role['role']}"


def functions(accept: str = ACCEPT_JSON) -> Functions:
    """Return an executor's functions."""
    return Functions(None, accept, LIMIT, lambda _: None)


def run(payload: bytes, accept: str = ACCEPT_JSON, task: Any = _act) -> bytes | RunOutcome:
    """Run a task in this process."""
    return functions(accept).runner_of("task", task.distq_name if hasattr(task, "distq_name") else NAME[task])(payload)


NAME = {_act: f"{__name__}:_act", _act_later: f"{__name__}:_act_later"}


def refused(ran: bytes | RunOutcome) -> str:
    """Return the text of a refusal that allows no retry."""
    assert isinstance(ran, RunOutcome)
    assert ran.outcome == Outcome.FATAL
    return unpack_failure(ran.body).text


def test_pickled_arguments_and_results_of_tasks_before_are_refused(flag: Path) -> None:
    """By themselves, among the results, or in an error of a task before."""
    pickled_trap = pickle.dumps(Trap(flag))
    payloads = [
        pickle.dumps(((Trap(flag),), {})),
        with_dependencies(pack_json([], {}), [(True, pickled_trap, [])], single=True),
        with_dependencies(pack_json([], {}), [(True, b"1", []), (True, pickled_trap, [])], single=False),
        with_dependencies(pack_json([], {}), [(False, pickle.dumps(("k", "t", "", pickled_trap)), [])], single=True),
    ]
    for payload in payloads:
        assert "accepts only JSON" in refused(run(payload))
    assert not flag.exists()
    assert run(pack_json([1], {})) == b'"1 as reader"'


def test_a_planted_cursor_is_refused_and_one_of_json_is_read(flag: Path) -> None:
    """The worker can read every cursor that it saves."""
    row: LeasedTask = (1 << 40 | 1, 1, 1, 0, b"")
    envelope: LeasedEnvelope = ("q", "f", "task", None)
    sent: list[bytes] = []

    def current(cursor: bytes | None, codec: Codec) -> Any:
        never = cast("ShutdownFlag", Never())
        return current_of(
            row, envelope, None, cursor, (), lambda _, body: sent.append(body), never, codec, lambda: False
        )

    with pytest.raises(PayloadRefused, match="its cursor is pickled"):
        current(pickle.dumps(Trap(flag)), Codec(json_only=True))
    assert not flag.exists()
    for codec in (Codec(json_only=True), Codec()):
        current(None, codec).checkpoint({"at": 3})
        assert current(sent[-1], codec).cursor == {"at": 3}
    assert json.loads(sent[0]) == {"at": 3}
    with pytest.raises(TypeError):
        current(None, Codec(json_only=True)).checkpoint(object())


class Never:
    """A shutdown flag that is never set."""

    is_set = False


def test_plain_items_are_handed_back_by_a_worker_that_takes_json_only(flag: Path) -> None:
    """Plain items are pickles."""
    some = Functions(lambda item: item, ACCEPT_JSON, LIMIT, lambda _: None)
    ran = some.runner_of("plain", "plain")(pickle.dumps(Trap(flag)))
    assert isinstance(ran, RunOutcome)
    assert ran.outcome == Outcome.UNKNOWN
    assert not flag.exists()


@pytest.mark.parametrize("accept", [ACCEPT_JSON, "pickle"])
@pytest.mark.parametrize("task", [_act, _act_later])
def test_an_injected_argument_cannot_come_from_a_submitter(accept: str, task: Any) -> None:
    """By its name it is refused; by its place it is one argument too many."""
    role = {"role": "ADMIN"}
    assert "which only its worker gives" in refused(run(pack_json([1], {"role": role}), accept, task))
    ran = run(pack_json([1, role], {}), accept, task)
    assert isinstance(ran, RunOutcome)
    assert b"ADMIN as" not in ran.body
    if accept == "pickle":
        assert "which only its worker gives" in refused(run(pickle.dumps(((1,), {"role": role})), accept, task))


def test_a_client_refuses_an_injected_argument_at_the_submit() -> None:
    """The client raises before it sends anything."""
    from distq.tasks.arguments import fit_of  # noqa: PLC0415 - the one test that needs it

    fit = fit_of(_act)
    with pytest.raises(TypeError, match=r"role is given by its worker \(distq.injected\)"):
        fit.check((1,), {"role": {}})
    with pytest.raises(TypeError, match="too many positional"):
        fit.check((1, {}), {})
    assert (fit.arguments_min, fit.arguments_max) == (1, 1)
    fit.check((1,), {})
