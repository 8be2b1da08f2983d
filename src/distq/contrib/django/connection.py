"""The master and the key of a backend, and one client of this process for each."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import Any

from distq.client.client import Client
from distq.contrib.django.interface import task_backends
from distq.contrib.outbox.relay import relay_client


class MasterOptions:
    """What a backend's OPTIONS say about its master; the default of both is that of `distq.Client`."""

    options: Mapping[str, Any]
    queues: set[str]

    @property
    def address(self) -> str | None:
        """`host:port`, or several; None: DISTQ_ADDRESS."""
        return self.options.get("ADDRESS")

    @property
    def authkey(self) -> str | bytes | None:
        """The key; None: DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE."""
        given = self.options.get("AUTHKEY")
        return bytes(given) if isinstance(given, bytearray | memoryview) else given

    @property
    def client(self) -> Client:
        """The client of this process for the backend's address and key: Django has a backend for each thread.

        Raises TypeError or SettingsError for a wrong value.
        """
        key = self.address, self.authkey
        if not all(isinstance(value, Hashable) for value in key):
            return Client(*key)  # it raises the error
        with _lock:
            found = _clients.get(key)
            if found is None:
                found = _clients[key] = Client(*key, wait_at_exit=False)
        return found


class UnclearMaster(ValueError):
    """The project's backends have several masters, and the command does not say which one it means."""


def backends_of_one_master(alias: str | None) -> list[MasterOptions]:
    """The distq backend with an alias; without one, all distq backends of the project. Raises UnclearMaster."""
    found = {name: backend for name in task_backends if isinstance(backend := task_backends[name], MasterOptions)}
    if alias is not None and alias not in found:
        raise UnclearMaster(f"TASKS has no backend {alias!r} of distq; it has {', '.join(map(repr, found)) or 'none'}.")
    chosen = {name: backend for name, backend in found.items() if alias in (None, name)}
    if len({(backend.address, backend.authkey) for backend in chosen.values()}) > 1:
        raise UnclearMaster(
            f"The backends {', '.join(map(repr, found))} have different masters: choose one with --backend."
        )
    return list(chosen.values())


def relay_client_of(alias: str | None) -> Client:
    """A new client of a relay for the master of the project's backends, or of the environment; raises UnclearMaster."""
    for backend in backends_of_one_master(alias):
        return relay_client(backend.address, backend.authkey)
    return relay_client()


_lock = threading.Lock()
_clients: dict[tuple[Any, Any], Client] = {}
