"""What a client's session is doing, in words for `repr`; nothing is asked of the master."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from distq.core.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.client.outbox import UnsentTasks
    from distq.client.pending_futures import PendingFutures
    from distq.settings import Address


class ConnectionState(Protocol):
    """What is read of a connection."""

    @property
    def is_up(self) -> bool:
        """Whether a master has answered on it, and it was not lost since."""
        ...


def stage_of(
    link: ConnectionState, outbox: UnsentTasks[Any], pending: PendingFutures[Any], *, is_closing: bool, is_closed: bool
) -> str:
    """Whether the client is connected, and for how many tasks it has no outcome."""
    if is_closed:
        return "closed"
    where = "connected" if link.is_up else "not connected"
    closing = ", shut down" if is_closing else ""
    return f"{where}{closing}, {counted(outbox.count + pending.count, 'task')} without an outcome"


def described(kind: str, addresses: Sequence[Address], stage: str, options: Mapping[str, Any]) -> str:
    """The text of a client: where its master is, the options that it adds, and its stage."""
    given = "".join(f" {name}={value!r}" for name, value in options.items())
    return f"<{kind} {','.join(map(str, addresses))}{given} {stage}>"


def described_html(kind: str, addresses: Sequence[Address], stage: str, options: Mapping[str, Any]) -> str:
    """The same for a notebook."""
    import html  # noqa: PLC0415 - a client's start would take 10 ms longer

    given = " ".join(f"{name}={value!r}" for name, value in options.items())
    parts = [f"<code>{kind}</code>", f"<b>{html.escape(','.join(map(str, addresses)))}</b>"]
    parts += [f"<code>{html.escape(given)}</code>"] if given else []
    return " ".join([*parts, html.escape(stage)])
