"""The capture of what tasks print and log: the executor sends it, with the task's id, to the supervisor.

The executor replaces `sys.stdout` and `sys.stderr` by streams without a buffer. C code, and programs that a task
starts, write to the descriptors 1 and 2 instead; these are a pipe to the supervisor too.
"""

import faulthandler
import io
import logging
import sys
import traceback
from collections.abc import Callable
from typing import IO, Any, Final

from distq.core.ranges import shown
from distq.worker.shared.output_messages import TEXT_CHARS_MAX, Logged, MessageWriter, Printed

TaskOf = Callable[[], str]
"""Returns the id of the task whose code calls it; '' if no task does, or its id is not known."""
_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_EXTRAS_MAX: Final = 20
_NUMBER_MAX: Final = 1e300


def capture(speaker: MessageWriter, task_of: TaskOf, level: int) -> None:
    """Send what this process prints and logs (from `level` on) to the supervisor.

    The user's own set-up of logging takes precedence: a record that a user's handler writes to a standard stream is not
    sent a second time, and `logging.basicConfig` finds a root logger without handlers, as in any other process.
    """
    write_through()
    faulthandler.enable()  # after a fault in C code it writes the stack to descriptor 2; so before sys.stderr changes
    sys.stdout = stream_of(speaker, "stdout", 1, task_of)
    sys.stderr = stream_of(speaker, "stderr", 2, task_of)
    above_the_root = logging.Logger("distq.capture")  # noqa: LOG001 - no logger by this name is to be found
    above_the_root.addHandler(ToSupervisor(speaker, task_of))
    logging.root.parent = above_the_root
    logging.root.setLevel(level)
    logging.captureWarnings(capture=True)


def write_through() -> None:
    """Switch off the buffers of this process's own standard streams, so that no text is lost in a crash."""
    for own in (sys.__stdout__, sys.__stderr__):
        if isinstance(own, io.TextIOWrapper):
            own.reconfigure(write_through=True, errors="backslashreplace")


def stream_of(speaker: MessageWriter, name: str, fd: int, task_of: TaskOf) -> "PrintedText":
    """Return a standard stream whose texts go to the supervisor."""
    raw = PrintedBytes(speaker, name, fd, task_of)
    buffer: IO[bytes] = raw  # type: ignore[assignment] # no buffer, as with PYTHONUNBUFFERED
    return PrintedText(buffer, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)


class PrintedText(io.TextIOWrapper):
    """A standard stream that all tasks of this executor share: no task can change it for the next one.

    Some programs close their standard stream (`with sys.stdout:`), change its encoding, or wrap it again: an
    `io.TextIOWrapper(sys.stdout.buffer)` closes the buffer when it is deleted. Later tasks could then not print.
    """

    def close(self) -> None:
        """Do nothing: other tasks print to this stream too."""

    def detach(self) -> Any:
        """Return the stream of bytes below, and keep it in use here too."""
        return self.buffer

    def reconfigure(self, **_given: object) -> None:
        """Do nothing: the stream can write every text already, and has no buffer."""


class PrintedBytes(io.RawIOBase):
    """The bytes of a standard stream: each write is a message to the supervisor."""

    mode = "wb"

    def __init__(self, speaker: MessageWriter, stream: str, fd: int, task_of: TaskOf) -> None:
        self.name = f"<{stream}>"
        self._speaker = speaker
        self._stream = stream
        self._fd = fd
        self._task_of = task_of

    def writable(self) -> bool:
        """Return True: a task may always write."""
        return True

    def close(self) -> None:
        """Do nothing: other tasks print to this stream too."""

    def fileno(self) -> int:
        """Return the descriptor to which a program writes that a task starts with this stream."""
        return self._fd

    def write(self, data: object) -> int:
        """Send all of the bytes, and return their number."""
        text = bytes(data).decode("utf-8", "backslashreplace")  # type: ignore[call-overload] # any buffer is accepted
        task = self._task_of()
        for at in range(0, len(text), TEXT_CHARS_MAX):
            self._speaker.write(Printed(task, self._stream, text[at : at + TEXT_CHARS_MAX]))
        return len(memoryview(data).cast("B"))  # type: ignore[arg-type] # as above


class ToSupervisor(logging.Handler):
    """The handler that sends records to the supervisor; it is above the root logger, which the user may configure."""

    def __init__(self, speaker: MessageWriter, task_of: TaskOf) -> None:
        super().__init__()
        self._speaker = speaker
        self._task_of = task_of

    def createLock(self) -> None:  # noqa: N802 - the standard library's name
        """Make no lock: a message is written as a whole, and a task interrupted while it logs leaves no lock held."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Send a record that no filter drops.

        The method of the base class acquires the lock, and from Python 3.13 on does not check that there is one.
        """
        if is_wanted := bool(self.filter(record)):
            self.emit(record)
        return is_wanted

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; the task gets no error if that fails."""
        try:
            if not _is_written_already(record):
                self._speaker.write(_logged(self._task_of(), record))
        except Exception:  # noqa: BLE001 - a record contains the user's objects, which may raise anything
            self.handleError(record)


def _logged(task: str, record: logging.LogRecord) -> Logged:
    extra = {name: what for name, what in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
    extra = dict(list(extra.items())[:_EXTRAS_MAX])
    message = message_of(record)[:TEXT_CHARS_MAX]
    lines = record.exc_text or _lines_of(record.exc_info)
    if record.stack_info:
        lines = f"{lines}\n{record.stack_info}".strip()
    level_name = str(record.levelname)
    return Logged(task, record.levelno, level_name, record.name, message, lines[-TEXT_CHARS_MAX:], _plain(extra))


def message_of(record: logging.LogRecord) -> str:
    """Return a record's message, or a text that says why it cannot be formatted."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - the user's format, arguments and their __str__
        try:
            text = f"{record.msg!r} with {record.args!r}"
        except Exception:  # noqa: BLE001 - as above
            text = "a message"
        return f"{text} (it cannot be formatted: {type(error).__name__})"


def _lines_of(exc_info: object) -> str:
    error = exc_info[1] if isinstance(exc_info, tuple) else None
    if error is None:
        return ""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - an exception whose own __str__ raises
        return type(error).__name__


def _plain(extra: dict[str, object]) -> dict[str, object]:
    """Return the same fields with each value that JSON cannot express as a text of bounded length."""
    return {
        str(name): what if what is None or isinstance(what, bool) or _has_digits(what) else _text_of(what)
        for name, what in extra.items()
    }


def _has_digits(what: object) -> bool:
    """Whether `what` is a number that JSON can express: finite, and not too long for Python to print."""
    return isinstance(what, int | float) and -_NUMBER_MAX < what < _NUMBER_MAX


def _text_of(what: object) -> str:
    try:
        return (what if isinstance(what, str) else shown(what) if isinstance(what, int) else repr(what))[:1_000]
    except Exception:  # noqa: BLE001 - the user's __repr__
        return f"a {type(what).__name__}"


def _is_written_already(record: logging.LogRecord) -> bool:
    """Whether one of the user's handlers writes this record to a standard stream."""
    named = logging.root.manager.loggerDict.get(record.name, logging.root)
    logger = named if isinstance(named, logging.Logger) else logging.root
    while True:
        if any(_writes(handler, record.levelno) for handler in logger.handlers):
            return True
        if logger is logging.root or not logger.propagate or logger.parent is None:
            return False
        logger = logger.parent


def _writes(handler: logging.Handler, level: int) -> bool:
    return (
        isinstance(handler, logging.StreamHandler)
        and level >= handler.level
        and handler.stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    )
