"""Turns functions and arguments into tasks, for the clients of threads and of asyncio alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from distq.client.by_value import ByValueSender, pack_by_value
from distq.client.chains import Planned, Stage, planned
from distq.client.outbox import SubmitOptions
from distq.client.unsendable import ClassOfMain, NotPicklable, why_unsendable
from distq.core.errors import DistqError, with_hint
from distq.core.ranges import shown
from distq.protocol.schedule import write_definition
from distq.tasks.arguments import MAIN_BYTES, Fit, fit_of, main_class_in
from distq.tasks.call import Call
from distq.tasks.codec import PROTOCOL
from distq.tasks.failure import is_interruption
from distq.tasks.function import Keys, NotATask, TaskSpec, spec_of
from distq.tasks.identity import path_of
from distq.tasks.options import CHAIN, SCHEDULE, SUBMIT, Options, checked, coherent, task_name, used
from distq.tasks.payload import pack_call, pack_json

CLIENT_IS_LOCAL: Final = (
    "a client belongs to the process that made it. Make one where it is used: distq.Client() connects a task to the "
    "master of its worker, and another process to the same DISTQ_ADDRESS"
)
"""Why a client cannot be an argument of a task or of another process, and what to do instead."""


class Scheduled(NamedTuple):
    """A schedule that the master keeps."""

    name: str
    """The name by which the master keeps it."""
    next_at: float | None
    """The instant of the next scheduled run, in seconds since 1970; None while the schedule is paused."""


class TaskEncoder:
    """Turns calls into tasks as they travel, with options that win over a decorator's; it does no I/O."""

    _by_value: ByValueSender | None = None
    """Sends functions that workers cannot import; None if the client does not."""
    _json_only: bool = False
    """Whether arguments go in JSON, as the client has DISTQ_ACCEPT=json."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._specs: dict[Callable[..., Any], tuple[SubmitOptions, Keys | None, Fit]] = {}

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as an argument of a task or of another process; raises TypeError."""
        raise TypeError(CLIENT_IS_LOCAL)

    def _encoded(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[SubmitOptions, bytes]:
        """The submit options and the payload of a call; raises NotATask, TypeError, NotPicklable."""
        try:
            submit_options, keys, fit = self._specs[fn]
        except (KeyError, TypeError):  # not submitted yet, sent by value, or not hashable, which no function is
            if self._json_only or (self._by_value is not None and self._by_value.takes(fn)):
                return self._encoded_otherwise(fn, args, kwargs)
            submit_options, keys, fit = self._options_of(fn)
        if kwargs or not fit.arguments_min <= len(args) <= fit.arguments_max:
            fit.check(args, kwargs)
        try:  # as in `_packed`, whose call costs each task time
            body = pack_call((args, kwargs), PROTOCOL)
        except Exception as error:  # noqa: BLE001 - classes of arguments may raise anything
            body = _packed_by_value(fn, (args, kwargs), self._by_value, error)
        else:
            if body.find(MAIN_BYTES) >= 0:  # takes half the time of `in`
                body = _checked(fn, body, (args, kwargs), self._by_value)
        return (submit_options if keys is None else submit_options._replace(constraints=keys.of(args, kwargs))), body

    def _encoded_otherwise(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[SubmitOptions, bytes]:
        """The same for a function that travels by value, or of a client that sends only JSON."""
        submit_options, keys, fit = self._options_of(fn)
        fit.check(args, kwargs)
        body = self._body(fn, args, kwargs)
        if keys is not None:
            submit_options = submit_options._replace(constraints=keys.of(args, kwargs))
        return submit_options, body

    def _encoded_named(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, queue: str | None
    ) -> tuple[SubmitOptions, bytes]:
        """The submit options of a task that the program names, and its arguments in JSON; raises NotPicklable."""
        given = self._options if queue is None else {**self._options, "queue": queue}
        options = coherent(checked(Options(), used(given, SUBMIT)))
        spec, body = _named(name, options, args, kwargs or {})
        constraints = spec.constraints if spec.keys is None else spec.keys.of(args, kwargs or {})
        return SubmitOptions(spec.envelope, spec.when, constraints, spec.options.full), body

    def _encoded_chunks(
        self, fn: Callable[..., Any], rows: Iterator[tuple[Any, ...]], chunksize: int
    ) -> Iterator[tuple[SubmitOptions, bytes]]:
        """The submit options and the payload of each chunk of calls; raises TypeError for a function with keys."""
        submit_options, keys, fit = self._options_of(fn)
        if keys is not None:
            raise TypeError(
                "a chunk of calls is one task, which cannot have the keys of several calls: leave out chunksize"
            )
        return self._chunks(fn, rows, chunksize, submit_options, fit)

    def _chunks(
        self,
        fn: Callable[..., Any],
        rows: Iterator[tuple[Any, ...]],
        chunksize: int,
        submit_options: SubmitOptions,
        fit: Fit,
    ) -> Iterator[tuple[SubmitOptions, bytes]]:
        while chunk := list(itertools.islice(rows, chunksize)):
            for row in chunk:
                if not fit.arguments_min <= len(row) <= fit.arguments_max:
                    fit.check(row, {})
            body = self._chunk_body(fn, chunk)
            del chunk, row  # the program can free the arguments while the client waits for results
            yield submit_options, body

    def _definition(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, object]:
        """The schedule of that name of a call, as it travels; raises NotATask, TypeError, NotPicklable."""
        spec = spec_of(fn)
        options = coherent(checked(spec.options, used(self._options, SCHEDULE)))
        fit_of(fn).check(args, kwargs)
        # Not by value: a schedule outlives this program and its Python.
        body = _packed_as_json(path_of(fn), args, kwargs) if self._json_only else _packed(fn, (args, kwargs))
        return write_definition(spec._replace(options=options).scheduled(name, body, args, kwargs))

    def _definition_named(
        self, name: str, task: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None
    ) -> dict[str, object]:
        """The same of a task that the program names, with its arguments in JSON; raises NotPicklable."""
        spec, body = _named(task, coherent(checked(Options(), used(self._options, SCHEDULE))), args, kwargs or {})
        return write_definition(spec.scheduled(name, body, args, kwargs or {}))

    def _planned(self, stages: Iterable[Stage]) -> list[Planned]:
        """The tasks of a chain; raises what `Submitter.chain` documents."""
        return planned(stages, self._prepared)

    def _prepared(self, call: Call[Any], *, follows: bool) -> tuple[Options, SubmitOptions, bytes]:
        """The options of a call, its submit options and its payload; `follows` says whether it has dependencies."""
        fn, args, kwargs, given = call
        spec = self._spec_of(fn)
        fit_of(fn).check((None, *args) if follows else args, kwargs)
        options = coherent(checked(spec.options, used({**self._options, **given}, CHAIN)))
        spec = spec._replace(options=options)
        body = self._body(fn, args, dict(kwargs))
        constraints = spec.constraints if spec.keys is None else spec.keys.of(args, kwargs)
        return options, SubmitOptions(spec.envelope, spec.when, constraints, options.full), body

    def _options_of(self, fn: Callable[..., Any]) -> tuple[SubmitOptions, Keys | None, Fit]:
        spec = self._spec_of(fn)
        if self._options:
            spec = spec._replace(options=coherent(checked(spec.options, used(self._options, SUBMIT))))
        submit_options = SubmitOptions(spec.envelope, spec.when, spec.constraints, spec.options.full)
        prepared = submit_options, spec.keys, fit_of(fn)
        if not self._json_only and (
            self._by_value is None or not self._by_value.takes(fn)
        ):  # one that travels by value may change
            self._specs[fn] = prepared
        return prepared

    def _spec_of(self, fn: Callable[..., Any]) -> TaskSpec:
        if self._by_value is not None and self._by_value.takes(fn):
            return self._by_value.spec_of(fn)
        try:
            return spec_of(fn)
        except NotATask as error:
            raise bare(error) from None

    def _body(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call; raises NotPicklable."""
        if self._json_only:
            return _packed_as_json(path_of(fn), args, kwargs)
        if self._by_value is not None and self._by_value.takes(fn):
            return self._by_value.pack(fn, args, kwargs)
        return _packed(fn, (args, kwargs), self._by_value)

    def _chunk_body(self, fn: Callable[..., Any], rows: Sequence[tuple[Any, ...]]) -> bytes:
        """The payload of a chunk of calls; raises NotPicklable, TypeError."""
        if self._json_only:
            raise TypeError("a chunk of calls is a pickle, and this client sends only JSON: leave out chunksize")
        if self._by_value is not None and self._by_value.takes(fn):
            return self._by_value.pack_chunk(fn, rows)
        return _packed(fn, (rows,), self._by_value)


def scheduled(answer: Mapping[str, Any]) -> Scheduled:
    """The schedule that the master's answer describes."""
    (kept,) = answer["schedules"]
    return Scheduled(kept["name"], kept["next_at"])


def bare(error: DistqError) -> DistqError:
    """The same error, with its hint as a note, and without the frames inside distq, which explain nothing."""
    return with_hint(error).with_traceback(None)


def _packed(fn: Callable[..., Any], call: object, by_value: ByValueSender | None = None) -> bytes:
    """The payload of a call; raises NotPicklable."""
    try:
        body = pack_call(call, PROTOCOL)
    except Exception as error:  # noqa: BLE001 - classes of arguments may raise anything
        return _packed_by_value(fn, call, by_value, error)
    return _checked(fn, body, call, by_value) if MAIN_BYTES in body else body


def _packed_by_value(fn: Callable[..., Any], call: object, by_value: ByValueSender | None, error: Exception) -> bytes:
    """The payload of a call that pickle cannot write: by value if the client may; raises NotPicklable."""
    if is_interruption(error):
        raise error
    if by_value is None:
        why = why_unsendable(call, error)
        raise bare(NotPicklable(f"The arguments of {path_of(fn)} cannot be pickled: {why}.")) from error
    return pack_by_value(fn, call)


def _checked(fn: Callable[..., Any], body: bytes, call: object, by_value: ByValueSender | None) -> bytes:
    """The payload, by value if arguments need classes of `__main__` and the client may; raises ClassOfMain."""
    name = main_class_in(call)
    if name is None:
        return body
    if by_value is None:
        raise bare(
            ClassOfMain(
                f"An argument of {path_of(fn)} needs {name}, which the program itself (__main__) defines: workers "
                "cannot import it."
            )
        )
    return pack_by_value(fn, call)


def _named(name: object, options: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[TaskSpec, bytes]:
    """The spec of a task that the program names, and its arguments in JSON; raises NotPicklable."""
    spec = TaskSpec(task_name(name), options)
    if isinstance(args, str | bytes | Mapping) or not isinstance(args, Iterable):
        raise TypeError(f"args is a list or tuple of the task's arguments, not {shown(args)}")
    if not (isinstance(kwargs, Mapping) and all(isinstance(keyword, str) for keyword in kwargs)):
        raise TypeError(f"kwargs is a mapping of parameter names and arguments, not {shown(kwargs)}")
    return spec, _packed_as_json(str(name), args, kwargs)


def _packed_as_json(name: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The payload of a call in JSON; raises NotPicklable."""
    try:
        return pack_json(list(args), kwargs)
    except (TypeError, ValueError, RecursionError) as error:
        why = why_unsendable((list(args), dict(kwargs)), error)
        raise NotPicklable(f"JSON cannot write the arguments of {name}: {why}.") from error
