"""The schedules that a worker's code declares at the decorators of its tasks; the executor sends them to the master."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from distq.protocol.methods import ADMIN, BROKER
from distq.protocol.schedule import write_definition
from distq.settings.current_keys import current_payload_keys
from distq.tasks.function import TaskSpec, all_named, called_by_name, options_of
from distq.tasks.payload import pack_json
from distq.tasks.seal import sealed_schedule, sealer_of
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.net.dial import Connection
    from distq.worker.shared.executor_config import ExecutorConfig

REMOVE: Final = "remove"
OFF: Final = "off"
ANSWER_S: Final = 10.0


def declare(connection: Connection, config: ExecutorConfig, age_s: float, warn: Callable[[str], None]) -> None:
    """Send the master the schedules of the imported modules; warn of each that it does not register, with the reason.

    Raises:
        ConnectionLost: the connection to the master has ended.
    """
    if config.schedules == OFF:
        return
    rows = declarations(warn)
    sealer = sealer_of(config, current_payload_keys(config, lambda _: None))
    if sealer is not None:
        rows = [sealed_schedule(sealer, row) for row in rows]
    if not rows and config.schedules != REMOVE:
        return
    asked = {
        "schedules": rows,
        "modules": list(config.modules),
        "age_s": age_s,
        "remove": config.schedules == REMOVE,
    }
    try:
        reply: Any = connection.call(BROKER, ADMIN, ("schedule_declare", asked), timeout_s=ANSWER_S)
    except RemoteRefusal as error:
        warn(f"The master takes no schedules that code declares: {error}")
        return
    for name, why in reply["declared"].items():
        if why:
            warn(f"The schedule that the code declares for {name} is not registered: {why.rstrip('.')}.")


def declarations(warn: Callable[[str], None], modules: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the schedules that the modules imported so far declare; warn of each task that cannot be scheduled.

    With `modules`, only those of these modules and their submodules.
    """
    rows: list[dict[str, Any]] = []
    for name, function in all_named():
        options = options_of(function)
        if options.every is None and options.cron is None:
            continue
        if modules is not None and not any(f"{function.__module__}.".startswith(f"{one}.") for one in modules):
            continue
        try:
            rows.append(_row(name, function))
        except Exception as error:  # noqa: BLE001 - keys are the user's functions, which may raise anything
            warn(f"{name} cannot be a schedule: {error}.")
    return rows


def _row(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    missing = _arguments_needed(called_by_name(name, function))
    if missing:
        raise TypeError(
            f"it needs the arguments {', '.join(missing)}, and a schedule at the decorator gives none; "
            "give them defaults, or make it with client.schedule()"
        )
    spec = TaskSpec(name, options_of(function))
    return write_definition(spec.scheduled(name, pack_json((), {}), (), {}))


def _arguments_needed(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function in C
        return []
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.kind in named and one.default is inspect.Parameter.empty]
