"""Sets up structlog, and makes events of the records of the standard library's logging.

An event is named in the past tense ("task_lost") and carries fields; there are no prose messages.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO, cast

import structlog

from distq.core.ranges import shown

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_STANDARD_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_of_thread = threading.local()
_all_levels = structlog.make_filtering_bound_logger(logging.NOTSET)


class Stream:
    """A text stream that drops text that it cannot write: a master must continue when the reader of its log ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write the text, or drop it if that fails."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            pass

    def flush(self) -> None:
        """Flush what was written, if that can be done."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            pass


class ToStructlog(logging.Handler):
    """Makes an event of each record that a library (asyncio, uvicorn) logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as `library_logged`; the library receives no exception."""
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - arguments that do not fit, or whose __str__ raises
            message = f"{record.msg!r} with {record.args!r} (it cannot be formatted: {type(error).__name__})"
        try:
            log_record(
                "library_logged",
                record.levelno,
                record.levelname,
                library=record.name,
                message=message,
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001 - the standard library reports it
            self.handleError(record)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return a logger; the caller keeps it, and binds the fields that all its events share with `bind`."""
    log = getattr(_of_thread, "log", None) or structlog.get_logger()
    return cast("structlog.typing.FilteringBoundLogger", log)


def send_to_logging(name: str) -> None:
    """Make this thread's events records of the standard library's logger `name`: the program's own logs stay as set."""
    _of_thread.log = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[_as_record],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def _as_record(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    fields = {name: value for name, value in event.items() if name not in ("event", "exc_info")}
    return " ".join([str(event["event"]), *(f"{name}={value}" for name, value in fields.items())])


def log_record(event: str, level: int, level_name: str, **fields: object) -> None:
    """Log an event at a level of Python's logging, which may be one that a library has defined."""
    known = max((one for one in _STANDARD_LEVELS if one <= level), default=logging.DEBUG)
    if level != known:
        fields["level_name"] = level_name
    get_logger().log(known, event, **_given(fields))


def log_output(event: str, **fields: object) -> None:
    """Log the output of a task, or an action of an operator, at any configured level."""
    structlog.wrap_logger(None, wrapper_class=_all_levels).info(event, **_given(fields))


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: what for name, what in fields.items() if what is not None}


def of_trace(log: structlog.typing.FilteringBoundLogger, trace_id: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose events carry this trace id; '' adds none."""
    return log.bind(trace_id=trace_id) if trace_id else log


def configure(level: str = "info", log_format: str = "auto", stream: TextIO | None = None) -> None:
    """Send events of at least `level` to `stream` (standard error), as text (`console`) or lines of `json`.

    `auto` is console on a terminal and json elsewhere. NO_COLOR removes the colors. A second call replaces the first.
    """
    stream = sys.stderr if stream is None else stream
    on_terminal = not stream.closed and stream.isatty()
    as_text = log_format == "console" or (log_format == "auto" and on_terminal)
    colors = on_terminal and not os.environ.get("NO_COLOR")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_text(colors) if as_text else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", Stream(stream))),
        cache_logger_on_first_use=False,
    )
    handler = ToStructlog()
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)


def log_unhandled() -> None:
    """Make events of the interpreter's own messages too: warnings, and errors in threads and finalizers."""
    logging.captureWarnings(capture=True)
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_ended_thread


def _log_unraisable(args: "sys.UnraisableHookArgs", /) -> None:
    introduction = args.err_msg or "Exception ignored in"
    get_logger().error("error_ignored", where=f"{introduction}: {args.object!r}", exc_info=args.exc_value)


def _log_ended_thread(args: threading.ExceptHookArgs, /) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else None
        get_logger().error("error_ignored", where=f"Thread {name}", exc_info=args.exc_value)


def _text(colors: bool) -> list[Any]:
    return [
        _as_written,
        structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
        ),
    ]


def _json() -> list[Any]:
    # Bytes and exceptions in fields become their repr: no value makes a log call fail.
    return [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer(_line)]


def _line(event: dict[str, Any], **_given: object) -> str:
    """Return an event as JSON, without NaN and Infinity, which Python writes by default and other readers refuse."""
    try:
        return json.dumps(event, default=repr, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return json.dumps({str(name): _field(value) for name, value in event.items()}, allow_nan=False)


def _field(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return shown(value)
    return value


def _as_written(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the text that a task prints or logs in the place of the event's name, for a terminal."""
    text = {"task_printed": "text", "task_logged": "message"}.get(event["event"])
    if text is not None:
        event["event"] = event.pop(text)
    return event


def _in_order(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Put the time, the level and the event's name first: people read these lines too."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}
