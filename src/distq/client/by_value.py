"""Sends functions that workers cannot import by value, for `Client(by_value=True)`.

A function is pickled at each submit, with the globals that it uses as they are then: a notebook's cell that redefines
the function, or one that it calls, changes every later submit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from distq.client.unsendable import ExtraMissing, NotPicklable, why_unsendable
from distq.core.errors import PayloadTooLarge
from distq.core.head import TASK_NAME_BYTES_MAX
from distq.tasks.by_value import (
    FUNCTION,
    INSTALL,
    NAME_PREFIX,
    FunctionByValue,
    code_of,
    is_by_value,
    is_registered,
    wrapped,
)
from distq.tasks.codec import PROTOCOL
from distq.tasks.function import NotATask, TaskSpec, given_name_of, name_of, options_of, spec_of
from distq.tasks.identity import MAIN, path_of, without_partials
from distq.tasks.lifespan import injections_of
from distq.tasks.payload import pack_call, pack_chunk

LOCAL: Final = ("<lambda>", "<locals>")
"""In the qualified names of functions that no module has at its top level."""


class ByValueSender:
    """Decides which functions travel by value, and makes their payloads."""

    def __init__(self, payload_bytes_max: int) -> None:
        try:
            is_registered("")
        except ImportError:
            raise ExtraMissing(f"Client(by_value=True) needs cloudpickle: {INSTALL}.") from None
        self._bytes_max = payload_bytes_max

    def takes(self, function: Callable[..., Any]) -> bool:
        """Whether a function travels by value: workers could not import it, or the program asked cloudpickle for it."""
        module, _, name = path_of(function).partition(":")
        if module == MAIN or any(marker in name for marker in LOCAL) or is_registered(module):
            return callable(function)
        try:
            spec_of(function)
        except NotATask:
            return callable(function)
        return False

    def spec_of(self, function: Callable[..., Any]) -> TaskSpec:
        """The name and options of a function that travels by value; those of its decorator, if it has one.

        Raises:
            NotATask: it has injected parameters, which only functions of a worker's modules can have.
        """
        name = _name_of(function)
        if injected := sorted(injections_of(without_partials(function))):
            raise NotATask(
                f"{name} cannot travel by value: a worker sets up what {', '.join(injected)} needs when it imports its "
                "modules."
            )
        return TaskSpec(_cut(NAME_PREFIX + name), options_of(function))

    def pack(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of one call of a function that travels by value; raises PayloadTooLarge."""
        sent = self._sent(function)
        call = (args, {**kwargs, FUNCTION: sent})
        body = _arguments(function, (args, kwargs), call) or pack_call(call, PROTOCOL)
        return self._checked(function, sent, body)

    def pack_chunk(self, function: Callable[..., Any], rows: Sequence[Sequence[Any]]) -> bytes:
        """The payload of a chunk of calls, which has the function once."""
        sent = self._sent(function)
        calls = [(sent, *row) for row in rows]
        return self._checked(function, sent, _arguments(function, rows, (calls,)) or pack_chunk(calls))

    def _sent(self, function: Callable[..., Any]) -> FunctionByValue:
        name = _name_of(function)
        if hasattr(function, "cache_parameters"):  # cloudpickle would write only its name
            raise NotPicklable(
                f"The function {name} cannot be sent by value, because functools.cache or lru_cache wraps it: send its "
                "__wrapped__, or move it to a module that workers can import."
            )
        try:
            return FunctionByValue(f"The function {name}", code_of(function))
        except Exception as error:
            why = why_unsendable((), error)
            raise NotPicklable(
                f"The function {name} cannot be sent by value, because something that it uses cannot be pickled: {why}."
            ) from error

    def _checked(self, function: Callable[..., Any], sent: FunctionByValue, body: bytes) -> bytes:
        if len(body) > self._bytes_max:
            raise PayloadTooLarge(
                f"the function {_name_of(function)}, sent by value with the globals that it uses, has "
                f"{len(sent.body):,} bytes, with its arguments {len(body):,}; DISTQ_PAYLOAD_BYTES_MAX allows "
                f"{self._bytes_max:,}: let the function load large values itself."
            )
        return body


def pack_by_value(function: Callable[..., Any], call: Any) -> bytes:
    """The payload of a call of a function that workers can import, with arguments that they cannot.

    Raises:
        NotPicklable: cloudpickle cannot write the arguments either.
    """
    return _dumped(function, call)


def _arguments(function: Callable[..., Any], arguments: Any, call: Any) -> bytes | None:
    """The payload of `call` by value, if its arguments need that; None if they do not."""
    return _dumped(function, call) if is_by_value(_pickled(function, arguments)) else None


def _dumped(function: Callable[..., Any], call: Any) -> bytes:
    return wrapped(f"An argument of {_name_of(function)}", _pickled(function, call))


def _pickled(function: Callable[..., Any], arguments: Any) -> bytes:
    try:
        return code_of(arguments)
    except Exception as error:
        why = why_unsendable(arguments, error)
        raise NotPicklable(f"The arguments of {_name_of(function)} cannot be pickled: {why}.") from error


def _name_of(function: Callable[..., Any]) -> str:
    """The name of a function in its task's name and in messages: the decorator's, or its module and qualified name."""
    return given_name_of(function) or name_of(function).replace(":", ".")


def _cut(name: str) -> str:
    """The name with at most TASK_NAME_BYTES_MAX bytes; the end of the name says most."""
    encoded = name.encode()
    if len(encoded) <= TASK_NAME_BYTES_MAX:
        return name
    room = TASK_NAME_BYTES_MAX - len(NAME_PREFIX) - 3
    return f"{NAME_PREFIX}...{encoded[-room:].decode(errors='ignore')}"
