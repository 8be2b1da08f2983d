"""Each check of the doctor, cell by cell: facts that are right, facts that are not, and facts that cannot be had."""

import dataclasses
from typing import Any

import pytest

from distq.cli.doctor.facts import HttpAnswer, LocalFacts, MasterFacts, SecretFile
from distq.cli.doctor.model import OK, PROBLEM, STATES, UNKNOWN, WARNING, Finding, count_states, examine
from distq.cli.doctor.table import CHECKS, MACHINE, MASTER, TITLES
from distq.core.ranges import DAY_S
from distq.protocol.security_report import HttpReport, KeyReport, SecurityReport, StoreReport

READER = KeyReport("reader", ("read",), (), is_old=False)
WEB = KeyReport("web", ("submit",), ("mail",), is_old=False, clients=1)
TEAM = KeyReport("team", ("work",), ("mail",), is_old=False, workers=2)
SHARED = KeyReport("authkey", ("admin",), (), is_old=False)
HTTP = HttpReport("0.0.0.0", 9001, is_loopback=False, uses_tls=True, has_token=False, takes_plain_keys=False)
SQLITE = StoreReport("sqlite", is_local=True, sslmode="", standbys=None)
DATABASE = StoreReport("postgresql", is_local=False, sslmode="verify-full", standbys=1)
REPORT = SecurityReport(
    key=READER,
    keys=(SHARED, READER, WEB, TEAM),
    uses_tls=True,
    verifies_clients=True,
    binds_loopback=False,
    http=HTTP,
    store=SQLITE,
    limits_off=("DISTQ_TIME_LIMIT",),
    auth_failures=0,
    forbidden_calls={"web": 0},
    limits_met={},
    unserved_queues=(),
)
WORKER = {"name": "w1", "version": "0.1.0", "accept": "pickle", "unsigned": "refuse"}
QUEUE = {"name": "mail", "role": "work", "ready": 1}
OVERVIEW: dict[str, Any] = {
    "version": "0.1.0",
    "ready": True,
    "reason": None,
    "store": "sqlite",
    "store_health": {"free_bytes": 8 << 30, "refusing": ""},
    "tasks": {"dead": 3},
    "auth_failures": 0,
}
GOOD = MasterFacts(
    address="queue.example.com:9000",
    peer_is_loopback=False,
    peer_is_public=False,
    uses_tls=True,
    certificate_left_s=90 * DAY_S,
    unreached=(),
    addresses=1,
    clock_ahead_s=0.1,
    durable=True,
    overview=OVERVIEW,
    queues=(QUEUE,),
    workers=(WORKER,),
    report=REPORT,
    http_answer=HttpAnswer(address="10.0.0.3:9001", is_loopback=False, answers=False),
)
EARLIER = dataclasses.replace(
    GOOD,
    clock_ahead_s=None,
    durable=None,
    overview=None,
    queues=None,
    workers=None,
    report=SecurityReport(),
    http_answer=None,
)
"""What a master says that refuses every call but `hello`."""
GOOD_FILE = SecretFile(setting="DISTQ_AUTHKEY_FILE", path="key", mode=0o640)
GOOD_LOCAL = LocalFacts(
    key_chars=43,
    key_distinct=30,
    key_is_published=False,
    secret_files=(GOOD_FILE,),
    env_file=SecretFile(setting="DISTQ_AUTHKEY", path=".env", mode=0o600),
)


def finding(area: str, name: str, facts: object) -> Finding:
    """Return the finding of one check."""
    (check,) = (one for one in CHECKS[area] if one.name == name)
    (found,) = examine(area, [check], facts)
    return found


def master(**changes: Any) -> MasterFacts:
    """Return the facts of a hardened master with changes; those of its report have names of the report."""
    of_report = {name: value for name, value in changes.items() if name in SecurityReport._fields}
    others = {name: value for name, value in changes.items() if name not in of_report}
    return dataclasses.replace(GOOD, report=REPORT._replace(**of_report), **others)


def overview(**changes: Any) -> MasterFacts:
    """Return the facts of a hardened master with changes of its overview."""
    return master(overview={**OVERVIEW, **changes})


