"""The checks of the way to the master: TLS, its HTTP port, and the addresses of several masters."""

from __future__ import annotations

from typing import Final

from distq.cli.doctor.facts import MasterFacts
from distq.cli.doctor.model import OK, PROBLEM, WARNING, Check, Found, listed
from distq.cli.text import duration
from distq.core.plurals import counted
from distq.core.ranges import DAY_S

CERTIFICATE_SOON_S: Final = 14 * DAY_S
"""Seconds before the end of a certificate at which the doctor warns: two weeks are enough to renew it by hand."""
CERTIFICATE_LATE_S: Final = 2 * DAY_S
"""Seconds before the end of a certificate from which it is a problem: a renewal by a program has failed by then."""
CLOCK_S: Final = 2.0
"""Difference of two clocks that the doctor reports: it is more than NTP leaves, and less than a delay in a schedule."""


def _tls(facts: MasterFacts) -> Found:
    if facts.uses_tls:
        return Found(OK, f"The connection to {facts.address} uses TLS 1.3.")
    plain = f"The connection to {facts.address} is plain"
    if facts.peer_is_public:
        return Found(PROBLEM, f"{plain}, and the address is one of the internet.")
    if not facts.peer_is_loopback:
        return Found(WARNING, f"{plain}, and it crosses a network.")
    if facts.report.uses_tls:
        return Found(OK, f"{plain} at the master's own port on loopback; other connections use TLS.")
    if facts.report.binds_loopback:
        return Found(OK, f"{plain}, and the master listens on loopback only.")
    return Found(WARNING, f"{plain}. It stays on this machine, but the master may have others.")


def _certificate(facts: MasterFacts) -> Found:
    left_s = facts.certificate_left_s
    if left_s is None:
        return Found(OK, "Does not apply: this connection has no TLS.")
    text = f"The master's certificate ends in {duration(left_s)}."
    if left_s < CERTIFICATE_LATE_S:
        return Found(PROBLEM, text)
    return Found(WARNING if left_s < CERTIFICATE_SOON_S else OK, text)


def _verify_clients(facts: MasterFacts) -> Found:
    if not facts.report.uses_tls:
        return Found(OK, "Does not apply: the master has no TLS.")
    if facts.report.verifies_clients:
        return Found(OK, "The master requires a certificate of each peer.")
    return Found(WARNING, "The master accepts peers without a certificate; their key is all that they need.")


def _http_reach(facts: MasterFacts) -> Found:
    answer = facts.http_answer
    assert answer is not None
    if facts.report.http is not None and not facts.report.http.host:
        return Found(OK, "The master has no HTTP port.")
    if not answer.answers:
        return Found(OK, f"The HTTP port at {answer.address} does not answer this machine.")
    shows = "it shows totals, metrics, and names of queues, tasks and keys"
    if answer.is_loopback:
        return Found(OK, f"The HTTP port answers without a key at {answer.address}, on this machine: {shows}.")
    return Found(WARNING, f"The HTTP port answers other machines without a key at {answer.address}: {shows}.")


def _http_keys(facts: MasterFacts) -> Found:
    http = facts.report.http
    assert http is not None
    token = "DISTQ_HTTP_TOKEN is set" if http.has_token else "DISTQ_HTTP_TOKEN is not set, so HTTP takes keys only"
    if not http.host or http.is_loopback or http.uses_tls:
        way = "off" if not http.host else "on loopback" if http.is_loopback else "TLS"
        return Found(OK, f"HTTP is {way}; {token}.")
    if http.takes_plain_keys:
        return Found(WARNING, f"HTTP takes keys without TLS from other machines (DISTQ_HTTP_PLAIN_KEYS=1); {token}.")
    return Found(OK, f"HTTP without TLS refuses keys of other machines; {token}.")


def _masters(facts: MasterFacts) -> Found:
    if facts.unreached:
        missing = f"{len(facts.unreached)} of the {facts.addresses} addresses in DISTQ_ADDRESS"
        return Found(WARNING, f"No master answers at {missing}: {listed(facts.unreached)}.")
    store = facts.report.store
    if store is None:
        every = f"All {facts.addresses} addresses answer" if facts.addresses > 1 else "The address answers"
        return Found(OK, f"{every}; the master does not say whether others stand by.")
    if store.standbys is None:
        return Found(OK, "Does not apply: the store is for one master.")
    if not store.standbys:
        return Found(WARNING, "The store is for several masters, and no other master stands by.")
    return Found(OK, f"{counted(store.standbys, 'other master')} can take over.")


def _clock(facts: MasterFacts) -> Found:
    ahead_s = facts.clock_ahead_s
    assert ahead_s is not None
    text = f"The clocks of the master and of this machine differ by {abs(ahead_s):.1f} s."
    return Found(OK if abs(ahead_s) < CLOCK_S else WARNING, text)


CHECKS: Final = (
    Check(
        "tls",
        "Use TLS, also where only a part of the way is a network that others share.",
        "Without TLS, an attacker who can alter packets takes over a connection after its handshake.",
        "Settings: DISTQ_TLS_CERT and DISTQ_TLS_KEY at the master, DISTQ_TLS_CA at clients and workers; `distq tls "
        "init` makes the files. Compose: TLS_FOLDER in .env. Chart: tls.existingSecret, or tls.certManager.enabled.",
        _tls,
    ),
    Check(
        "certificate",
        "Renew certificates two weeks before they end.",
        "After its end no client and no worker connects.",
        "`distq tls init --renew`, or the program that issues the certificate. The master reads changed files without "
        "a restart.",
        _certificate,
    ),
    Check(
        "verify-clients",
        "Require a certificate of clients and workers as well as a key.",
        "A key that was copied can be used from each machine that reaches the port.",
        "Settings: DISTQ_TLS_VERIFY_CLIENTS=1 and DISTQ_TLS_CA at the master, DISTQ_TLS_CERT and DISTQ_TLS_KEY at "
        "clients and workers. Chart: tls.verifyClients and tls.clientSecret.",
        _verify_clients,
        ("report.uses_tls", "report.verifies_clients"),
    ),
    Check(
        "http-reach",
        "Keep the HTTP port inside the cluster: it needs no key for totals.",
        "Metrics and totals show what the cluster does to each machine that reaches the port.",
        "Settings: DISTQ_HTTP_ADDRESS=127.0.0.1:9001. Compose: publish the port on 127.0.0.1. Chart: "
        "networkPolicy.metricsFrom.",
        _http_reach,
        ("http_answer",),
        "The master does not say where its HTTP port is.",
    ),
    Check(
        "http-keys",
        "Send keys and tokens over HTTP with TLS only.",
        "A key in a plain request can be read by each machine on the way.",
        "Settings: unset DISTQ_HTTP_PLAIN_KEYS, or set DISTQ_TLS_CERT with DISTQ_HTTP_TLS=1. Keep it at 1 only behind "
        "a proxy with TLS. Chart: tls.http.",
        _http_keys,
        ("report.http",),
    ),
    Check(
        "masters",
        "Let each address in DISTQ_ADDRESS be that of a running master, and keep one master more than you need.",
        "If the only master ends, clients and workers wait until it is back.",
        "Start the missing masters, or remove their addresses from DISTQ_ADDRESS. Chart: master.replicas with "
        "master.store.",
        _masters,
    ),
    Check(
        "clock",
        "Set the clocks of all machines by NTP.",
        "Delays, expiry and schedules are instants of the master's clock; a client computes an `eta` by its own.",
        "Run a time service, such as chrony or systemd-timesyncd, on both machines.",
        _clock,
        ("clock_ahead_s",),
    ),
)
