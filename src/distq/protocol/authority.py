"""What the key of a connection or of an HTTP request allows: the key's name, its roles and its queues."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from distq.core.errors import DistqError
from distq.core.ranges import shown
from distq.protocol.permissions import (
    ADMIN,
    ADMIN_ACTION,
    BROKER,
    HELLO,
    HTTP,
    RESULT_QUEUE,
    ROLES,
    SERVER,
    TABLE,
    WORK_QUEUE,
)

QUEUES_KNOWN: Final = 1_000
"""Maximum names of queues for which an authority remembers whether its patterns match, to bound memory."""
CALL_CHARS_MAX: Final = 60
"""Maximum characters of a call's name in an error; a peer may send any text as the name."""
_ASKS: Final = {
    BROKER: "call {}()",
    HELLO: "connect as a {}",
    ADMIN_ACTION: "ask for admin({})",
    SERVER: "call {}()",
    WORK_QUEUE: "call {}() of a work queue",
    RESULT_QUEUE: "call {}() of a result queue",
    HTTP: "request {}",
}


class Forbidden(DistqError):
    """The key does not allow this call; the master has changed nothing, and the connection stays usable."""

    code = "FORBIDDEN"
    exit_code = 3


class Authority:
    """What one key allows. It is made once for each key: a call costs one look into a set.

    Args:
        name: the key's name, which logs, metrics and errors show.
        roles: one or several of `ROLES`.
        queues: patterns, as in `mail.*`, of the queues that the key may use; none for all queues.
        is_old: whether a newer key has the same name.
    """

    __slots__ = ("_known", "broker_calls", "is_old", "name", "plain_calls", "queues", "roles", "server_calls")

    def __init__(self, name: str, roles: Iterable[str], queues: Iterable[str] = (), *, is_old: bool = False) -> None:
        self.name = name
        self.roles = frozenset(roles)
        self.queues = tuple(queues)
        self.is_old = is_old
        self._known: dict[str, bool] = {}
        is_free = not self.queues
        self.server_calls = self._calls(SERVER)
        """Calls of the standard library's server that are allowed."""
        self.broker_calls = self._calls(BROKER) if is_free else frozenset[str]()
        """Methods of the broker that are allowed whatever their arguments are; the gate examines all others."""
        if ADMIN not in self.roles:
            self.broker_calls -= {"hello", "admin"}
        self.plain_calls = {
            role: self._calls(role) if is_free else frozenset[str]() for role in (WORK_QUEUE, RESULT_QUEUE)
        }
        """Methods that are allowed on every plain queue, by the queue's role."""

    def __repr__(self) -> str:
        return f"Authority({self.name!r}, {self.roles_text!r})"

    @property
    def age(self) -> str:
        """`old` if a newer key has the same name, else `current`; a label of metrics."""
        return "old" if self.is_old else "current"

    def is_like(self, other: Authority) -> bool:
        """Whether another authority has the same name, and allows the same."""
        return (self.name, self.roles, self.queues) == (other.name, other.roles, other.queues) and self.age == other.age

    @property
    def roles_text(self) -> str:
        """The roles, joined by `+` as in a file of keys."""
        return "+".join(role for role in ROLES if role in self.roles)

    def _calls(self, door: str) -> frozenset[str]:
        return frozenset(call for call in TABLE[door] if self.allows(door, call))

    def allows(self, door: str, call: str) -> bool:
        """Whether the key's roles allow a call at a door of the table."""
        return ADMIN in self.roles or not self.roles.isdisjoint(TABLE[door].get(call, ()))

    def check(self, door: str, call: str) -> None:
        """Raise Forbidden unless the key's roles allow a call."""
        if not self.allows(door, call):
            needed = [role for role in ROLES if role in TABLE[door].get(call, ())] or [ADMIN]
            asked = _ASKS[door].format(shorten(call))
            raise Forbidden(
                f"The key {self.name!r} has the role {self.roles_text} and may not {asked}. That needs the role "
                f"{' or '.join(needed)}: use a key that has it, or have the operator of the master add it in "
                "DISTQ_KEYS_PATH."
            )

    def may_use(self, queue: str) -> bool:
        """Whether one of the key's patterns matches the name of a queue."""
        if not self.queues:
            return True
        known = self._known.get(queue)
        if known is None:
            if len(self._known) >= QUEUES_KNOWN:
                self._known.clear()
            known = self._known[queue] = any(fnmatchcase(queue, pattern) for pattern in self.queues)
        return known

    def check_queue(self, queue: str) -> None:
        """Raise Forbidden unless the key may use a queue."""
        if not self.may_use(queue):
            raise Forbidden(f"The key {self.name!r} may not use the queue {shown(queue)}. {self._queues_sentence()}")

    def refuse_all_queues(self, what: str) -> None:
        """Raise Forbidden, for a request that concerns all queues: `what`, as in 'the list of tasks'."""
        raise Forbidden(
            f"The key {self.name!r} may not use all queues, as is needed for {what}. {self._queues_sentence()}"
        )

    def _queues_sentence(self) -> str:
        return (
            f"It is for the queues {', '.join(self.queues)}: name one of them, use another key, or have the operator "
            "of the master change the key's queues in DISTQ_KEYS_PATH."
        )


def shorten(call: str) -> str:
    """A call's name as errors show it: of a text that a peer has sent only its beginning."""
    return call if call.isascii() and call.isprintable() and len(call) <= CALL_CHARS_MAX else shown(call)


OPERATOR: Final = Authority("authkey", (ADMIN,))
"""The authority of DISTQ_AUTHKEY, which allows everything."""
TOKEN_NAME: Final = "http-token"  # noqa: S105 - a name, and no token
"""The name by which logs show the tokens of DISTQ_HTTP_TOKEN."""
