"""`distq.Submitter`: turns functions and arguments into tasks and submits them, for a client and its options."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, ParamSpec, TypeVar

from distq.client.by_value import ByValueSender, pack_by_value
from distq.client.chains import Planned, planned
from distq.client.future import TaskFuture
from distq.client.map_results import at_least_one, in_order, one_by_one
from distq.client.outbox import SubmitOptions
from distq.client.timeouts import Timeout, timeout_s
from distq.client.unsendable import ClassOfMain, NotPicklable
from distq.core.errors import DistqError
from distq.protocol.schedule import write_definition
from distq.tasks.arguments import MAIN_BYTES, Fit, fit_of, main_class_in
from distq.tasks.call import Call
from distq.tasks.codec import PROTOCOL
from distq.tasks.function import Keys, TaskSpec, spec_of
from distq.tasks.identity import path_of
from distq.tasks.options import CHAIN, SCHEDULE, SUBMIT, Options, checked, coherent, task_name, used
from distq.tasks.payload import pack_call, pack_json

P = ParamSpec("P")
R = TypeVar("R")

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class Scheduled(NamedTuple):
    """A schedule that the master keeps."""

    name: str
    """The name by which the master keeps it."""
    next_at: float | None
    """The instant of the next scheduled run, in seconds since 1970; None while the schedule is paused."""


class Submitter(Executor):
    """Submits functions to a master, with options that win over a decorator's; `client.options` returns one."""

    _by_value: ByValueSender | None = None
    """Sends functions that workers cannot import; None if the client does not."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._specs: dict[Callable[..., Any], tuple[SubmitOptions, Keys | None, Fit]] = {}

    def _send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        """Send one task to the master."""
        raise NotImplementedError

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:
        """Submit the call `fn(*args, **kwargs)` for a worker to run; returns its future without waiting for it.

        A function without `@distq.task` is not retried after an exception, unless the option `retries` is set.

        Blocks while the master has not yet accepted 10,000 earlier tasks, and for at most DISTQ_CONNECT_WAIT_S while no
        master answers.

        Raises:
            NotATask: a worker could not import the function.
            TypeError: the arguments do not fit the function.
            NotPicklable: an argument cannot be pickled, or has a class of `__main__`.
            PayloadTooLarge: the arguments have more bytes than DISTQ_PAYLOAD_BYTES_MAX.
            CannotReach: no master answered within DISTQ_CONNECT_WAIT_S.
            QueueFull: the queue is full, and the option `full` is set; without `full` the future raises it.
            AuthenticationFailed: the master has another key.
            RuntimeError: the client was shut down.
        """
        try:
            submit_options, keys, fit = self._specs[fn]
        except (KeyError, TypeError):  # not submitted yet, sent by value, or not hashable, which no function is
            if self._by_value is not None and self._by_value.takes(fn):
                return self._submit_by_value(fn, args, kwargs)
            submit_options, keys, fit = self._options_of(fn)
        if kwargs or not fit.arguments_min <= len(args) <= fit.arguments_max:
            fit.check(args, kwargs)
        try:  # as in `_packed`, whose call costs each task time
            body = pack_call((args, kwargs), PROTOCOL)
        except Exception as error:  # noqa: BLE001 - classes of arguments may raise anything
            body = _packed_by_value(fn, (args, kwargs), self._by_value, error)
        if body.find(MAIN_BYTES) >= 0:  # takes half the time of `in`
            body = _checked(fn, body, (args, kwargs), self._by_value)
        try:
            return self._send(
                submit_options if keys is None else submit_options._replace(constraints=keys.of(args, kwargs)), body
            )
        except DistqError as error:
            raise bare(error) from error.__cause__

    def _submit_by_value(self, fn: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskFuture[R]:
        """Submit a call of a function that travels by value."""
        submit_options, keys, fit = self._options_of(fn)
        fit.check(args, kwargs)
        body = self._body(fn, args, kwargs)
        if keys is not None:
            submit_options = submit_options._replace(constraints=keys.of(args, kwargs))
        try:
            return self._send(submit_options, body)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def submit_named(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *, queue: str | None = None
    ) -> TaskFuture[Any]:
        """Submit a task by its name, with arguments in JSON; returns its future without waiting for it.

        The name is the one that `@distq.task` gave, or an import path, `module:function`. This program does not import
        it and does not know the options of its decorator: the defaults and `client.options` apply, and a failed task is
        retried DISTQ_RETRIES times. Raises what `submit` raises.
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
        """Make the master submit `fn(*args, **kwargs)` at each scheduled run, by the option `every` or `cron`.

        The master keeps the schedule by its name after this program ends. The same schedule again changes nothing;
        another one with the name replaces it. At most one task of a schedule is in flight, unless `overlap` is True.

        Raises:
            BadSchedule: neither `every` nor `cron` is given, or the master cannot read them.
            NotATask, NotPicklable: as in `submit`.
            CannotReach: no master answered within DISTQ_CONNECT_WAIT_S.
        """
        spec = spec_of(fn)
        options = coherent(checked(spec.options, used(self._options, SCHEDULE)))
        fit_of(fn).check(args, kwargs)
        body = _packed(fn, (args, kwargs))  # not by value: a schedule outlives this program and its Python
        return self._keep(name, spec._replace(options=options), body, args, kwargs)

    def schedule_named(
        self, name: str, task: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Scheduled:
        """As `schedule`, with the name of a task and arguments in JSON; this program does not import the task.

        It does not know the options of its decorator either, as `submit_named`.
        """
        spec, body = _named(task, coherent(checked(Options(), used(self._options, SCHEDULE))), args, kwargs or {})
        return self._keep(name, spec, body, args, kwargs or {})

    def _keep(
        self, name: str, spec: TaskSpec, body: bytes, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Scheduled:
        arguments = write_definition(spec.scheduled(name, body, args, kwargs))
        try:
            (answer,) = self._administer("schedule_put", arguments)["schedules"]
        except DistqError as error:
            raise bare(error) from error.__cause__
        return Scheduled(answer["name"], answer["next_at"])

    def _administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        """The master's answer to a request of an operator."""
        raise NotImplementedError

    def chain(self, *stages: Call | Iterable[Call]) -> TaskFuture[Any]:
        """Submit stages that run one after another, each with the result of the previous one as its first argument.

            client.chain(distq.call(fetch, url), distq.call(parse), distq.call(store, table="pages"))

        A stage may be a list of calls, which run in parallel; the next stage gets the list of their results, in the
        order of the calls. One submit sends all stages, and the master accepts all or none. The master keeps the
        dependencies, so the chain continues after this program ends. A stage begins when the previous one has ended;
        the option `on_failure` says what happens if a task of that one fails. Results are passed whole: instead of a
        large one return a path or a name.

        Returns the future of the last stage; if that is a list, its result is the list of their results.

        Raises:
            TypeError: a stage is neither a call nor a list of calls, or a call has a unique key.
            ValueError: there is no stage.
            TooManyCalls, PayloadTooLarge: there are more than 10,000 calls, or more than 32 MiB of arguments.
            QueueFull, CannotReach, NotATask, NotPicklable: as in `submit`.
        """
        tasks = planned(stages, self._prepared)
        try:
            return self._send_together(tasks)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def group(self, calls: Iterable[Call], then: Call) -> TaskFuture[Any]:
        """Submit calls that run in parallel, and `then`, which gets the list of their results.

        The same as `chain(list(calls), then)`.
        """
        return self.chain(list(calls), then)

    def gather(self, *calls: Call) -> TaskFuture[list[Any]]:
        """Submit calls that run in parallel; the future's result is the list of their results, in order.

        The same as `chain(list(calls))`: the list is the result of a task of its own, which every client can get by
        its id.
        """
        return self.chain(list(calls))

    def _send_together(self, tasks: Sequence[Planned]) -> TaskFuture[Any]:
        """Send tasks in one submit; returns the future of the last one."""
        raise NotImplementedError

    def _prepared(self, call: Call, *, follows: bool) -> tuple[Options, SubmitOptions, bytes]:
        """The options of a call, its submit options and its payload; `follows` says whether it has dependencies."""
        fn, args, kwargs, given = call
        spec = self._spec_of(fn)
        fit_of(fn).check((None, *args) if follows else args, kwargs)
        options = coherent(checked(spec.options, used({**self._options, **given}, CHAIN)))
        spec = spec._replace(options=options)
        body = self._body(fn, args, dict(kwargs))
        constraints = spec.constraints if spec.keys is None else spec.keys.of(args, kwargs)
        return options, SubmitOptions(spec.envelope, spec.when, constraints, options.full), body

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """As `Executor.map`: submit all calls immediately, and yield the results in order.

        With a `chunksize` above 1, `chunksize` calls are sent, run and retried as one task.

        With a `buffersize`, at most that many tasks are submitted whose results were not yielded yet: the client takes
        further arguments from the iterables, which may be endless, as the program takes results.

        Raises:
            TimeoutError: a result does not arrive before the timeout, which begins with this call.
            ValueError: `chunksize` or `buffersize` is less than 1.
            TypeError: one of them is not a whole number, or a chunk has keys.
        """
        chunksize = at_least_one("chunksize", chunksize)
        buffersize = None if buffersize is None else at_least_one("buffersize", buffersize)
        limit_s = timeout_s(timeout)
        deadline = None if limit_s is None else _now() + limit_s
        rows = zip(*iterables, strict=False)
        if chunksize == 1:
            return in_order(itertools.starmap(functools.partial(self.submit, fn), rows), buffersize, deadline)
        if self._options_of(fn)[1] is not None:
            raise TypeError(
                "a chunk of calls is one task, which cannot have the keys of several calls: leave out chunksize"
            )
        return one_by_one(in_order(self._submit_chunks(fn, rows, chunksize), buffersize, deadline))

    def _submit_chunks(
        self, fn: Callable[..., R], rows: Iterator[tuple[Any, ...]], chunksize: int
    ) -> Iterator[TaskFuture[list[R]]]:
        """Submit the calls in chunks; yields the future of each chunk."""
        submit_options, _, fit = self._options_of(fn)
        while chunk := list(itertools.islice(rows, chunksize)):
            for row in chunk:
                if not fit.arguments_min <= len(row) <= fit.arguments_max:
                    fit.check(row, {})
            body = self._chunk_body(fn, chunk)
            del chunk, row  # the program can free the arguments while the client waits for results
            yield self._send(submit_options, body)

    def _options_of(self, fn: Callable[..., Any]) -> tuple[SubmitOptions, Keys | None, Fit]:
        spec = self._spec_of(fn)
        if self._options:
            spec = spec._replace(options=coherent(checked(spec.options, used(self._options, SUBMIT))))
        submit_options = SubmitOptions(spec.envelope, spec.when, spec.constraints, spec.options.full)
        prepared = submit_options, spec.keys, fit_of(fn)
        if self._by_value is None or not self._by_value.takes(fn):  # one that travels by value may change
            self._specs[fn] = prepared
        return prepared

    def _spec_of(self, fn: Callable[..., Any]) -> TaskSpec:
        if self._by_value is not None and self._by_value.takes(fn):
            return self._by_value.spec_of(fn)
        return spec_of(fn)

    def _body(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call; raises NotPicklable."""
        if self._by_value is not None and self._by_value.takes(fn):
            return self._by_value.pack(fn, args, kwargs)
        return _packed(fn, (args, kwargs), self._by_value)

    def _chunk_body(self, fn: Callable[..., Any], rows: Sequence[tuple[Any, ...]]) -> bytes:
        """The payload of a chunk of calls; raises NotPicklable."""
        if self._by_value is not None and self._by_value.takes(fn):
            return self._by_value.pack_chunk(fn, rows)
        return _packed(fn, (rows,), self._by_value)


def bare(error: DistqError) -> DistqError:
    """The same error, with its hint as a note, and without the frames inside distq, which explain nothing."""
    if error.hint and not getattr(error, "__notes__", None):
        error.add_note(error.hint)
    return error.with_traceback(None)


def _packed(fn: Callable[..., Any], call: object, by_value: ByValueSender | None = None) -> bytes:
    """The payload of a call; raises NotPicklable."""
    try:
        body = pack_call(call, PROTOCOL)
    except Exception as error:  # noqa: BLE001 - classes of arguments may raise anything
        return _packed_by_value(fn, call, by_value, error)
    return _checked(fn, body, call, by_value) if MAIN_BYTES in body else body


def _packed_by_value(fn: Callable[..., Any], call: object, by_value: ByValueSender | None, error: Exception) -> bytes:
    """The payload of a call that pickle cannot write: by value if the client may; raises NotPicklable."""
    if by_value is None:
        raise NotPicklable(f"The arguments of {path_of(fn)} cannot be pickled: {error}.") from error
    return pack_by_value(fn, call)


def _checked(fn: Callable[..., Any], body: bytes, call: object, by_value: ByValueSender | None) -> bytes:
    """The payload, by value if arguments need classes of `__main__` and the client may; raises ClassOfMain."""
    name = main_class_in(call)
    if name is None:
        return body
    if by_value is None:
        raise ClassOfMain(
            f"An argument of {path_of(fn)} needs {name}, which the program itself (__main__) defines: workers "
            "cannot import it."
        )
    return pack_by_value(fn, call)


def _named(name: object, options: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[TaskSpec, bytes]:
    """The spec of a task that the program names, and its arguments in JSON; raises NotPicklable."""
    spec = TaskSpec(task_name(name), options)
    try:
        return spec, pack_json(args, kwargs)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotPicklable(f"JSON cannot write the arguments of {name}: {error}.") from error
