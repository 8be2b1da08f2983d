"""The settings of an embedded master, which a program's QueueManager starts."""

from typing import Any

import pytest

from distq.cli.embedded import _settings
from distq.settings import SettingsError


def config(host: str) -> dict[str, Any]:
    """Return what a program sends to its embedded master."""
    return {"bind": (host, 50_000), "authkey": b"k" * 32, "queues": {}, "drain_s": 1.0}


def test_an_embedded_master_listens_without_tls_only_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs speak no TLS; a certificate in the environment means that the network must not see their items."""
    monkeypatch.setenv("DISTQ_TLS_CERT", "master.crt")
    monkeypatch.setenv("DISTQ_TLS_KEY", "master.key")
    assert _settings(config("127.0.0.1")).tls_cert is None
    with pytest.raises(SettingsError, match="address on loopback, or run `distq master`"):
        _settings(config(""))
    monkeypatch.delenv("DISTQ_TLS_CERT")
    monkeypatch.delenv("DISTQ_TLS_KEY")
    assert _settings(config("")).bind.host == "0.0.0.0"
