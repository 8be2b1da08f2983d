"""Records the tasks that a test cluster's master accepts, and finds those that a test asserts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distq.core import head
from distq.core.ports import Keep
from distq.core.states import DELAYED
from distq.core.task_ids import id_text
from distq.storage.memory import MemoryStore
from distq.tasks.arguments import Fit, fit_of
from distq.tasks.codec import is_json
from distq.tasks.function import spec_of
from distq.testing.errors import NotSubmitted

if TYPE_CHECKING:
    from distq.core.ports import Batch

SHOWN_MAX: Final = 20
"""Maximum submitted tasks that the text of a failed assertion lists; the newest ones."""
TEXT_CHARS_MAX: Final = 300
"""Maximum characters of one call in that text."""


class SubmittedTask(NamedTuple):
    """A task that the master has accepted."""

    task_id: str
    """The id of the task."""
    name: str
    """The name of the task, or the import path of its function."""
    args: tuple[Any, ...]
    """The positional arguments of the call, as the executor unpickles them. The first argument of a task with a
    dependency, which is the result of that one, equals only `unittest.mock.ANY`."""
    kwargs: Mapping[str, Any]
    """The keyword arguments of the call."""
    queue: str
    """The queue of the task."""
    priority: int
    """The priority of the task, from 0 to 9."""
    submitted_at: float
    """When the master accepted the task, by the cluster's clock, in seconds since 1970."""
    due_at: float | None
    """When a delayed task becomes ready, in seconds since 1970; None without a delay."""
    expires_at: float | None
    """When the task expires, in seconds since 1970; None for never."""

    def __str__(self) -> str:
        """The call as code."""
        words = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        text = f"{self.name}({', '.join(words)})"
        return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"


class _UpstreamResult:
    """Stands for the result of a dependency among the arguments of a task."""

    def __repr__(self) -> str:
        return "<result of its dependency>"


class Submissions:
    """The heads and payloads of accepted tasks, oldest first; they are unpickled when a test looks at them."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, bytes, bytes]] = []
        self._read: list[SubmittedTask] = []
        """The calls of the first `_read_count` rows."""
        self._read_count = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, key: int, packed_head: bytes, payload: bytes) -> None:
        """Record a task."""
        self._rows.append((key, packed_head, payload))

    def calls(self, fn: Callable[..., Any] | None = None) -> tuple[SubmittedTask, ...]:
        """The calls of all tasks, or of the tasks of one function; a chunk of `map` has several calls."""
        rows = self._rows[self._read_count :]
        for row in rows:
            self._read += _calls_of(*row)
        self._read_count += len(rows)
        if fn is None:
            return tuple(self._read)
        name = spec_of(fn).name
        return tuple(task for task in self._read if task.name == name)

    def find(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> SubmittedTask:
        """The newest call of this function with these arguments; raises NotSubmitted, NotATask, TypeError."""
        name = spec_of(fn).name
        fit = fit_of(fn)
        fit.check(args, kwargs)
        wanted = _bound(fit, args, kwargs)
        calls = self.calls(fn)
        found: SubmittedTask | None = next(
            (task for task in reversed(calls) if _is_equal(wanted, _bound(fit, task.args, task.kwargs))), None
        )
        if found is not None:
            return found
        call = SubmittedTask("", name, tuple(args), dict(kwargs), "", 0, 0.0, None, None)
        if any(str(task) == str(call) for task in calls):
            raise NotSubmitted(
                f"{call}: a task with arguments of this text was submitted, but they are not equal (==). Give "
                "unittest.mock.ANY for an argument that cannot be compared, and look at that of the returned task."
            )
        raise NotSubmitted(f"{call} was not submitted. {_listed(calls, self.calls())}")


class RecordingStore(MemoryStore):
    """A store in memory that records every task whose submit it commits."""

    def __init__(self, epoch: int, submissions: Submissions) -> None:
        super().__init__(epoch)
        self._submissions = submissions
        self._last_key = 0

    async def commit(self, batch: Batch) -> None:
        """Store the batch, and record its new tasks; raises CommitRefused."""
        await super().commit(batch)
        for key in sorted(key for key in batch if key > self._last_key):
            change = batch[key]
            self._last_key = key
            if change is not None and not isinstance(change[1], Keep):
                self._submissions.add(key, change[0], change[1])


def _calls_of(key: int, packed_head: bytes, payload: bytes) -> list[SubmittedTask]:
    task = head.unpack(packed_head)
    calls: list[tuple[Sequence[Any], Mapping[str, Any]]]
    if is_json(payload):
        call = json.loads(payload)
        calls = [(call["args"], call["kwargs"])]
    else:
        loaded = pickle.loads(payload)
        calls = [loaded] if len(loaded) == 2 else [(row, {}) for row in loaded[0]]
    return [
        SubmittedTask(
            id_text(key),
            task.name,
            tuple(args) if task.constraints.depends_on is None else (_UpstreamResult(), *args),
            kwargs,
            task.queue,
            task.priority,
            task.submitted_at,
            task.due_at if task.state == DELAYED else None,
            task.expires_at,
        )
        for args, kwargs in calls
    ]


def _bound(fit: Fit, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments by parameter, with defaults, so that `f(1)` and `f(x=1)` are equal; else as they were given."""
    if fit.signature is None:
        return tuple(args), dict(kwargs)
    try:
        bound = fit.signature.bind(*args, **kwargs)
    except TypeError:
        return tuple(args), dict(kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs


def _is_equal(wanted: object, given: object) -> bool:
    """Whether the call is the expected one; what has no usable `==` is compared by its pickled bytes."""
    try:
        return _is_alike(wanted, given)
    except Exception:  # noqa: BLE001 - keys of a dict may raise anything, and a list may contain itself
        return False


def _is_alike(wanted: object, given: object) -> bool:
    if _says_equal(wanted, given):  # the expected value decides first: `unittest.mock.ANY` equals everything
        return True
    if isinstance(wanted, tuple | list) and type(wanted) is type(given):
        assert isinstance(given, tuple | list)
        return len(wanted) == len(given) and all(map(_is_alike, wanted, given))
    if isinstance(wanted, dict) and type(wanted) is type(given):
        assert isinstance(given, dict)
        return wanted.keys() == given.keys() and all(_is_alike(wanted[key], given[key]) for key in wanted)
    return _has_equal_bytes(wanted, given)


def _says_equal(wanted: object, given: object) -> bool:
    """What `==` says; one that raises, or that gives no truth value, as with arrays of numpy, says no."""
    try:
        return bool(wanted == given)
    except Exception:  # noqa: BLE001 - arguments are the user's objects, which may raise anything
        return False


def _has_equal_bytes(wanted: object, given: object) -> bool:
    """Whether a value that does not equal its own copy (NaN, an array, an object without `==`) is pickled alike."""
    copy = _copied(wanted)
    return not _says_equal(wanted, copy) and pickle.dumps(copy) == pickle.dumps(_copied(given))


def _copied(value: object) -> object:
    """The value as an executor gets it; two copies of equal values are pickled alike, which originals may not be."""
    return pickle.loads(pickle.dumps(value))


def _listed(same: Sequence[SubmittedTask], every: Sequence[SubmittedTask]) -> str:
    if not every:
        return "No task was submitted."
    tasks = same or every
    what = "of this function" if same else "of other functions"
    cut = f" (the last {SHOWN_MAX} of {len(tasks)})" if len(tasks) > SHOWN_MAX else ""
    return "\n  ".join([f"There were tasks {what}{cut}:", *map(str, tasks[-SHOWN_MAX:])])
