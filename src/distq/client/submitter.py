"""`distq.Submitter`: turns functions and arguments into tasks and submits them, for a client and its options."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from typing import Any, ParamSpec, TypeVar, overload

from distq.client.chains import Parallel, Planned, Stage
from distq.client.encoder import Scheduled, TaskEncoder, bare, scheduled
from distq.client.future import TaskFuture
from distq.client.map_results import MapResults, at_least_one
from distq.client.outbox import SubmitOptions
from distq.client.timeouts import Timeout, timeout_s
from distq.core.errors import DistqError
from distq.tasks.call import Call, Unfinished
from distq.tasks.function import name_of

P = ParamSpec("P")
R = TypeVar("R")

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class Submitter(TaskEncoder, Executor):
    """Submits functions to a master, with options that win over a decorator's; `client.options` returns one."""

    def _send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        """Send one task to the master."""
        raise NotImplementedError

    @overload
    def submit(self, fn: Callable[P, Unfinished[R]], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]: ...
    @overload
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]: ...
    # An overload's R is not the one of the implementation.
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]:  # type: ignore[misc]
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
            submit_options, body = self._encoded(fn, args, kwargs)
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
        try:
            submit_options, body = self._encoded_named(name, args, kwargs, queue)
            return self._send(submit_options, body)
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
        return self._keep(self._definition(name, fn, args, kwargs))

    def schedule_named(
        self, name: str, task: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Scheduled:
        """As `schedule`, with the name of a task and arguments in JSON; this program does not import the task.

        It does not know the options of its decorator either, as `submit_named`.
        """
        return self._keep(self._definition_named(name, task, args, kwargs))

    def _keep(self, definition: Mapping[str, Any]) -> Scheduled:
        try:
            return scheduled(self._administer("schedule_put", definition))
        except DistqError as error:
            raise bare(error) from error.__cause__

    def slots(self) -> int:
        """The number of tasks that the connected workers can run at the same time; raises CannotReach."""
        try:
            return int(self._administer("live", {"view": "workers", "limit": 1})["totals"]["slots"])
        except DistqError as error:
            raise bare(error) from error.__cause__

    def _administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        """The master's answer to a request of an operator."""
        raise NotImplementedError

    @overload
    def chain(self, last: Call[R], /) -> TaskFuture[R]: ...
    @overload
    def chain(self, last: Parallel[R], /) -> TaskFuture[list[R]]: ...
    @overload
    def chain(self, _1: Stage, last: Call[R], /) -> TaskFuture[R]: ...
    @overload
    def chain(self, _1: Stage, last: Parallel[R], /) -> TaskFuture[list[R]]: ...
    @overload
    def chain(self, _1: Stage, _2: Stage, last: Call[R], /) -> TaskFuture[R]: ...
    @overload
    def chain(self, _1: Stage, _2: Stage, last: Parallel[R], /) -> TaskFuture[list[R]]: ...
    @overload
    def chain(self, _1: Stage, _2: Stage, _3: Stage, last: Call[R], /) -> TaskFuture[R]: ...
    @overload
    def chain(self, _1: Stage, _2: Stage, _3: Stage, last: Parallel[R], /) -> TaskFuture[list[R]]: ...
    @overload
    def chain(self, _1: Stage, _2: Stage, _3: Stage, _4: Stage, _5: Stage, /, *more: Stage) -> TaskFuture[Any]: ...
    def chain(self, *stages: Call[Any] | Iterable[Call[Any]]) -> TaskFuture[Any]:
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
        try:
            tasks = self._planned(stages)
            return self._send_together(tasks)
        except DistqError as error:
            raise bare(error) from error.__cause__

    def group(self, calls: Iterable[Call[Any]], then: Call[R]) -> TaskFuture[R]:
        """Submit calls that run in parallel, and `then`, which gets the list of their results.

        The same as `chain(list(calls), then)`.
        """
        return self.chain(list(calls), then)

    def gather(self, *calls: Call[R]) -> TaskFuture[list[R]]:
        """Submit calls that run in parallel; the future's result is the list of their results, in order.

        The same as `chain(list(calls))`: the list is the result of a task of its own, which every client can get by
        its id.
        """
        return self.chain(list(calls))

    def _send_together(self, tasks: Sequence[Planned]) -> TaskFuture[Any]:
        """Send tasks in one submit; returns the future of the last one."""
        raise NotImplementedError

    @overload
    def map(
        self,
        fn: Callable[..., Unfinished[R]],
        *iterables: Iterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool | str = False,
    ) -> Iterator[R]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool | str = False,
    ) -> Iterator[R]: ...
    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: Timeout = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool | str = False,
    ) -> Iterator[R]:
        """As `Executor.map`: submit all calls immediately, and yield the results in order.

        With a `chunksize` above 1, `chunksize` calls are sent, run and retried as one task.

        With a `buffersize`, at most that many tasks are submitted whose results were not yielded yet: the client takes
        further arguments from the iterables, which may be endless, as the program takes results.

        With `progress`, a bar shows how many calls have ended, as that of `distq.progress`; a text is its label.

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
        name = name_of(fn)
        if not progress:
            return MapResults(name, self._submits(fn, rows, chunksize), nullcontext(), buffersize, deadline, chunksize)
        from distq.client.progress.mapping import MapBar  # noqa: PLC0415 - most programs draw no bars

        shown = MapBar(name, iterables, progress)
        submits = shown.futures(self._submits(fn, shown.rows(rows), chunksize))
        return MapResults(name, submits, shown.bar, buffersize, deadline, chunksize)

    def _submits(
        self, fn: Callable[..., R], rows: Iterator[tuple[Any, ...]], chunksize: int
    ) -> Iterator[TaskFuture[Any]]:
        """Submit a call, or a chunk of calls, for each future that is taken."""
        if chunksize == 1:
            return itertools.starmap(functools.partial(self.submit, fn), rows)
        return itertools.starmap(self._send, self._encoded_chunks(fn, rows, chunksize))
