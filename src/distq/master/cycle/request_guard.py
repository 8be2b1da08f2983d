"""Confines an error of distq in one request to that request: counts it, logs it, and replies with a sentence."""

from __future__ import annotations

from traceback import format_exception
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.logs import get_logger

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle, Request

PLACES: Final = ("decide", "commit", "apply", "answer", "read", "serve", "push", "sweep", "note", "refuse")
"""The steps of the cycle in which an error can be raised; label values of a metric."""
LOG_PAUSE_S: Final = 60.0
"""Seconds between two log lines about the same error: a peer may repeat its call a thousand times a second."""
KINDS_MAX: Final = 1_000
"""Maximum kinds of errors whose last log line is remembered, to bound memory."""


class InternalError(DistqError):
    """A request has failed by an error in the master; other requests are not affected."""

    code = "INTERNAL_ERROR"
    hint = "This is an error of distq: the master's log has its traceback (internal_error). Please report it."


class RequestGuard:
    """Notes the errors of one broker, and fails the requests that raised them."""

    def __init__(self, cycle: Cycle) -> None:
        self.counts = dict.fromkeys(PLACES, 0)
        """Errors since the master started, by place."""
        self._cycle = cycle
        self._logged: dict[tuple[str, str, str], tuple[float, int]] = {}
        """By kind of error: the instant of its last log line, and its count since then."""

    def note(self, place: str, exc: BaseException, request: object = None) -> None:
        """Count an error, and log its traceback unless the same error was logged less than LOG_PAUSE_S ago."""
        self.counts[place] += 1
        kind = place, type(exc).__name__, _line_of(exc)
        now = self._cycle.clock.now()
        logged_at, repeated = self._logged.get(kind, (-LOG_PAUSE_S, 0))
        if abs(now - logged_at) < LOG_PAUSE_S:
            self._logged[kind] = logged_at, repeated + 1
            return
        if len(self._logged) >= KINDS_MAX:
            self._logged.clear()
        self._logged[kind] = now, 0
        traceback = "".join(format_exception(exc))
        name = None if request is None else type(request).__name__
        get_logger().error("internal_error", place=place, request=name, repeated=repeated, traceback=traceback)

    def failed(self, request: Request, exc: Exception, place: str, now: float) -> None:
        """Refuse a request that has raised an error; a request without a peer is tried again later."""
        cycle = self._cycle
        try:
            cycle.forget(request)
            if isinstance(exc, DistqError):
                request.refuse(exc)
                return
            self.note(place, exc, request)
            effect = "Nothing of it was done." if place in ("decide", "commit") else "It may have been done."
            request.fail(
                cycle, InternalError(f"the master failed at this request ({type(exc).__name__}). {effect}"), now
            )
        except Exception as other:  # noqa: BLE001 - nothing that one request can raise ends the cycle
            self.note("refuse", other, request)
            request.give_up()


def _line_of(exc: BaseException) -> str:
    """File and line in which an error was raised."""
    last = exc.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return "" if last is None else f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
