"""What turns functions and their arguments into tasks on their way: a client, with its options or with others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, NoReturn, ParamSpec, TypeVar

from distq.client.chains import Planned, planned
from distq.client.future import TaskFuture, cancel_all
from distq.client.outbox import SubmitOptions
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.tasks.arguments import MAIN_BYTES, Fit, fit_of, main_class_in
from distq.tasks.call import Call
from distq.tasks.codec import PROTOCOL
from distq.tasks.function import Keys, TaskSpec, spec_of
from distq.tasks.identity import path_of
from distq.tasks.options import CHAIN, SCHEDULE, SUBMIT, Options, checked, coherent, task_name, used
from distq.tasks.payload import pack_call, pack_chunk, pack_json

P = ParamSpec("P")
R = TypeVar("R")

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class Scheduled(NamedTuple):
    """A schedule that the master keeps."""

    name: str
    next_at: float | None
    """When it submits a task next, in seconds since 1970; None while it is paused."""


class NotPicklable(DistqError, TypeError):
    """The arguments cannot be sent to another process."""

    code = "NOT_PICKLABLE"
    hint = "Pass what a worker can make it from (a path, a name, plain values) instead."
    exit_code = 2


class ClassOfMain(NotPicklable):
    """An argument is of a class that the program itself defines."""

    code = "CLASS_OF_MAIN"
    hint = "Move the class to a module that workers can import too, or pass plain values."


class Submitter(Executor):
    """Submits functions, with options that go before those of their decorators."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._specs: dict[Callable[..., Any], tuple[SubmitOptions, Keys | None, Fit]] = {}

    def _send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        """Have a task sent."""
        raise NotImplementedError

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Have `fn(*args, **kwargs)` run by a worker; return its future at once.

        Blocks while 10,000 tasks wait to be accepted, and up to DISTQ_CONNECT_WAIT_S while no master is there.

        Raises:
            NotATask: a worker could not import the function.
            TypeError: the arguments do not fit the function.
            NotPicklable: the arguments cannot be pickled, or are of a class of `__main__`.
            PayloadTooLarge: the arguments have more bytes than DISTQ_PAYLOAD_BYTES_MAX.
            CannotReach: no master is there.
            QueueFull: the queue was full, and the option `full` says that this is raised here.
            AuthenticationFailed: the master has another key.
        """
        try:
            manner, keys, fit = self._specs[fn]
        except (KeyError, TypeError):  # not submitted yet, or not hashable, which no function is
            manner, keys, fit = self._known(fn)
        if kwargs or not fit.arguments_min <= len(args) <= fit.arguments_max:
            fit.check(args, kwargs)
        try:  # as `_packed`, whose call alone would cost each task
            body = pack_call((args, kwargs), PROTOCOL)
        except Exception as error:  # noqa: BLE001 - whatever the arguments' classes do when they are pickled
            _refuse_arguments(fn, error)
        if body.find(MAIN_BYTES) >= 0:  # half the time of `in`
            _check_classes(fn, body, (args, kwargs))
        try:
            return self._send(manner if keys is None else manner._replace(constraints=keys.of(args, kwargs)), body)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def submit_named(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *, queue: str | None = None
    ) -> TaskFuture[Any]:
        """Have the task of that name run, with arguments in JSON, and return its future at once.

        The name is one that `@distq.task` gave or an import path, `module:function`; it is not imported here. Raises
        as `submit` does.
        """
        given = self._options if queue is None else {**self._options, "queue": queue}
        options = coherent(checked(Options(), used(given, SUBMIT)))
        spec, body = _named(name, options, args, kwargs or {})
        constraints = spec.constraints if spec.keys is None else spec.keys.of(args, kwargs or {})
        try:
            return self._send(SubmitOptions(spec.envelope, spec.when, constraints, spec.options.full), body)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def schedule(self, name: str, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Scheduled:
        """Have the master submit `fn(*args, **kwargs)` again and again, as the options `every` or `cron` say.

        The master keeps it under that name, whatever becomes of this program. The same again changes nothing, another
        one of that name takes its place. One task is under way at a time, unless `overlap` is True.

        Raises:
            BadSchedule: the options do not say when, or not in a way that can be.
            NotATask, NotPicklable: as `submit`.
            CannotReach: no master is there.
        """
        spec = spec_of(fn)
        options = coherent(checked(spec.options, used(self._options, SCHEDULE)))
        fit_of(fn).check(args, kwargs)
        body = _packed(fn, args, kwargs)
        return self._keep(name, spec._replace(options=options), body, args, kwargs)

    def schedule_named(
        self, name: str, task: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Scheduled:
        """As `schedule`, of the task of that name, with arguments in JSON; nothing is imported here."""
        spec, body = _named(task, coherent(checked(Options(), used(self._options, SCHEDULE))), args, kwargs or {})
        return self._keep(name, spec, body, args, kwargs or {})

    def _keep(
        self, name: str, spec: TaskSpec, body: bytes, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Scheduled:
        options, keys = spec.options, spec.keys
        asked = {
            "name": name,
            "body": body,
            "envelope": spec.envelope,
            "when": spec.when,
            "more": spec.constraints if keys is None else keys.of(args, kwargs),
            **{word: getattr(options, word) for word in ("every", "cron", "timezone", "overlap", "catch_up")},
        }
        try:
            (told,) = self._administer("schedule_put", asked)["schedules"]
        except DistqError as error:
            raise bare(error) from error.__cause__
        return Scheduled(told["name"], told["next_at"])

    def _administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        """What the master answers to an operator's request."""
        raise NotImplementedError

    def chain(self, *stages: Call | Iterable[Call]) -> TaskFuture[Any]:
        """Have stages run one after another, each with the result of the one before it as its first argument.

            client.chain(distq.call(fetch, url), distq.call(parse), distq.call(store, table="pages"))

        A stage of several calls, a list, runs them side by side; the stage after it gets the list of their results, in
        order. All of it is submitted at once, all or none, and counted by the master: it goes on whatever becomes of
        this program. A stage begins when all before it have ended; what happens if one of these fails is said by the
        option `on_failure`. Results are handed over whole: of large ones pass a path or a name.

        Returns the future of the last stage; of a last stage of several that of the list of their results.

        Raises:
            TypeError: a stage is neither a call nor several, or has a unique key.
            TooManyCalls, PayloadTooLarge: these are more than 10,000 calls, or 32 MiB of arguments.
            QueueFull, CannotReach, NotATask, NotPicklable: as `submit`.
        """
        tasks = planned(stages, self._prepared)
        try:
            return self._send_together(tasks)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def group(self, calls: Iterable[Call], then: Call) -> TaskFuture[Any]:
        """Have calls run side by side, and `then` once all have ended, with the list of their results.

        As `chain(list(calls), then)`, which says the rest.
        """
        return self.chain(list(calls), then)

    def gather(self, *calls: Call) -> TaskFuture[list[Any]]:
        """Have calls run side by side; the future's result is the list of theirs, in order.

        As `chain(list(calls))`: it is a task of its own, whose result every client can get by its id.
        """
        return self.chain(list(calls))

    def _send_together(self, tasks: Sequence[Planned]) -> TaskFuture[Any]:
        """Have several tasks sent in one submit; returns the future of the last."""
        raise NotImplementedError

    def _prepared(self, call: Call, *, follows: bool) -> tuple[Options, SubmitOptions, bytes]:
        """The options of a call, how it is submitted, and its payload; whether a result comes before its arguments."""
        fn, args, kwargs, given = call
        spec = spec_of(fn)
        fit_of(fn).check((None, *args) if follows else args, kwargs)
        options = coherent(checked(spec.options, used({**self._options, **given}, CHAIN)))
        spec = spec._replace(options=options)
        body = _packed(fn, args, dict(kwargs))
        constraints = spec.constraints if spec.keys is None else spec.keys.of(args, kwargs)
        return options, SubmitOptions(spec.envelope, spec.when, constraints, options.full), body

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
    ) -> Iterator[R]:
        """As `Executor.map`: submit all at once, yield the results in order.

        With a `chunksize` above 1, `chunksize` calls are sent, run and retried as one task.

        Raises:
            TimeoutError: a result is not there within `timeout` seconds of this call.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize is at least 1, not {chunksize}")
        limit_s = timeout_s(timeout)
        deadline = None if limit_s is None else _now() + limit_s
        rows = zip(*iterables, strict=False)
        if chunksize == 1:
            singles: list[TaskFuture[Any]] = [self.submit(fn, *row) for row in rows]
            return _in_order(singles, deadline)
        manner, keys, fit = self._known(fn)
        if keys is not None:
            raise TypeError("a chunk of calls is one task: with concurrency or unique keys, map with chunksize=1")
        chunks: list[TaskFuture[Any]] = []
        while chunk := list(itertools.islice(rows, chunksize)):
            for row in chunk:
                if not fit.arguments_min <= len(row) <= fit.arguments_max:
                    fit.check(row, {})
            try:
                body = pack_chunk(chunk)
            except Exception as error:  # noqa: BLE001 - as in submit
                _refuse_arguments(fn, error)
            _check_classes(fn, body, chunk)
            chunks.append(self._send(manner, body))
        return _one_by_one(_in_order(chunks, deadline))

    def _known(self, fn: Callable[..., Any]) -> tuple[SubmitOptions, Keys | None, Fit]:
        spec = spec_of(fn)
        if self._options:
            spec = spec._replace(options=coherent(checked(spec.options, used(self._options, SUBMIT))))
        manner = SubmitOptions(spec.envelope, spec.when, spec.constraints, spec.options.full)
        known = self._specs[fn] = manner, spec.keys, fit_of(fn)
        return known


def bare(error: DistqError) -> DistqError:
    """The same error without the frames in which it arose, of which a program's author can make nothing."""
    if error.hint and not getattr(error, "__notes__", None):
        error.add_note(error.hint)
    return error.with_traceback(None)


