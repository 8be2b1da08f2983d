"""The arguments and results of tasks as bytes, and the call of a task's function with them.

The payload of one call is the pickle of `(args, kwargs)`. The payload of a chunk of calls (from `map`) is the pickle of
`(rows,)`, where each row has the args of one call. The payload of a call with dependencies is the pickle of `(ends,
single, payload)`, which its worker makes. JSON is the safe form for clients that are not trusted: the object
`{"args": [...], "kwargs": {...}}`; the result is JSON too. A pickle (protocol 2 and up) begins with 0x80, and no JSON
text does.
"""

import json
import pickle
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from distq.core.states import DEAD
from distq.tasks.by_value import ValueUnreadable, dump, has_values
from distq.tasks.codec import PICKLE, PROTOCOL, is_json
from distq.tasks.control import Interrupted
from distq.tasks.failure import (
    DependencyUnreadable,
    ResultNotSent,
    TaskStopped,
    cause_of,
    describe,
    error_of,
    is_interruption,
)
from distq.tasks.sealed import SEALED, SealRefused, content_of

_PICKLE: Final = 0x80

DependencyEnd = tuple[bool, "bytes | None", list[str]] | tuple[bool, "bytes | None", list[str], int]
"""The end of a dependency: whether it succeeded; its result or its error; its causes; its state, which a master of an
earlier version does not send."""

pack_call = pickle.dumps
"""The payload of one call, as `pack_call((args, kwargs), PROTOCOL)`; an alias costs the client less than a function."""


def pack_chunk(rows: Sequence[Iterable[Any]]) -> bytes:
    """The payload that calls the function once for each row of arguments."""
    return pickle.dumps(([tuple(row) for row in rows],), PROTOCOL)


def pack_json(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The payload of one call in JSON; raises TypeError for a value that JSON cannot represent."""
    return json.dumps({"args": list(args), "kwargs": dict(kwargs)}, separators=(",", ":")).encode()


Pack = Callable[[Any], bytes]
Finish = Callable[[Any, Pack], Any]
"""Makes the task's result of what its function returned: streams a generator, awaits an awaitable."""
FINISHED: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set})
"""Types of returned values that are results without a call of `Finish`."""


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, PROTOCOL)


def run_payload(function: Callable[..., Any], payload: bytes, finish: Finish, pack_pickle: Pack = _pickled) -> bytes:
    """Call `function` with the payload's arguments and return its result as bytes; `pack_pickle` pickles it.

    Raises the exception of the function, or ResultNotSent for a result that cannot become bytes.
    """
    if payload[0] == _PICKLE:
        pack, call = pack_pickle, pickle.loads(payload)
        parts = len(call)
        if parts == 1:
            result: Any = [one if type(one := function(*row)) in FINISHED else finish(one, pack) for row in call[0]]
        else:
            args, kwargs = call if parts == 2 else _arguments_of(*call)
            result = function(*args, **kwargs)
            if type(result) not in FINISHED:
                result = finish(result, pack)
    elif payload[:1] == SEALED:
        return run_payload(function, _unsealed(payload), finish, pack_pickle)
    else:
        pack, call = _as_json, json.loads(payload)
        result = finish(function(*call["args"], **call["kwargs"]), pack)
    try:
        return pack(result)
    except (Interrupted, TaskStopped):
        raise
    except BaseException as error:  # noqa: BLE001 - the result's class may raise anything when it is pickled
        return _by_value(result, payload, error)


async def await_payload(
    function: Callable[..., Any], payload: bytes, finish: Callable[[Any, Pack], Coroutine[Any, Any, Any]]
) -> bytes:
    """Do the same as `run_payload` for a function whose calls are awaited on the running loop."""
    if payload[0] == _PICKLE:
        pack, call = _pickled, pickle.loads(payload)
        if len(call) == 1:
            result: Any = [await finish(function(*row), pack) for row in call[0]]
        else:
            args, kwargs = call if len(call) == 2 else _arguments_of(*call)
            result = await finish(function(*args, **kwargs), pack)
    elif payload[:1] == SEALED:
        return await await_payload(function, _unsealed(payload), finish)
    else:
        pack, call = _as_json, json.loads(payload)
        result = await finish(function(*call["args"], **call["kwargs"]), pack)
    try:
        return pack(result)
    except BaseException as error:  # noqa: BLE001 - as in `run_payload`
        return _by_value(result, payload, error)


def _unsealed(payload: bytes) -> bytes:
    """The content of a sealed payload, in a worker without keys; raises SealRefused."""
    try:
        return content_of(payload)
    except SealRefused as error:
        raise SealRefused(f"The worker has not run the task: its payload {error}.") from error


def _by_value(result: Any, payload: bytes, error: BaseException) -> bytes:
    """The bytes of a result that pickle cannot write: by value if the payload has values of this kind.

    Raises ResultNotSent.
    """
    try:
        if has_values(payload):
            return dump(result)
    except (Interrupted, TaskStopped):
        raise
    except BaseException as other:  # noqa: BLE001 - as in `run_payload`
        error = other
    raise ResultNotSent(f"cannot be sent: {cause_of(error)}") from error


def with_dependencies(payload: bytes, ends: Sequence[DependencyEnd], *, single: bool) -> bytes:
    """The payload of a call whose first argument is its dependency's result (`single`) or the list of their results.

    The exception of a dependency replaces a result that is missing.

    Raises:
        SealRefused: the payload or a result is encrypted, and this process has no key.
    """
    payload = _unsealed(payload)
    if is_json(payload) and all(end[0] and is_json(content_of(end[1] or b"")) for end in ends):
        call = json.loads(payload)
        results = [json.loads(content_of(end[1] or b"")) for end in ends]
        call["args"].insert(0, results[0] if single else results)
        return json.dumps(call).encode()
    return pickle.dumps((list(ends), single, payload), PROTOCOL)


def _arguments_of(
    ends: Sequence[DependencyEnd], single: bool, payload: bytes
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of a call with dependencies."""
    results = [_result_of(number, 0 if single else len(ends), *end) for number, end in enumerate(ends, 1)]
    if is_json(payload):
        call = json.loads(payload)
        args, kwargs = call["args"], call["kwargs"]
    else:
        args, kwargs = pickle.loads(payload)
    return (results[0] if single else results, *args), kwargs


def _result_of(number: int, count: int, good: bool, body: bytes | None, causes: list[str], state: int = DEAD) -> Any:
    if not good:
        return error_of(state, body, causes)
    try:
        return unpack_result(body or b"")
    except ValueUnreadable:
        raise
    except BaseException as error:
        if is_interruption(error):
            raise
        what = f"Result {number} of {count}" if count else "The result"
        why = f"{what} before this task cannot be read on its worker: {describe(error)}."
        raise DependencyUnreadable(why) from error


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


unpack_result = PICKLE.load
"""The value in a result's bytes, as `unpack_result(body)`; an alias costs a client less than a function."""
