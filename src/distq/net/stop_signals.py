"""The signals on which a service stops cleanly."""

import signal
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop this process: without SIGHUP (the terminal has closed) if it ignores that signal."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup started this process
        return signal.SIGTERM, signal.SIGINT
    return STOP_SIGNALS