def _packed(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The payload of a call; raises NotPicklable."""
    try:
        body = pack_call((args, kwargs), PROTOCOL)
    except Exception as error:  # noqa: BLE001 - whatever the arguments' classes do when they are pickled
        _refuse_arguments(fn, error)
    if MAIN_BYTES in body:
        _check_classes(fn, body, (args, kwargs))
    return body


def _check_classes(fn: Callable[..., Any], body: bytes, arguments: object) -> None:
    name = main_class_in(arguments) if MAIN_BYTES in body else None
    if name is not None:
        raise ClassOfMain(
            f"An argument of {path_of(fn)} needs {name}, which is defined in the program itself (__main__): workers "
            "cannot import it."
        )


def _refuse_arguments(fn: Callable[..., Any], error: Exception) -> NoReturn:
    raise NotPicklable(f"The arguments of {path_of(fn)} cannot be pickled: {error}.") from error


def _named(name: object, options: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[TaskSpec, bytes]:
    """What a task that is known by its name alone is submitted with, and its arguments in JSON."""
    spec = TaskSpec(task_name(name), options)
    try:
        return spec, pack_json(args, kwargs)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotPicklable(f"The arguments of {name} have no form in JSON: {error}.") from error


def _in_order(futures: list[TaskFuture[Any]], deadline: float | None) -> Iterator[Any]:
    futures.reverse()
    try:
        while futures:
            # Popped, and held by no name while it is yielded, so that a result that was read can be freed.
            yield futures.pop().result(None if deadline is None else max(deadline - _now(), 0.0))
    finally:
        cancel_all(futures)


def _one_by_one(chunks: Iterator[list[Any]]) -> Iterator[Any]:
    """The results of chunks of calls, none of them held once it is yielded."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
