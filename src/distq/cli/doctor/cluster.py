"""The checks of workers, of the store, and of what the master has counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from distq.cli.doctor.facts import MasterFacts
from distq.cli.doctor.model import OK, PROBLEM, UNKNOWN, WARNING, Check, Found, listed
from distq.cli.text import printable
from distq.core.plurals import counted
from distq.settings.payloads_table import REFUSE

FREE_BYTES_LOW: Final = 1 << 30
"""Free bytes of the store's volume below which the doctor warns."""
FREE_BYTES_LEAST: Final = 64 << 20
"""Free bytes below which it is a problem: the master soon refuses submits."""
DEAD_LETTERS_MANY: Final = 100
"""Number of dead letters that the doctor reports: more than a person has left for later."""
DEAD_LETTER_LIMITS: Final = frozenset({"DISTQ_DEAD_LETTERS_MAX", "DISTQ_DEAD_LETTER_TTL_S"})
SECURE_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})


def _ready(facts: MasterFacts) -> Found:
    overview = facts.overview
    assert overview is not None
    if overview.get("ready"):
        return Found(OK, f"The master {printable(overview.get('version', ''))} accepts tasks.")
    return Found(PROBLEM, f"The master accepts no tasks: {printable(overview.get('reason'))}")


def _signatures(facts: MasterFacts) -> Found:
    workers = facts.workers or ()
    if not workers:
        return Found(UNKNOWN, "No worker is connected.")
    if any(not worker.get("unsigned") for worker in workers):
        silent = listed(printable(worker.get("name")) for worker in workers if not worker.get("unsigned"))
        return Found(UNKNOWN, f"These workers do not say; they are of an earlier version: {silent}.")
    loose = [worker for worker in workers if worker["accept"] != "json" and worker["unsigned"] != REFUSE]
    if not loose:
        return Found(OK, f"Signed payloads or JSON are all that runs on {counted(len(workers), 'worker')}.")
    names = listed(printable(worker["name"]) for worker in loose)
    if len(loose) < len(workers):
        return Found(PROBLEM, f"These workers run unsigned pickles, while others do not: {names}.")
    return Found(WARNING, f"Unsigned pickles run on {counted(len(loose), 'worker')}: {names}.")


def _versions(facts: MasterFacts) -> Found:
    overview, workers = facts.overview, facts.workers
    assert overview is not None
    assert workers is not None
    if not workers:
        return Found(OK, "Does not apply: no worker is connected.")
    version = printable(overview.get("version"))
    others = [worker for worker in workers if worker.get("version") != overview.get("version")]
    if not others:
        return Found(OK, f"All of {counted(len(workers), 'worker')} have the master's version, {version}.")
    names = listed(f"{printable(one.get('name'))} ({printable(one.get('version'))})" for one in others)
    return Found(WARNING, f"The master has version {version}, and these workers another: {names}.")


def _unserved(facts: MasterFacts) -> Found:
    unserved = facts.report.unserved_queues
    if unserved is None:
        waiting = [queue for queue in facts.queues or () if queue.get("ready") and queue.get("role") == "work"]
        if facts.workers or not waiting:
            return Found(UNKNOWN, "The master does not say which queues its workers serve.")
        unserved = tuple(str(queue.get("name")) for queue in waiting)
    if not unserved:
        return Found(OK, "A worker serves each queue that has ready tasks.")
    return Found(WARNING, f"No worker serves these queues, which have ready tasks: {listed(map(printable, unserved))}.")


def _durable(facts: MasterFacts) -> Found:
    if facts.durable:
        return Found(OK, "The master stores tasks on disk before it accepts them.")
    return Found(WARNING, "The master keeps its tasks in memory, and loses them when it ends.")


def _room(facts: MasterFacts) -> Found:
    overview = facts.overview
    assert overview is not None
    health: Mapping[str, Any] = overview.get("store_health") or {}
    if health.get("refusing"):
        return Found(PROBLEM, f"The store refuses new tasks: {printable(health['refusing'])}")
    free = health.get("free_bytes")
    if not isinstance(free, int):
        kind = printable(overview.get("store"))
        if kind == "memory":
            return Found(OK, "Does not apply: the store is in memory.")
        return Found(UNKNOWN, f"The master does not know the free space of a store of kind {kind}.")
    text = f"The store's volume has {free / (1 << 20):,.0f} MiB free."
    return Found(PROBLEM if free < FREE_BYTES_LEAST else WARNING if free < FREE_BYTES_LOW else OK, text)


def _store_tls(facts: MasterFacts) -> Found:
    store = facts.report.store
    assert store is not None
    if store.is_local:
        return Found(OK, f"Does not apply: the store ({store.kind}) is on the master's machine.")
    if store.sslmode in SECURE_MODES:
        more = "" if store.sslmode == "verify-full" else "; only verify-full also checks the server's name"
        return Found(OK, f"The connection to the database uses sslmode={store.sslmode}{more}.")
    mode = f"has sslmode={printable(store.sslmode)}" if store.sslmode else "has no sslmode"
    return Found(WARNING, f"The database is on another machine, and the URL of the store {mode}.")


def _limits_off(facts: MasterFacts) -> Found:
    off = facts.report.limits_off or ()
    text = f"These limits are off: {listed(off)}." if off else "All limits are on."
    return Found(WARNING if set(off) >= DEAD_LETTER_LIMITS else OK, text)


def _auth_failures(facts: MasterFacts) -> Found:
    count = facts.report.auth_failures
    if count is None:
        overview = facts.overview or {}
        count = overview.get("auth_failures", 0)
    if not count:
        return Found(OK, "Each peer has proved a key since the master's start.")
    return Found(WARNING, f"{counted(count, 'connection')} did not prove a key since the master's start.")


