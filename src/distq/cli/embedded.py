"""`python -m distq.cli.embedded`: a master that ends with the program that started it.

Not a command for people: `distq.QueueManager` runs it. Its orders, the key among them, come on standard
input, whose end means that the program is gone.
"""

import dataclasses
import os
import pickle
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

from distq.cli.app import sentences
from distq.core.errors import DistqError
from distq.settings import Address, Role, Settings, load
from distq.settings.authkey import KEY_LENGTH_MIN
from distq.wire.framing import Framer

STDIN: Final = 0
ORDERS_BYTES_MAX: Final = 65_536
DEFAULTS: Final = {"DISTQ_HTTP_ADDRESS": "off", "DISTQ_LOG_LEVEL": "warning", "DISTQ_STORE": "memory:"}
"""A guest of a program is quiet, ends with it, and wants no port that another master of this machine may have."""
ANY_HOST: Final = "0.0.0.0"  # noqa: S104 - what the recipe's '' means


def main() -> int:
    """Hold the queues until SIGTERM, or until the program that wants them has ended; returns the exit code."""
    orders = _read_orders()
    if orders is None:
        return 0
    threading.Thread(target=_end_with_the_program, name="lifeline", daemon=True).start()
    try:
        settings = _settings(orders)
        from distq.master.main import run

        return run(settings)
    except DistqError as error:
        print(f"distq: {sentences(error)}", file=sys.stderr)  # noqa: T201 - this is its standard error
        return error.exit_code


def _read_orders() -> Mapping[str, Any] | None:
    framer = Framer(ORDERS_BYTES_MAX)
    while data := os.read(STDIN, ORDERS_BYTES_MAX):
        for frame in framer.feed(data):
            orders: Mapping[str, Any] = pickle.loads(frame)
            return orders
    return None


def _end_with_the_program() -> None:
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _settings(orders: Mapping[str, Any]) -> Settings:
    """The environment's settings, but for what the program has decided itself."""
    loaded = load({**DEFAULTS, **os.environ}, Role.MASTER, needs_authkey=False)
    from distq.logs import configure, get_logger

    configure(loaded.settings.log_level, loaded.settings.log_format)
    for warning in loaded.warnings:
        get_logger().warning("settings_doubted", reason=warning)
    host, port = orders["bind"]
    bind = Address(host or ANY_HOST, port)
    if len(orders["authkey"]) < KEY_LENGTH_MIN and not bind.is_loopback:
        get_logger().warning("authkey_is_short", address=str(bind), bytes=len(orders["authkey"]))
    return dataclasses.replace(
        loaded.settings,
        bind=bind,
        authkeys=(orders["authkey"],),
        plain_queues={**loaded.settings.plain_queues, **orders["queues"]},
        drain_s=orders["drain_s"],
    )


if __name__ == "__main__":
    sys.exit(main())
