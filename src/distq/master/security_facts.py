"""Makes the report of a master about its own security, from its settings, its connections and its counters."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import unquote

from distq.core.queue import WORK
from distq.core.states import READY
from distq.master.admin.security import key_report
from distq.protocol.security_report import UNSERVED_MAX, HttpReport, KeyReport, SecurityReport, StoreReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distq.master.sessions.workers import Workers
    from distq.master.view import MasterView
    from distq.net.keyring import KeyRing
    from distq.settings import Settings

MAY_BE_OFF = ("time_limit_s", "dead_letter_ttl_s", "dead_letters_max")
"""The fields of the settings that limit something, and are None if the limit is off."""
NAMES = {"time_limit_s": "DISTQ_TIME_LIMIT"}
LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1", "[::1]"})


def security_report(settings: Settings, view: MasterView, keys: KeyRing, workers: Workers) -> SecurityReport:
    """Return the report; its cost grows with the number of connections, queues and workers, not of tasks."""
    http = settings.http_address
    return SecurityReport(
        keys=tuple(_keys(view, keys)),
        uses_tls=settings.tls_cert is not None,
        verifies_clients=settings.tls_verify_clients,
        binds_loopback=settings.bind.is_loopback,
        http=HttpReport(
            "" if http is None else http.host,
            0 if http is None else http.port,
            is_loopback=http is not None and http.is_loopback,
            uses_tls=settings.tls_cert is not None and settings.http_tls,
            has_token=bool(settings.http_tokens),
            takes_plain_keys=settings.http_plain_keys,
        ),
        store=store_report(settings.store, view.store_health.get("standbys")),
        limits_off=tuple(
            NAMES.get(field, f"DISTQ_{field.upper()}") for field in MAY_BE_OFF if getattr(settings, field) is None
        ),
        auth_failures=view.auth_failures,
        forbidden_calls=dict(view.forbidden_calls),
        limits_met={name: count for name, count in view.limits_met.items() if count},
        unserved_queues=tuple(islice(_unserved(view, workers, settings), UNSERVED_MAX)),
    )


def store_report(url: str, standbys: object) -> StoreReport:
    """What the URL of a store, without its secrets, says of the way to it."""
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.startswith("postgres"):
        return StoreReport(url.partition(":")[0], is_local=True, sslmode="", standbys=None)
    address, _, query = rest.partition("?")
    given = {unquote(name): unquote(value) for name, _, value in (part.partition("=") for part in query.split("&"))}
    named = given.get("hostaddr") or given.get("host") or address.partition("/")[0].rpartition("@")[2]
    hosts = [host if host.startswith("/") else _without_port(host) for host in unquote(named).split(",")]
    is_local = all(host in LOCAL_HOSTS or host.startswith(("/", "@")) for host in hosts)
    return StoreReport(
        "postgresql", is_local, given.get("sslmode", ""), standbys if isinstance(standbys, int) else None
    )


def _without_port(host: str) -> str:
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _keys(view: MasterView, keys: KeyRing) -> Iterator[KeyReport]:
    """Yield every key with the numbers of its connections; keys of one name and age count together."""
    by_key = view.connections_by_key()
    for authority in keys.authorities:
        roles = by_key.get((authority.name, authority.age), Counter())
        workers = roles["worker"] + roles["executor"] + roles["plain"]
        yield key_report(authority, workers, roles["client"])


def _unserved(view: MasterView, workers: Workers, settings: Settings) -> Iterator[str]:
    """Yield the names of queues with ready tasks that no worker serves, nor any program of the standard library."""
    sessions = list(workers.sessions.values())
    if any(session.queues is None for session in sessions):
        return
    served = {queue.name for session in sessions for queue in session.queues or ()}
    if view.connections()["plain"]:
        served |= {"work", *settings.plain_queues.values()}
    for queue in view.queues():
        if queue.role == WORK and queue.counts[READY] and not queue.policy.paused and queue.name not in served:
            yield queue.name
