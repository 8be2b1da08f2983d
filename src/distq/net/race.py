"""Connects to several addresses, each a little later than the one before, and finds those that answer.

A master that leads, or a standby that passes connections on to it, sends the first bytes. A frozen process, or a
standby without a leader, only accepts the connection: it must not keep the client from the next address.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

Address = tuple[str, int]

STAGGER_S: Final = 0.2
"""Seconds after which the next address is tried while the ones before have neither answered nor failed."""

_clock = time.monotonic  # noqa: TID251 - the edge: deadlines of blocking calls


class Answering(NamedTuple):
    """A connected socket whose other end has sent something."""

    address: Address
    connected: socket.socket


class Race:
    """The attempts to reach a master at several addresses."""

    def __init__(
        self,
        addresses: Sequence[Address],
        deadline: float,
        connected: Callable[[Address, socket.socket], None],
    ) -> None:
        """Prepare the attempts; `connected` receives each connected socket, to send the first bytes of TLS."""
        self.failures: list[tuple[Address, OSError]] = []
        """The addresses that cannot be reached, with the errors."""
        self._deadline = deadline
        self._connected = connected
        self._todo = list(addresses)
        self._pending: dict[int, tuple[Address, socket.socket, list[tuple[int, object]]]] = {}
        """The sockets that have not answered, by descriptor, with the further numeric addresses of the same host."""
        self._connecting: set[int] = set()
        """Those of them that are not connected yet."""
        self._poll = select.poll()
        self._next_at = 0.0

    def answering(self) -> Iterator[Answering]:
        """Yield each socket that has answered, in the order of the answers, until the deadline."""
        while self._todo or self._pending:
            now = _clock()
            if now >= self._deadline:
                break
            if self._todo and now >= self._next_at:
                self._begin(self._todo.pop(0))
                continue
            until = min(self._next_at, self._deadline) if self._todo else self._deadline
            for fd, _ in self._poll.poll(max(until - now, 0.0) * 1000 + 0.5):
                if fd in self._connecting:
                    self._connects(fd)
                    continue
                address, attempt, _ = self._pending.pop(fd)
                self._poll.unregister(fd)
                yield Answering(address, attempt)
        for address, _, _ in self._pending.values():
            self.failures.append((address, TimeoutError()))
        for address in self._todo:
            self.failures.append((address, TimeoutError()))

    def close(self) -> None:
        """Close the sockets that have not answered."""
        for _, attempt, _ in self._pending.values():
            attempt.close()
        self._pending.clear()

    def _begin(self, address: Address) -> None:
        self._next_at = _clock() + STAGGER_S
        try:
            infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        except OSError as error:
            self._failed(address, error)
            return
        self._try(address, [(info[0], info[4]) for info in infos])

    def _try(self, address: Address, hosts: list[tuple[int, object]]) -> None:
        (family, numeric), others = hosts[0], hosts[1:]
        attempt = socket.socket(family, socket.SOCK_STREAM)
        attempt.setblocking(False)
        found = attempt.connect_ex(numeric)  # type: ignore[arg-type] # the family's own form
        if found not in (0, errno.EINPROGRESS):
            attempt.close()
            self._refused(address, found, others)
            return
        self._pending[attempt.fileno()] = address, attempt, others
        self._connecting.add(attempt.fileno())
        self._poll.register(attempt, select.POLLOUT)

    def _connects(self, fd: int) -> None:
        """Handle that a connection was made or refused."""
        self._connecting.discard(fd)
        address, attempt, others = self._pending[fd]
        found = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if found:
            self._poll.unregister(fd)
            del self._pending[fd]
            attempt.close()
            self._refused(address, found, others)
            return
        self._poll.modify(fd, select.POLLIN)
        try:
            self._connected(address, attempt)
        except BaseException:
            self._poll.unregister(fd)
            del self._pending[fd]
            attempt.close()
            raise

    def _refused(self, address: Address, found: int, others: list[tuple[int, object]]) -> None:
        if others:
            self._try(address, others)
        else:
            self._failed(address, OSError(found, os.strerror(found)))

    def _failed(self, address: Address, error: OSError) -> None:
        self.failures.append((address, error))
        self._next_at = 0.0  # the next one now
