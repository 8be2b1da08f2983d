"""What an executor does with prints and logging of its tasks: each goes to the supervisor, with the task's id.

`sys.stdout` and `sys.stderr` are replaced by streams that hold nothing back. What goes past them, from C code or from
programs that a task starts, goes to the descriptors 1 and 2, which are a pipe to the supervisor too.
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
"""Gives the id of the task whose code runs here, '' if none does or it is not known."""
_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_EXTRAS_MAX: Final = 20
_NUMBER_MAX: Final = 1e300


def capture(speaker: MessageWriter, task_of: TaskOf, level: int) -> None:
    """Have what this process prints and logs (from `level` on) go to the supervisor.

    Logging that the user sets up goes before: a handler that writes to a standard stream is not joined by ours, and
    `logging.basicConfig` finds a root logger without handlers, as it does everywhere else.
    """
    write_through()
    faulthandler.enable()  # a fault in C code then says where it was; to descriptor 2, before that stream is replaced
    sys.stdout = stream_of(speaker, "stdout", 1, task_of)
    sys.stderr = stream_of(speaker, "stderr", 2, task_of)
    above_the_root = logging.Logger("distq.capture")  # noqa: LOG001 - no logger by this name is to be found
    above_the_root.addHandler(ToSupervisor(speaker, task_of))
    logging.root.parent = above_the_root
    logging.root.setLevel(level)
    logging.captureWarnings(capture=True)


def write_through() -> None:
    """Have this process's own standard streams hold nothing back: what is written before a crash is seen."""
    for own in (sys.__stdout__, sys.__stderr__):
        if isinstance(own, io.TextIOWrapper):
            own.reconfigure(write_through=True, errors="backslashreplace")


def stream_of(speaker: MessageWriter, name: str, fd: int, task_of: TaskOf) -> "PrintedText":
    """A standard stream whose texts go to the supervisor."""
    raw = PrintedBytes(speaker, name, fd, task_of)
    buffer: IO[bytes] = raw  # type: ignore[assignment] # as PYTHONUNBUFFERED does it: there is no buffer
    return PrintedText(buffer, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)


class PrintedText(io.TextIOWrapper):
    """A standard stream of every task that runs here: what one of them does to it is not felt by the next.

    Programs close theirs (`with sys.stdout:`), take it apart (`io.TextIOWrapper(sys.stdout.buffer)`, which closes what
    it was given when it goes) or have it speak another encoding, and then print no more.
    """

    def close(self) -> None:
        """Do not: others print here."""

    def detach(self) -> Any:
        """The stream of bytes below, which goes on being that of this one too."""
        return self.buffer

    def reconfigure(self, **_given: object) -> None:
        """Stay as it is: every text can be written, and nothing is held back."""


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
        """It is."""
        return True

    def close(self) -> None:
        """Do not: others print here."""

    def fileno(self) -> int:
        """The descriptor that a program started with this stream writes to."""
        return self._fd

    def write(self, data: object) -> int:
        """Write all of the bytes."""
        text = bytes(data).decode("utf-8", "backslashreplace")  # type: ignore[call-overload] # any buffer will do
        task = self._task_of()
        for at in range(0, len(text), TEXT_CHARS_MAX):
            self._speaker.write(Printed(task, self._stream, text[at : at + TEXT_CHARS_MAX]))
        return len(memoryview(data).cast("B"))  # type: ignore[arg-type] # as above


class ToSupervisor(logging.Handler):
    """Passes records on; stands above the root logger, where no configuration of the user's meets it."""

    def __init__(self, speaker: MessageWriter, task_of: TaskOf) -> None:
        super().__init__()
        self._speaker = speaker
        self._task_of = task_of

    def createLock(self) -> None:  # noqa: N802 - the standard library's name
        """Do without: a message is written whole, and a task that is interrupted while it logs leaves no lock."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass a record on that no filter keeps; the base class takes the lock, from Python 3.13 on without a look."""
        if is_wanted := bool(self.filter(record)):
            self.emit(record)
        return is_wanted

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on; nothing is raised at the task."""
        try:
            if not _is_written_already(record):
                self._speaker.write(_logged(self._task_of(), record))
        except Exception:  # noqa: BLE001 - a record's parts are the user's objects
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
    """A record's message, also where its arguments do not fit."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - the user's format, arguments and their __str__
        try:
            said = f"{record.msg!r} with {record.args!r}"
        except Exception:  # noqa: BLE001 - as above
            said = "a message"
        return f"{said} (it cannot be formatted: {type(error).__name__})"


def _lines_of(exc_info: object) -> str:
    error = exc_info[1] if isinstance(exc_info, tuple) else None
    if error is None:
        return ""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - an exception whose own __str__ raises
        return type(error).__name__


def _plain(extra: dict[str, object]) -> dict[str, object]:
    """The same with everything that JSON has no form for as text, each of bounded length."""
    return {
        str(name): what if what is None or isinstance(what, bool) or _has_digits(what) else _text_of(what)
        for name, what in extra.items()
    }


def _has_digits(what: object) -> bool:
    """Whether it is a number that JSON can write: not infinite or nan, nor too long for Python to write it out."""
    return isinstance(what, int | float) and -_NUMBER_MAX < what < _NUMBER_MAX


def _text_of(what: object) -> str:
    try:
        return (what if isinstance(what, str) else shown(what) if isinstance(what, int) else repr(what))[:1_000]
    except Exception:  # noqa: BLE001 - the user's __repr__
        return f"a {type(what).__name__}"


def _is_written_already(record: logging.LogRecord) -> bool:
    """Whether a handler of the user's writes this record to a standard stream."""
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
