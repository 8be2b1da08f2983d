"""Seals what a client submits: signs it with DISTQ_SIGNING_KEY, encrypts it with DISTQ_ENCRYPTION_KEY, or both.

A client with DISTQ_ACCEPT=json reads its outcomes by the same way, also without keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distq.client.outbox import check_size
from distq.client.outcome import OutcomeReader
from distq.core.constraints import FAIL
from distq.core.failure import pack_failure_text
from distq.core.option_values import ACCEPT_JSON
from distq.core.states import STATE_NAMES, SUCCEEDED
from distq.core.task_ids import task_key_of
from distq.protocol.submit import NO_KEYS, SubmitConstraints
from distq.settings.current_keys import current_payload_keys
from distq.tasks.failure import failure_as_text
from distq.tasks.seal import Sealer, context_of, new_seal_id, sealed_schedule, sealer_of
from distq.tasks.sealed import PAYLOADS, SEALED, Seal, SealKind
from distq.tasks.tracing import outgoing

if TYPE_CHECKING:
    from distq.client.future_state import FutureState
    from distq.client.outbox import SubmitOptions
    from distq.settings import Settings

Tasks = Sequence[tuple["SubmitOptions", bytes]]
"""The tasks of one submit: their options and payloads."""


class ClientSeals:
    """Seals the payloads of one client, and has the futures of their tasks accept no other outcomes."""

    def __init__(self, sealer: Sealer | None, *, json_only: bool) -> None:
        self._sealer = sealer
        self.reader = OutcomeReader(sealer, json_only)
        """Reads the outcomes of tasks that this client did not submit."""

    def sealed_for(
        self, future: FutureState[Any], options: SubmitOptions, body: bytes, payload_bytes_max: int
    ) -> bytes:
        """The sealed payload of a task that is submitted with these options and has no dependencies.

        Raises:
            PayloadTooLarge: it is too large with its seal.
        """
        seal_id = new_seal_id()
        future.reads = self.reader._replace(seal_id=seal_id)
        sealed = self._sealed(options, body, seal_id)
        check_size(sealed, payload_bytes_max)
        return sealed

    def sealed_together(self, last: FutureState[Any], tasks: Tasks) -> list[tuple[SubmitOptions, bytes]]:
        """The tasks of one submit with sealed payloads; `last` is the future of the last one.

        The seal of a task names those of its dependencies: a worker accepts no results of other tasks.
        """
        ids = [new_seal_id() for _ in tasks]
        last.reads = self.reader._replace(seal_id=ids[-1])
        sealed: list[tuple[SubmitOptions, bytes]] = []
        for (options, body), seal_id in zip(tasks, ids, strict=True):
            depends_on = SubmitConstraints(*options.constraints or NO_KEYS).depends_on
            first, size = depends_on[:2] if depends_on is not None else (0, 0)
            sealed.append((options, self._sealed(options, body, seal_id, tuple(ids[first : first + size]))))
        return sealed

    def _sealed(
        self, options: SubmitOptions, body: bytes, seal_id: bytes, dependencies: tuple[bytes, ...] = ()
    ) -> bytes:
        if self._sealer is None:
            return body
        constraints = SubmitConstraints(*options.constraints or NO_KEYS)
        _, _, policy, is_single = constraints.depends_on or (0, 0, FAIL, False)
        seal = Seal(
            SealKind.TASK,
            seal_id,
            dependencies=dependencies,
            is_single=is_single,
            takes_failures=policy != FAIL,
            is_encrypted=self._sealer.encrypts,
        )
        queue, name = options.envelope[:2]
        return self._sealer.seal(seal, body, context_of(queue, name, constraints.headers))

    def sealed_schedule(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """The definition of a schedule, as it travels, with a sealed payload."""
        return dict(definition) if self._sealer is None else sealed_schedule(self._sealer, definition)

    def opened_facts(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What the master has about a task, with opened bodies; raises SealRefused."""
        opened, sealer = dict(facts), self._sealer
        if sealer is None:
            return opened
        task_key = task_key_of(opened["id"])
        if opened["payload"] is not None:
            headers = tuple(dict(opened.get("headers") or {}).items())
            context = context_of(opened["queue"], opened["name"], headers)
            opened["payload"] = sealer.open(opened["payload"], PAYLOADS, context).content
        if opened["outcome"]:
            is_good = opened["state"] == STATE_NAMES[SUCCEEDED]
            if is_good or opened["outcome"][:1] == SEALED or not sealer.demands_signatures:
                kinds = (SealKind.RESULT if is_good else SealKind.FAILURE,)
                opened["outcome"] = self.reader.content(opened["outcome"], kinds, task_key)
            else:
                failure = failure_as_text(opened["outcome"], "it is not signed")
                opened["outcome"] = pack_failure_text(failure.kind, failure.text, failure.remote_traceback)
        return opened


def opened_facts(settings: Settings, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the master has about a task, with opened bodies; raises SealRefused."""
    seals = seals_of(settings)
    return dict(facts) if seals is None else seals.opened_facts(facts)


def sealed_arguments(seals: ClientSeals | None, action: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of an operator's request, with a sealed payload if it puts a schedule."""
    return seals.sealed_schedule(arguments) if seals is not None and action == "schedule_put" else arguments


def prepared_alone(
    seals: ClientSeals | None, future: FutureState[Any], options: SubmitOptions, body: bytes, payload_bytes_max: int
) -> bytes:
    """The payload of one task as it travels; raises PayloadTooLarge."""
    if seals is not None:
        return seals.sealed_for(future, options, body, payload_bytes_max)
    check_size(body, payload_bytes_max)
    return body


def prepared(
    seals: ClientSeals | None, future: FutureState[Any], tasks: Tasks, payload_bytes_max: int
) -> list[tuple[SubmitOptions, bytes]]:
    """The tasks of one submit as they travel, with one span for all; `future` is that of the last one.

    Raises:
        PayloadTooLarge: the payload of one is too large.
    """
    headers = outgoing(*tasks[-1][0].envelope[:2])
    carrying = [(options.carrying(headers), body) for options, body in tasks]
    if seals is not None:
        carrying = seals.sealed_together(future, carrying)
    for _, body in carrying:
        check_size(body, payload_bytes_max)
    return carrying


def seals_of(settings: Settings) -> ClientSeals | None:
    """How a client with these settings seals and reads bodies; None without keys and with DISTQ_ACCEPT=pickle."""
    json_only = settings.accept == ACCEPT_JSON
    sealer = sealer_of(settings, current_payload_keys(settings))
    return ClientSeals(sealer, json_only=json_only) if sealer is not None or json_only else None
