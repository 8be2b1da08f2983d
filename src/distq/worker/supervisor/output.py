"""The supervisor's reader of what an executor and its tasks write: it logs every line as an event.

The reader outlives the executor: after a crash the pipes still hold text, and a program that a task has started may
continue to write.
"""

import asyncio
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from distq.logs import log_output, log_record
from distq.worker.shared.output_messages import LineSplitter, Logged, Message, MessageReader, Printed

_READ_BYTES: Final = 16_384
"""Maximum bytes of one read; the supervisor logs them before it reads more, so a task that prints too fast waits."""
_LINES_PER_PASS: Final = 200
"""Maximum lines that the supervisor logs before it does its other work; this takes some milliseconds."""
_NO_ROOM_S: Final = 0.05
"""Seconds to pause while the reader of the log takes nothing."""
_IDLE_S: Final = 1.0
"""Seconds without more text after which the supervisor logs a line that has begun and not ended."""
_WRITERS_MAX: Final = 256
"""Maximum writers (a task and its stream) with an unfinished line; with more, the supervisor ends the oldest line."""
_LAST_READS: Final = 200
"""Maximum reads of each pipe when the worker ends, so that a program that still writes cannot delay the end."""
RAW: Final = "output"
"""The stream's name for text that C code or programs write to the descriptors, without `sys.stdout` or `sys.stderr`."""


class OutputPipes(NamedTuple):
    """The executor's ends of both pipes."""

    messages_fd: int
    raw_fd: int

    def close(self) -> None:
        """Close both ends in this process."""
        os.close(self.messages_fd)
        os.close(self.raw_fd)


class ExecutorOutput:
    """Reads and logs what one executor writes."""

    def __init__(self) -> None:
        self._task_running: Callable[[], str] = str
        """Returns the id of the task to which raw text belongs; '' if it is not known."""
        self.pid = 0
        self._reader = MessageReader()
        self._lines: dict[tuple[str, str], LineSplitter] = {}
        self._events: deque[Message] = deque()
        self._open: set[int] = set()
        self._raw_fd = -1
        self._idle: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._log_poll = select.poll()
        self._log_poll.register(2, select.POLLOUT)

    def create_pipes(self) -> OutputPipes:
        """Make the pipes; raises OSError if no descriptors are left."""
        messages_read, messages_write = os.pipe()
        try:
            self._raw_fd, raw_write = os.pipe()
        except OSError:
            os.close(messages_read)
            os.close(messages_write)
            raise
        self._open = {messages_read, self._raw_fd}
        for fd in self._open:
            os.set_blocking(fd, False)
        return OutputPipes(messages_write, raw_write)

    @property
    def is_over(self) -> bool:
        """Whether all writers have closed the pipes, and all their text is logged."""
        return not self._open and not self._events

    def listen(self, pid: int, task_running: Callable[[], str]) -> None:
        """Log what arrives, until all writers have closed the pipes."""
        self.pid, self._task_running = pid, task_running
        loop = asyncio.get_running_loop()
        for fd in self._open:
            loop.add_reader(fd, self._readable, fd)

    def executor_ended(self, task: str) -> None:
        """Log the last text of an executor that has ended; raw text belongs to `task`, or to no task if that is ''."""
        self._task_running = lambda: task
        for fd in list(self._open):
            if self._pause is None:
                self._readable(fd)

    def finish(self) -> None:
        """Log the remaining text and close the pipes, because the worker ends."""
        self._cancel_timers()
        for _ in range(_LAST_READS):
            for fd in list(self._open):
                self._read(fd)
            if not self._events:
                break
            self._log_some(len(self._events))
        self._end_lines()
        self._log_some(len(self._events))
        self.close()

    def close(self) -> None:
        """Close the pipes."""
        self._cancel_timers()
        for fd in list(self._open):
            self._close(fd)

    def _cancel_timers(self) -> None:
        for timer in (self._idle, self._pause):
            if timer is not None:
                timer.cancel()
        self._idle = self._pause = None

    # -- reading ---------------------------------------------------------------------------------

    def _readable(self, fd: int) -> None:
        self._read(fd)
        self._log_turn()

    def _read(self, fd: int) -> None:
        """Read once from one pipe."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close(fd)
            self._end_lines()
        elif fd == self._raw_fd:
            self._take(Printed(self._task_running(), RAW, data.decode("utf-8", "backslashreplace")))
        else:
            for message in self._reader.feed(data):
                self._take(message)

    def _take(self, message: Message) -> None:
        if isinstance(message, Logged):
            self._events.append(message)
            return
        writer = message.task_id, message.stream
        if message.stream == RAW:  # raw text has one writer, also when the running task changes
            writer = "", RAW
        lines = self._lines.setdefault(writer, LineSplitter())
        self._events.extend(message._replace(text=line) for line in lines.feed(message.text))
        if not lines:
            del self._lines[writer]
        elif len(self._lines) > _WRITERS_MAX:
            self._end_line(next(iter(self._lines)))

    def _end_lines(self) -> None:
        """End all lines that have begun."""
        for writer in list(self._lines):
            self._end_line(writer)

    def _end_line(self, writer: tuple[str, str]) -> None:
        task, stream = writer
        if line := self._lines.pop(writer).end():
            self._events.append(Printed(task or (self._task_running() if stream == RAW else ""), stream, line))

    def _close(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        self._open.discard(fd)

    # -- logging ---------------------------------------------------------------------------------

    def _log_turn(self) -> None:
        """Log some lines; read no more text while lines remain."""
        self._pause = None
        has_room = self._log_some(_LINES_PER_PASS)
        loop = asyncio.get_running_loop()
        if self._events:
            for fd in self._open:
                loop.remove_reader(fd)
            self._pause = loop.call_later(0.0 if has_room else _NO_ROOM_S, self._log_turn)
            return
        for fd in self._open:
            loop.add_reader(fd, self._readable, fd)
        if self._idle is not None:
            self._idle.cancel()
        self._idle = loop.call_later(_IDLE_S, self._waited) if self._lines else None

    def _waited(self) -> None:
        self._end_lines()
        self._log_turn()

    def _log_some(self, lines: int) -> bool:
        """Log at most `lines` lines; return False if the next line would wait for the reader of the log."""
        while self._events and lines:
            if not self._log_poll.poll(0):
                return False
            self._log(self._events.popleft())
            lines -= 1
        return True

    def _log(self, event: Message) -> None:
        task = event.task_id or None
        if isinstance(event, Printed):
            log_output("task_printed", task=task, stream=event.stream, text=event.text, pid=self.pid)
        else:
            log_record(
                "task_logged",
                event.level,
                event.level_name,
                task=task,
                logger=event.logger,
                message=event.message,
                exception=event.traceback or None,
                extra=event.extra or None,
                pid=self.pid,
            )


class ExecutorOutputs:
    """The readers of all executors of a worker; ended ones are included, because their programs may still write."""

    def __init__(self) -> None:
        self._all: list[ExecutorOutput] = []

    def add(self, output: ExecutorOutput | None) -> None:
        """Add one reader, and remove each that is over."""
        self._all = [one for one in (*self._all, output) if one is not None and not one.is_over]

    def finish(self) -> None:
        """Log the remaining text of all executors, because the worker ends."""
        for output in self._all:
            output.finish()