OLD_WEB = WEB._replace(is_old=True)
CELLS: list[tuple[str, MasterFacts, str, str]] = [
    ("tls", GOOD, OK, "uses TLS"),
    ("certificate", GOOD, OK, "in 90 d"),
    ("certificate", master(certificate_left_s=5 * DAY_S), WARNING, "in 5 d"),
    ("certificate", master(certificate_left_s=DAY_S), PROBLEM, "in 24 h"),
    ("certificate", master(certificate_left_s=None), OK, "Does not apply"),
    ("verify-clients", GOOD, OK, "requires a certificate"),
    ("verify-clients", master(verifies_clients=False), WARNING, "without a certificate"),
    ("verify-clients", EARLIER, UNKNOWN, "earlier version"),
    ("http-reach", GOOD, OK, "does not answer"),
    ("http-reach", master(http=HTTP._replace(host="")), OK, "no HTTP port"),
    ("http-reach", master(http_answer=HttpAnswer(address="a:1", is_loopback=True, answers=True)), OK, "this machine"),
    ("http-reach", master(http_answer=HttpAnswer(address="a:1", is_loopback=False, answers=True)), WARNING, "at a:1"),
    ("http-reach", EARLIER, UNKNOWN, "does not say where"),
    ("http-keys", GOOD, OK, "HTTP is TLS"),
    ("http-keys", master(http=HTTP._replace(uses_tls=False)), OK, "refuses keys of other machines"),
    ("http-keys", master(http=HTTP._replace(uses_tls=False, takes_plain_keys=True)), WARNING, "without TLS"),
    ("http-keys", master(http=HTTP._replace(has_token=True)), OK, "DISTQ_HTTP_TOKEN is set"),
    ("http-keys", EARLIER, UNKNOWN, "earlier version"),
    ("masters", GOOD, OK, "for one master"),
    ("masters", master(store=DATABASE), OK, "1 other master can take over"),
    ("masters", master(store=DATABASE._replace(standbys=0)), WARNING, "no other master stands by"),
    ("masters", master(unreached=("b:1",), addresses=2), WARNING, "at 1 of the 2 addresses in DISTQ_ADDRESS: b:1"),
    ("masters", EARLIER, OK, "does not say whether others stand by"),
    ("clock", GOOD, OK, "0.1 s"),
    ("clock", master(clock_ahead_s=-30.0), WARNING, "30.0 s"),
    ("clock", EARLIER, UNKNOWN, "earlier version"),
    ("key-roles", GOOD, OK, "reader, team, web"),
    ("key-roles", master(keys=(SHARED,)), WARNING, "share one key"),
    ("key-roles", master(keys=(SHARED._replace(workers=2), WEB)), WARNING, "2 connections of workers and 0 of clients"),
    ("key-roles", master(keys=(WEB._replace(roles=("submit", "admin")),)), WARNING, "role admin: web"),
    ("key-roles", EARLIER, UNKNOWN, "earlier version"),
    ("key-rights", GOOD, OK, "'reader' with the role read"),
    ("key-rights", master(key=SHARED), WARNING, "may do everything"),
    ("key-rights", master(key=WEB._replace(roles=("submit", "read"))), WARNING, "submit+read"),
    ("key-rights", EARLIER, UNKNOWN, "earlier version"),
    ("key-queues", GOOD, OK, "2 keys"),
    ("key-queues", master(keys=(SHARED,)), OK, "Does not apply"),
    ("key-queues", master(keys=(WEB._replace(queues=()),)), WARNING, "all queues: web"),
    ("key-queues", EARLIER, UNKNOWN, "earlier version"),
    ("old-keys", GOOD, OK, "no old key"),
    ("old-keys", master(keys=(WEB, OLD_WEB)), WARNING, "still use the old keys of web"),
    ("old-keys", master(keys=(WEB, OLD_WEB._replace(clients=0))), WARNING, "No connection uses the old keys of web"),
    ("old-keys", EARLIER, UNKNOWN, "earlier version"),
    ("ready", GOOD, OK, "accepts tasks"),
    ("ready", overview(ready=False, reason="The store is full.\x1b"), PROBLEM, "The store is full.�"),
    ("ready", EARLIER, UNKNOWN, "no figures"),
    ("signatures", GOOD, OK, "all that runs on 1 worker."),
    ("signatures", master(workers=({**WORKER, "accept": "json", "unsigned": "accept"},)), OK, "or JSON"),
    ("signatures", master(workers=({**WORKER, "unsigned": "accept"},)), WARNING, "on 1 worker: w1"),
    ("signatures", master(workers=(WORKER, {**WORKER, "name": "w2", "unsigned": "accept"})), PROBLEM, "not: w2"),
    ("signatures", master(workers=({"name": "w1"},)), UNKNOWN, "earlier version: w1"),
    ("signatures", master(workers=()), UNKNOWN, "No worker"),
    ("signatures", EARLIER, UNKNOWN, "no figures"),
    ("worker-versions", GOOD, OK, "0.1.0"),
    ("worker-versions", master(workers=()), OK, "Does not apply"),
    ("worker-versions", master(workers=({**WORKER, "version": "0.0.9"},)), WARNING, "w1 (0.0.9)"),
    ("worker-versions", EARLIER, UNKNOWN, "no figures"),
    ("unserved-queues", GOOD, OK, "each queue"),
    ("unserved-queues", master(unserved_queues=("mail",)), WARNING, "mail"),
    ("unserved-queues", master(unserved_queues=None), UNKNOWN, "does not say"),
    ("unserved-queues", master(unserved_queues=None, workers=()), WARNING, "mail"),
    ("unserved-queues", EARLIER, UNKNOWN, "no figures"),
    ("store-durable", GOOD, OK, "on disk"),
    ("store-durable", master(durable=False), WARNING, "in memory"),
    ("store-durable", EARLIER, UNKNOWN, "no figures"),
    ("store-room", GOOD, OK, "8,192 MiB"),
    ("store-room", overview(store_health={"free_bytes": 500 << 20}), WARNING, "500 MiB"),
    ("store-room", overview(store_health={"free_bytes": 1 << 20}), PROBLEM, "1 MiB"),
    ("store-room", overview(store_health={"refusing": "It is full."}), PROBLEM, "It is full."),
    ("store-room", overview(store="memory", store_health={}), OK, "Does not apply"),
    ("store-room", overview(store="postgresql", store_health={}), UNKNOWN, "postgresql"),
    ("store-room", EARLIER, UNKNOWN, "no figures"),
    ("store-tls", GOOD, OK, "Does not apply"),
    ("store-tls", master(store=DATABASE), OK, "sslmode=verify-full"),
    ("store-tls", master(store=DATABASE._replace(sslmode="require")), OK, "only verify-full"),
    ("store-tls", master(store=DATABASE._replace(sslmode="")), WARNING, "has no sslmode"),
    ("store-tls", master(store=DATABASE._replace(sslmode="prefer")), WARNING, "sslmode=prefer"),
    ("store-tls", EARLIER, UNKNOWN, "earlier version"),
    ("limits-off", GOOD, OK, "DISTQ_TIME_LIMIT"),
    ("limits-off", master(limits_off=()), OK, "All limits are on"),
    ("limits-off", master(limits_off=("DISTQ_DEAD_LETTERS_MAX",)), OK, "DISTQ_DEAD_LETTERS_MAX"),
    ("limits-off", master(limits_off=("DISTQ_DEAD_LETTERS_MAX", "DISTQ_DEAD_LETTER_TTL_S")), WARNING, "are off"),
    ("limits-off", EARLIER, UNKNOWN, "earlier version"),
    ("auth-failures", GOOD, OK, "Each peer"),
    ("auth-failures", master(auth_failures=2), WARNING, "2 connections"),
    (
        "auth-failures",
        master(auth_failures=None, overview={**OVERVIEW, "auth_failures": 1}),
        WARNING,
        "1 connection did",
    ),
    ("auth-failures", EARLIER, UNKNOWN, "no figures"),
    ("forbidden-calls", GOOD, OK, "No key"),
    ("forbidden-calls", master(forbidden_calls={"web": 2}), WARNING, "web (2)"),
    ("forbidden-calls", EARLIER, UNKNOWN, "earlier version"),
    ("limits-met", GOOD, OK, "No limit"),
    ("limits-met", master(limits_met={"capacity": 3}), WARNING, "DISTQ_CAPACITY (3)"),
    ("limits-met", EARLIER, UNKNOWN, "earlier version"),
    ("dead-letters", GOOD, OK, "3 dead letters"),
    ("dead-letters", overview(tasks={"dead": 100}), WARNING, "100 dead letters"),
    ("dead-letters", EARLIER, UNKNOWN, "no figures"),
]
PLAIN = dataclasses.replace(GOOD, uses_tls=False)
PLAIN_HERE = dataclasses.replace(PLAIN, peer_is_loopback=True)
CELLS += [
    ("tls", PLAIN, WARNING, "crosses a network"),
    ("tls", dataclasses.replace(PLAIN, peer_is_public=True), PROBLEM, "of the internet"),
    ("tls", PLAIN_HERE, OK, "own port on loopback"),
    ("tls", dataclasses.replace(PLAIN_HERE, report=REPORT._replace(uses_tls=False, binds_loopback=True)), OK, "only"),
    ("tls", dataclasses.replace(PLAIN_HERE, report=REPORT._replace(uses_tls=False)), WARNING, "may have others"),
    ("tls", dataclasses.replace(PLAIN_HERE, report=SecurityReport()), WARNING, "may have others"),
    ("verify-clients", dataclasses.replace(PLAIN, report=REPORT._replace(uses_tls=False)), OK, "Does not apply"),
]


