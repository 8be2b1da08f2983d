"""`python -m distq.cli.embedded`: a master that ends with the program that started it.

`distq.QueueManager` runs it, no user does. It reads its configuration, with the key, from standard input; the end of
standard input means that the program has ended.
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
from distq.settings import Address, Role, Settings, SettingsError, load
from distq.settings.authkey import KEY_LENGTH_MIN, Authkey
from distq.wire.framing import Framer

STDIN: Final = 0
CONFIG_BYTES_MAX: Final = 65_536
DEFAULTS: Final = {"DISTQ_HTTP_ADDRESS": "off", "DISTQ_LOG_LEVEL": "warning", "DISTQ_STORE": "memory:"}
"""The embedded master logs little, ends with its program, and uses no port that another master may have."""
ANY_HOST: Final = "0.0.0.0"  # noqa: S104 - what '' means to BaseManager


def main() -> int:
    """Run the master until SIGTERM or the end of the program that started it; return the exit code."""
    config = _read_config()
    if config is None:
        return 0
    threading.Thread(target=_end_with_the_program, name="parent-watch", daemon=True).start()
    try:
        settings = _settings(config)
        from distq.master.start import run

        return run(settings)
    except DistqError as error:
        print(f"distq: {sentences(error)}", file=sys.stderr)  # noqa: T201 - this is its standard error
        return error.exit_code


def _read_config() -> Mapping[str, Any] | None:
    framer = Framer(CONFIG_BYTES_MAX)
    while data := os.read(STDIN, CONFIG_BYTES_MAX):
        for frame in framer.feed(data):
            config: Mapping[str, Any] = pickle.loads(frame)
            return config
    return None


def _end_with_the_program() -> None:
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings of the environment, with those of the program in their place."""
    loaded = load({**DEFAULTS, **os.environ}, Role.MASTER, needs_authkey=False)
    from distq.logs import configure, get_logger

    configure(loaded.settings.log_level, loaded.settings.log_format)
    for warning in loaded.warnings:
        get_logger().warning("settings_doubted", reason=warning)
    host, port = config["bind"]
    bind = Address(host or ANY_HOST, port)
    if loaded.settings.tls_cert is not None and not bind.is_loopback:
        raise SettingsError(
            f"DISTQ_TLS_CERT is set, and the embedded master at {bind} would listen without TLS, which the programs of "
            "a QueueManager do not speak. Give the manager an address on loopback, or run `distq master`."
        )
    if len(config["authkey"]) < KEY_LENGTH_MIN and not bind.is_loopback:
        get_logger().warning("authkey_is_short", address=str(bind), bytes=len(config["authkey"]))
    return dataclasses.replace(
        loaded.settings,
        bind=bind,
        authkeys=(Authkey(config["authkey"]),),
        key_files={},
        plain_queues={**loaded.settings.plain_queues, **config["queues"]},
        drain_s=config["drain_s"],
        tls_cert=None,
        loopback_bind=None,
    )


if __name__ == "__main__":
    sys.exit(main())
