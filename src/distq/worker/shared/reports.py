"""The reports that executors send their supervisor: frames on a pipe, one short tuple each.

An executor never waits for its supervisor: it drops a report if the pipe is full. Each report has at most `PIPE_BUF`
bytes, so the kernel accepts all of it or nothing. Facts that must not be lost (the running task, the counts of ended
tasks) are in the shared page instead.
"""

import os
import pickle
import select
from contextlib import suppress
from typing import Final, NamedTuple

from distq.core.errors import DistqError
from distq.wire.framing import Framer, pack

TEXT_LENGTH_MAX: Final = 300
"""Characters; three such texts of four bytes each fit into `PIPE_BUF`."""


class Ready(NamedTuple):
    """The handler is imported."""


class Unable(NamedTuple):
    """The executor cannot work at all, and ends; `reason` is a sentence."""

    reason: str


class Connected(NamedTuple):
    """The executor is connected; `stock` if the server is the standard library's."""

    stdlib_server: bool


class Disconnected(NamedTuple):
    """The executor's connection is lost."""

    reason: str


class Failed(NamedTuple):
    """A task has failed."""

    task_id: str
    name: str
    attempt: int
    cause: str
    trace_id: str = ""


class Succeeded(NamedTuple):
    """A task has succeeded; sent only when asked for."""

    task_id: str
    name: str
    attempt: int
    run_s: float
    trace_id: str = ""


class Trouble(NamedTuple):
    """Something else went wrong; a sentence."""

    reason: str


Report = Ready | Unable | Connected | Disconnected | Failed | Succeeded | Trouble


class Reporter:
    """The executor's end of the pipe."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    def send(self, report: Report) -> None:
        """Write a report, or drop it if the pipe is full or the supervisor has ended."""
        fields = tuple(_cut(field) for field in report)
        frame = pack(pickle.dumps((type(report).__name__, fields)))
        assert len(frame) <= select.PIPE_BUF
        with suppress(OSError):  # a task may have closed the pipe: that must not end other tasks
            os.write(self._fd, frame)


class ReportReader:
    """Converts the bytes of the pipe to reports in the supervisor."""

    def __init__(self) -> None:
        self._framer = Framer(select.PIPE_BUF)

    def feed(self, data: bytes) -> list[Report]:
        """Add bytes, and return the reports that they complete.

        Raises:
            DistqError: these are no reports: the task's own code has written to the pipe.
        """
        reports: list[Report] = []
        for frame in self._framer.feed(data):
            try:
                name, fields = pickle.loads(frame)
                reports.append(_KINDS[name](*fields))
            except Exception as error:
                raise DistqError(f"An executor's report cannot be read: {error!r}") from error
        return reports


_KINDS = {kind.__name__: kind for kind in (Ready, Unable, Connected, Disconnected, Failed, Succeeded, Trouble)}


def _cut(field: object) -> object:
    if isinstance(field, str) and len(field) > TEXT_LENGTH_MAX:
        return field[: TEXT_LENGTH_MAX - 1] + "…"
    return field
