"""What the commands of both outboxes do: run a relay until a signal, or settle rows in doubt."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

from distq.client.client import Client
from distq.contrib.outbox.relay import OutboxStore, Relay
from distq.core.plurals import counted
from distq.net.stop_signals import stop_signals

STATUS, SUBMIT, DELETE = "status", "submit", "delete"
DOUBTFUL: Final = (STATUS, SUBMIT, DELETE)
"""What a command can do with rows in doubt."""
DOUBTFUL_HELP: Final = (
    "Instead of relaying rows: count those in doubt, submit them again, or delete them. A row is in doubt if a relay "
    "submitted it more than a day ago and did not delete it, and the master does not know it any more."
)


def run_relay(
    store: OutboxStore, make_client: Callable[[], Client], interval_s: float, *, once: bool, say: Callable[[str], None]
) -> None:
    """Run a relay until SIGTERM, SIGHUP or Ctrl-C, or until no row is due."""
    relay = Relay(store, make_client, interval_s)
    before = {number: signal.signal(number, lambda _number, _frame: relay.stop.set()) for number in stop_signals()}
    say("The relay of the outbox runs; Ctrl-C ends it.")
    try:
        relay.run(once=once)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        relay.stop.close()


def settle_doubtful(store: OutboxStore, what: str, say: Callable[[str], None]) -> None:
    """Do with the rows in doubt what the operator wants, and say how many they are."""
    if what == STATUS:
        waiting, doubtful = store.count()
        say(f"{counted(waiting, 'row')} waiting, {counted(doubtful, 'row')} in doubt")
        return
    count = store.decide(submit=what == SUBMIT)
    say(f"{counted(count, 'row')} in doubt {'will be submitted' if what == SUBMIT else 'deleted'}")
