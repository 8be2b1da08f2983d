"""What keeps an error of ours in one request from all others: it is counted, logged, and told to the peer in words."""

from __future__ import annotations

from traceback import format_exception
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.logs import get_logger

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle, Request

PLACES: Final = ("decide", "commit", "apply", "answer", "read", "serve", "push", "sweep", "note", "refuse")
"""Where in the cycle an error can come up, as the metric names it."""
LOG_PAUSE_S: Final = 60.0
"""Pause between two log lines about the same error: a peer may repeat its call a thousand times a second."""
KINDS_MAX: Final = 1_000
"""The most kinds of errors whose last log line is remembered."""


class InternalError(DistqError):
    """The master has failed at a request by an error of its own; everything else goes on."""

    code = "INTERNAL_ERROR"
    hint = "This is an error of distq: the master's log has its traceback (internal_error). Please report it."


class RequestGuard:
    """Notes the errors of one broker, and fails the requests in which they come up."""

    def __init__(self, cycle: Cycle) -> None:
        self.counts = dict.fromkeys(PLACES, 0)
        """Errors since the master started, by place."""
        self._cycle = cycle
        self._logged: dict[tuple[str, str, str], tuple[float, int]] = {}
        """By kind of error: when it was logged last, and how often it has come since."""

    def note(self, place: str, exc: BaseException, request: object = None) -> None:
        """Count an error, and log its traceback unless the same was logged a short while ago."""
        self.counts[place] += 1
        kind = place, type(exc).__name__, _line_of(exc)
        now = self._cycle.clock.now()
        logged_at, since = self._logged.get(kind, (-LOG_PAUSE_S, 0))
        if abs(now - logged_at) < LOG_PAUSE_S:
            self._logged[kind] = logged_at, since + 1
            return
        if len(self._logged) >= KINDS_MAX:
            self._logged.clear()
        self._logged[kind] = now, 0
        told = "".join(format_exception(exc))
        name = None if request is None else type(request).__name__
        get_logger().error("internal_error", place=place, request=name, repeated=since, traceback=told)

    def failed(self, request: Request, exc: Exception, place: str, now: float) -> None:
        """A request has failed: its peer is told so; one that has no peer comes again."""
        cycle = self._cycle
        try:
            cycle.forget(request)
            if isinstance(exc, DistqError):
                request.refuse(exc)
                return
            self.note(place, exc, request)
            done = "Nothing of it was done." if place in ("decide", "commit") else "It may have been done."
            request.fail(cycle, InternalError(f"the master failed at this request ({type(exc).__name__}). {done}"), now)
        except Exception as other:  # noqa: BLE001 - nothing that one request can raise ends the cycle
            self.note("refuse", other, request)
            request.give_up()


def _line_of(exc: BaseException) -> str:
    """Where an error was raised."""
    last = exc.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return "" if last is None else f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
