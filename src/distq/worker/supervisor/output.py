"""What an executor and its tasks write, as its supervisor hears it: every line becomes an event of the log.

It outlives its executor: what was written before a crash is still in the pipes, and a program that a task has left
behind may go on to write.
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
"""Bytes of one read; what they hold is logged before more is read, so that a flood waits in its task."""
_LINES_PER_TURN: Final = 200
"""Lines that are logged before the supervisor turns to its other work: some milliseconds."""
_NO_ROOM_S: Final = 0.05
"""Pause while nothing reads the log."""
_IDLE_S: Final = 1.0
"""After this time without another piece, the line that has begun is taken for ended."""
_WRITERS_MAX: Final = 256
"""Tasks with a line that has begun and not ended; of more the oldest line is ended."""
_LAST_TURNS: Final = 200
"""Reads at the end of the worker, when nothing else waits."""
RAW: Final = "output"
"""The stream of what reaches the descriptors without Python's `sys.stdout` and `sys.stderr`."""


class OutputPipes(NamedTuple):
    """The ends that the executor gets, of both pipes."""

    messages_fd: int
    raw_fd: int

    def close(self) -> None:
        """Close them here."""
        os.close(self.messages_fd)
        os.close(self.raw_fd)


class ExecutorOutput:
    """What one executor writes."""

    def __init__(self) -> None:
        self._task_running: Callable[[], str] = str
        """Gives the task that writes what comes without a task's id, '' where that is not known."""
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
        """Make the pipes; raises OSError when there are no descriptors left."""
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
        """Whether nothing holds the pipes open any more, and all that was written is logged."""
        return not self._open and not self._events

    def listen(self, pid: int, task_running: Callable[[], str]) -> None:
        """Log what comes, until nothing holds the pipes open any more."""
        self.pid, self._task_running = pid, task_running
        loop = asyncio.get_running_loop()
        for fd in self._open:
            loop.add_reader(fd, self._readable, fd)

    def executor_ended(self, task: str) -> None:
        """Log what it has written last; what came without a task's id is of `task`, if that is known."""
        self._task_running = lambda: task
        for fd in list(self._open):
            if self._pause is None:
                self._readable(fd)

    def finish(self) -> None:
        """Log what is left, and close; the worker ends."""
        self._cancel_timers()
        for _ in range(_LAST_TURNS):
            for fd in list(self._open):
                self._read(fd)
            if not self._events:
                break
            self._log_some(len(self._events))
        self._end_lines()
        self._log_some(len(self._events))
        self.close()

    def close(self) -> None:
        """Give the descriptors back."""
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
        """Read once."""
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
        if message.stream == RAW:  # one writer, whatever task it is taken for
            writer = "", RAW
        lines = self._lines.setdefault(writer, LineSplitter())
        self._events.extend(message._replace(text=line) for line in lines.feed(message.text))
        if not lines:
            del self._lines[writer]
        elif len(self._lines) > _WRITERS_MAX:
            self._end_line(next(iter(self._lines)))

    def _end_lines(self) -> None:
        """Take all lines that have begun for ended."""
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
        """Log some lines; while more are left, nothing is read."""
        self._pause = None
        has_room = self._log_some(_LINES_PER_TURN)
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
        """Log up to this number of lines; False if what reads the log is behind, and a line more would wait for it."""
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
    """What all executors of a worker write, those that have ended included: what they have started may write on."""

    def __init__(self) -> None:
        self._all: list[ExecutorOutput] = []

    def add(self, output: ExecutorOutput | None) -> None:
        """Note one more; those that are over are forgotten."""
        self._all = [one for one in (*self._all, output) if one is not None and not one.is_over]

    def finish(self) -> None:
        """Log what is left of all; the worker ends."""
        for output in self._all:
            output.finish()
