"""Structured logs: past-tense events with fields, on standard error."""

from distq.logs.setup import configure, get_logger, of_trace

__all__ = ["configure", "get_logger", "of_trace"]
