"""A task's arguments and results as bytes.

The arguments of one call are the pickle of `(args, kwargs)`; those of a chunk of calls (from `map`) the pickle of
`(rows,)`, where each row is one call's args; those of a call that comes after others the pickle of `(ends, single,
payload)`, made where it runs. JSON is the safe form for clients that are not trusted: the
object `{"args": [...], "kwargs": {...}}`; its result is JSON too. A pickle (protocol 2 and up) begins with
0x80, which no JSON text does.
"""

import json
import pickle
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from distq.core.states import DEAD
from distq.tasks.codec import PICKLE, PROTOCOL, is_json
from distq.tasks.control import Interrupted
from distq.tasks.failure import ResultNotSent, TaskStopped, cause_of, error_of

_PICKLE: Final = 0x80

DependencyEnd = tuple[bool, "bytes | None", list[str]] | tuple[bool, "bytes | None", list[str], int]
"""How a task has ended: whether it has succeeded; its result or its error; its causes; its state, which a master of a
version before does not tell."""

pack_call = pickle.dumps
"""`pack_call((args, kwargs), PROTOCOL)`: named, so that the client's hot path pays no wrapper."""


def pack_chunk(rows: Sequence[Iterable[Any]]) -> bytes:
    """The payload that calls the function once for each row of arguments."""
    return pickle.dumps(([tuple(row) for row in rows],), PROTOCOL)


def pack_json(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The payload of one call in JSON; raises TypeError for what JSON has no form for."""
    return json.dumps({"args": list(args), "kwargs": dict(kwargs)}, separators=(",", ":")).encode()


Pack = Callable[[Any], bytes]
Finish = Callable[[Any, Pack], Any]
"""Makes the task's result of what its function returned: streams a generator, awaits an awaitable."""
FINISHED: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set})
"""Types of returned values that are results as they are."""


def run_payload(function: Callable[..., Any], payload: bytes, finish: Finish) -> bytes:
    """Call `function` as the payload says and return its result's bytes.

    Raises what the function raises, and ResultNotSent for a result that has no bytes.
    """
    if payload[0] == _PICKLE:
        pack, call = _pickled, pickle.loads(payload)
        parts = len(call)
        if parts == 1:
            result: Any = [one if type(one := function(*row)) in FINISHED else finish(one, pack) for row in call[0]]
        else:
            args, kwargs = call if parts == 2 else _arguments_of(*call)
            result = function(*args, **kwargs)
            if type(result) not in FINISHED:
                result = finish(result, pack)
    else:
        pack, call = _as_json, json.loads(payload)
        result = finish(function(*call["args"], **call["kwargs"]), pack)
    try:
        return pack(result)
    except (Interrupted, TaskStopped):
        raise
    except BaseException as error:  # whatever the result's class does when it is pickled
        raise ResultNotSent(f"cannot be sent: {cause_of(error)}") from error


async def await_payload(
    function: Callable[..., Any], payload: bytes, finish: Callable[[Any, Pack], Coroutine[Any, Any, Any]]
) -> bytes:
    """As `run_payload`, of a function whose calls are awaited, on the loop that runs."""
    if payload[0] == _PICKLE:
        pack, call = _pickled, pickle.loads(payload)
        if len(call) == 1:
            result: Any = [await finish(function(*row), pack) for row in call[0]]
        else:
            args, kwargs = call if len(call) == 2 else _arguments_of(*call)
            result = await finish(function(*args, **kwargs), pack)
    else:
        pack, call = _as_json, json.loads(payload)
        result = await finish(function(*call["args"], **call["kwargs"]), pack)
    try:
        return pack(result)
    except BaseException as error:  # as in `run_payload`
        raise ResultNotSent(f"cannot be sent: {cause_of(error)}") from error


def with_dependencies(payload: bytes, ends: Sequence[DependencyEnd], *, single: bool) -> bytes:
    """The payload of a call whose first argument is the result (`single`) or the list of results of those before it.

    In the place of a result that is missing stands the exception.
    """
    if is_json(payload) and all(end[0] and is_json(end[1] or b"") for end in ends):
        call = json.loads(payload)
        results = [json.loads(end[1] or b"") for end in ends]
        call["args"].insert(0, results[0] if single else results)
        return json.dumps(call).encode()
    return pickle.dumps((list(ends), single, payload), PROTOCOL)


def _arguments_of(
    ends: Sequence[DependencyEnd], single: bool, payload: bytes
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of a call that comes after others."""
    results = [_result_of(*end) for end in ends]
    if is_json(payload):
        call = json.loads(payload)
        args, kwargs = call["args"], call["kwargs"]
    else:
        args, kwargs = pickle.loads(payload)
    return (results[0] if single else results, *args), kwargs


def _result_of(good: bool, body: bytes | None, causes: list[str], state: int = DEAD) -> Any:
    return unpack_result(body or b"") if good else error_of(state, body, causes)


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, PROTOCOL)


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


unpack_result = PICKLE.load
"""`unpack_result(body)`, the value in a result's bytes: named, so that a client that reads many pays no wrapper."""
