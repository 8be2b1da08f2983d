"""Structured logs: past-tense events with fields, on standard error."""

from distq.logs.setup import (
    LEVELS,
    configure,
    get_logger,
    log_output,
    log_record,
    log_unhandled,
    of_trace,
    send_to_logging,
)

__all__ = [
    "LEVELS",
    "configure",
    "get_logger",
    "log_output",
    "log_record",
    "log_unhandled",
    "of_trace",
    "send_to_logging",
]