@pytest.mark.parametrize(("name", "facts", "state", "text"), CELLS)
def test_a_check_of_the_master_judges_as_its_cell_says(name: str, facts: MasterFacts, state: str, text: str) -> None:
    """The state is that of the cell, and the finding names what was found."""
    found = finding(MASTER, name, facts)
    assert (found.state, text in found.found) == (state, True), found.found


def local(**changes: Any) -> LocalFacts:
    """Return the facts of a machine in order, with changes."""
    return dataclasses.replace(GOOD_LOCAL, **changes)


def file(mode: int, setting: str = "DISTQ_AUTHKEY") -> SecretFile:
    """Return a file with a mode."""
    return SecretFile(setting=setting, path="secret", mode=mode)


LOCAL_CELLS = [
    ("key-strength", GOOD_LOCAL, OK, "43 characters"),
    ("key-strength", local(key_chars=20), WARNING, "20 characters"),
    ("key-strength", local(key_distinct=2), WARNING, "2 of them different"),
    ("key-strength", local(key_chars=9), PROBLEM, "9 characters"),
    ("key-strength", local(key_is_published=True), PROBLEM, "an example"),
    ("secret-files", GOOD_LOCAL, OK, "key"),
    ("secret-files", local(secret_files=()), OK, "Does not apply"),
    ("secret-files", local(secret_files=(GOOD_FILE, file(0o644))), PROBLEM, "secret (mode 644, DISTQ_AUTHKEY)"),
    ("env-file", GOOD_LOCAL, OK, ".env"),
    ("env-file", local(env_file=None), OK, "Does not apply"),
    ("env-file", local(env_file=file(0o644, setting="")), OK, "Does not apply"),
    ("env-file", local(env_file=file(0o640)), WARNING, "group"),
    ("env-file", local(env_file=file(0o604)), PROBLEM, "Every user"),
]


