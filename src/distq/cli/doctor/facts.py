"""The facts about a running master and this machine that the checks judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from distq.protocol.security_report import SecurityReport


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A file of this machine that holds a secret."""

    setting: str
    path: str
    mode: int
    """The permissions of the file, as in 0o600."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalFacts:
    """What the settings and files of this machine say; none of it is a secret."""

    key_chars: int
    """Characters of the key in use."""
    key_distinct: int
    """Number of different characters in it."""
    key_is_published: bool
    """Whether the key is an example of a documentation."""
    secret_files: tuple[SecretFile, ...]
    env_file: SecretFile | None
    """The file `.env` in use, None without one; its setting names the first secret in it, '' for none."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What the HTTP port answers to a request without a key."""

    address: str
    is_loopback: bool
    """Whether the request came from the same machine."""
    answers: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MasterFacts:
    """What a master says, and what its connection shows; None for a fact that cannot be had."""

    address: str
    """The address in use, as in the settings."""
    peer_is_loopback: bool
    peer_is_public: bool
    """Whether the master's IP address is one of the internet."""
    uses_tls: bool
    certificate_left_s: float | None
    """Seconds until the master's certificate ends."""
    unreached: tuple[str, ...]
    """Addresses of DISTQ_ADDRESS at which no master answers."""
    addresses: int
    """Number of addresses in DISTQ_ADDRESS."""
    clock_ahead_s: float | None
    """Seconds by which the master's clock is ahead of this one."""
    durable: bool | None
    overview: Mapping[str, Any] | None
    queues: tuple[Mapping[str, Any], ...] | None
    workers: tuple[Mapping[str, Any], ...] | None
    report: SecurityReport
    http_answer: HttpAnswer | None

    @property
    def reported(self) -> SecurityReport | None:
        """The master's report; None if it has sent none."""
        return None if self.report == SecurityReport() else self.report
