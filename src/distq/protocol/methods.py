"""The object that distq's own peers call at the master, and the names of its methods."""

from typing import Final

BROKER: Final = "broker"
"""Ident of the object."""
GET_BROKER: Final = "get_broker"
"""The getter by which programs of the standard library find it."""

ADMIN: Final = "admin"
BEFORE: Final = "before"
CANCEL: Final = "cancel"
EXCHANGE: Final = "exchange"
GOODBYE: Final = "goodbye"
HEARTBEAT: Final = "heartbeat"
HELLO: Final = "hello"
RESULTS: Final = "results"
RUNNING: Final = "running"
STATS: Final = "stats"
STREAM: Final = "stream"
STUCK: Final = "stuck"
SUBMIT: Final = "submit"
WATCH: Final = "watch"

METHODS: Final = (
    ADMIN,
    BEFORE,
    CANCEL,
    EXCHANGE,
    GOODBYE,
    HEARTBEAT,
    HELLO,
    RESULTS,
    RUNNING,
    STATS,
    STREAM,
    STUCK,
    SUBMIT,
    WATCH,
)
"""All methods, in the order in which the master lists them."""
