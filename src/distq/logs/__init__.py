"""Structured logs: past-tense events with fields, on standard error."""

from distq.logs.setup import configure, get_logger

__all__ = ["configure", "get_logger"]
