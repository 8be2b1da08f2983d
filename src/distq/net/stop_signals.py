"""The signals that end a service in good order."""

import signal
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def stop_signals() -> tuple[signal.Signals, ...]:
    """Those that this process ends by: all, but SIGHUP (its terminal has closed) if it was started to ignore that."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup has it
        return signal.SIGTERM, signal.SIGINT
    return STOP_SIGNALS