@pytest.mark.parametrize(("name", "facts", "state", "text"), LOCAL_CELLS)
def test_a_check_of_this_machine_judges_as_its_cell_says(name: str, facts: LocalFacts, state: str, text: str) -> None:
    """The state is that of the cell, and the finding names what was found."""
    found = finding(MACHINE, name, facts)
    assert (found.state, text in found.found) == (state, True), found.found


def test_a_hardened_cluster_has_only_findings_that_are_ok() -> None:
    """No check asks for what the checklist does not."""
    findings = [*examine(MACHINE, CHECKS[MACHINE], GOOD_LOCAL), *examine(MASTER, CHECKS[MASTER], GOOD)]
    assert count_states(findings) == {OK: len(findings), WARNING: 0, PROBLEM: 0, UNKNOWN: 0}


def test_an_earlier_master_makes_no_finding_but_ok_and_unknown() -> None:
    """A fact that cannot be had is neither a warning nor a traceback."""
    assert {found.state for found in examine(MASTER, CHECKS[MASTER], EARLIER)} == {OK, UNKNOWN}


def test_each_check_has_its_own_name_a_cell_and_whole_sentences() -> None:
    """Names are stable fields of --json; texts end as sentences do."""
    names = [check.name for checks in CHECKS.values() for check in checks]
    assert len(names) == len(set(names))
    assert {name for name, *_ in CELLS} == {check.name for check in CHECKS[MASTER]}
    assert {name for name, *_ in LOCAL_CELLS} == {check.name for check in CHECKS[MACHINE]}
    assert CHECKS.keys() == TITLES.keys()
    for checks in CHECKS.values():
        for check in checks:
            for text in (check.advice, check.why, check.missing):
                assert text.endswith("."), text
    assert set(STATES) == {OK, WARNING, PROBLEM, UNKNOWN}