def _forbidden(facts: MasterFacts) -> Found:
    counts = {name: count for name, count in (facts.report.forbidden_calls or {}).items() if count}
    if not counts:
        return Found(OK, "No key was refused a call since the master's start.")
    names = listed(f"{printable(name)} ({count:,})" for name, count in sorted(counts.items()))
    return Found(WARNING, f"The master refused calls that these keys do not allow: {names}.")


def _limits_met(facts: MasterFacts) -> Found:
    counts = {name: count for name, count in (facts.report.limits_met or {}).items() if count}
    if not counts:
        return Found(OK, "No limit was met since the master's start.")
    names = listed(f"DISTQ_{printable(name).upper()} ({count:,})" for name, count in sorted(counts.items()))
    return Found(WARNING, f"These limits were met since the master's start: {names}.")


def _dead_letters(facts: MasterFacts) -> Found:
    overview = facts.overview
    assert overview is not None
    count = (overview.get("tasks") or {}).get("dead", 0)
    return Found(WARNING if count >= DEAD_LETTERS_MANY else OK, f"There are {counted(count, 'dead letter')}.")


NO_STATS: Final = "The master sent no figures: it is of an earlier version, or this key may not ask."

CHECKS: Final = (
    Check(
        "ready",
        "Act on a master that is not ready.",
        "It refuses submits; clients wait, and then fail.",
        "The reason is above and at /readyz; docs/how-to/troubleshooting.md explains each.",
        _ready,
        ("overview",),
        NO_STATS,
    ),
    Check(
        "signatures",
        "Give clients and workers, and not the master, a signing key, and an encryption key if arguments are secret; "
        "set DISTQ_ACCEPT=json on workers that need no pickles.",
        "A pickle is a program: a worker that runs unsigned ones trusts the master, its disk, and every key that may "
        "submit.",
        "Settings: DISTQ_SIGNING_KEY_FILE at clients and workers with DISTQ_UNSIGNED=refuse, or DISTQ_ACCEPT=json. "
        "Chart: payloadKeys.existingSecret, or workerDefaults.env.",
        _signatures,
        ("workers",),
        NO_STATS,
    ),
    Check(
        "worker-versions",
        "Run one version of distq in master and workers, except during an upgrade.",
        "An earlier version lacks the fixes and the checks of the later one.",
        "Upgrade the older ones: docs/how-to/upgrade.md. Chart: image.tag for both images.",
        _versions,
        ("overview", "workers"),
        NO_STATS,
    ),
    Check(
        "unserved-queues",
        "Have a worker for each queue.",
        "Its tasks wait until they expire, and a queue that no worker knows may come from a wrong name.",
        "Start a worker with DISTQ_QUEUES, or purge the queue. Chart: workerPools.NAME.queues.",
        _unserved,
        ("workers", "queues"),
        NO_STATS,
    ),
    Check(
        "store-durable",
        "Store tasks on disk.",
        "A restart of the master loses every task and result of a store in memory.",
        "Settings: DISTQ_STORE=sqlite:///PATH or postgresql://… Compose: leave MASTER_STORE out.",
        _durable,
        ("durable",),
        NO_STATS,
    ),
    Check(
        "store-room",
        "Keep room on the store's volume.",
        "A master without room refuses submits.",
        "Enlarge the volume, purge dead letters, or lower DISTQ_RESULT_TTL_S. Chart: master.storage.size.",
        _room,
        ("overview",),
        NO_STATS,
    ),
    Check(
        "store-tls",
        "Use TLS for PostgreSQL too.",
        "Tasks, results and the password's proof cross the network to the database.",
        "Add sslmode=verify-full and sslrootcert to the URL in DISTQ_STORE. Chart: master.store.",
        _store_tls,
        ("report.store",),
    ),
    Check(
        "limits-off",
        "Limit the number or the age of dead letters.",
        "Dead letters otherwise stay until DISTQ_TASKS_MAX refuses submits.",
        "Settings: DISTQ_DEAD_LETTERS_MAX or DISTQ_DEAD_LETTER_TTL_S at the master; DISTQ_TIME_LIMIT for tasks that "
        "hang. Compose: in .env. Chart: master.env.",
        _limits_off,
        ("report.limits_off",),
    ),
    Check(
        "auth-failures",
        "Watch distq_auth_failures_total.",
        "A peer without the key may be a guesser, or a program whose key was not changed.",
        "The master's log has the address and the reason of each (peer_turned_away). Correct the program's key, or "
        "close the port to the address.",
        _auth_failures,
        ("overview",),
        NO_STATS,
    ),
    Check(
        "forbidden-calls",
        "Watch distq_forbidden_calls_total.",
        "A program tries what its key does not allow: it has the wrong key, or is in wrong hands.",
        "Find the program that uses the key. If the call is right, add the role or the queue in DISTQ_KEYS_PATH.",
        _forbidden,
        ("report.forbidden_calls",),
    ),
    Check(
        "limits-met",
        "Watch distq_limits_met_total.",
        "A limit that is met refuses honest programs as well as others.",
        "Find the address in the master's log. Raise the setting if the load is right.",
        _limits_met,
        ("report.limits_met",),
    ),
    Check(
        "dead-letters",
        "Retry or delete dead letters before there are a hundred.",
        "They hide new failures, and keep their arguments in the store.",
        "`distq dead list`, then `distq dead retry` or `distq dead purge`.",
        _dead_letters,
        ("overview",),
        NO_STATS,
    ),
)
