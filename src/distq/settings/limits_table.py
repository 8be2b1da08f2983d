"""The settings that limit what a peer, or one kind of thing, costs the master; the table of settings has them."""

import dataclasses

from distq.settings import kinds
from distq.settings.masters_table import MastersSettings
from distq.settings.row import MASTER
from distq.settings.row import row as _row

LIMITS = "Limits"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings(MastersSettings):
    """The limits of a master on its connections, and on what clients can make without submitting a task."""

    handshake_s: float = _row(
        kinds.DURATION, "5s", "How long a peer may take to authenticate.", LIMITS, MASTER, at_least=0.1
    )
    unread_s: float = _row(
        kinds.DURATION,
        "1m",
        "How long a peer may read nothing of a reply before the master closes its connection; no result is lost.",
        LIMITS,
        MASTER,
        at_least=1.0,
    )
    unauthenticated_max: int = _row(
        kinds.COUNT,
        "1000",
        "Maximum connections that have not authenticated yet; the master closes the oldest of the address that has "
        "the most.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    connections_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Maximum open connections of the master; auto is the number that its file descriptors allow.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    connections_per_address_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Maximum open connections from one IP address; auto leaves a tenth of DISTQ_CONNECTIONS_MAX to the others.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    receiving_bytes_max: int = _row(
        kinds.BYTES,
        "1GiB",
        "Maximum bytes of incomplete large frames over all connections, at least DISTQ_FRAME_BYTES_MAX; beyond it the "
        "connection of the slowest frame of the key that has the most ends, and its peer sends the frame again.",
        LIMITS,
        MASTER,
        at_least=1 << 20,
    )
    sessions_max: int = _row(
        kinds.COUNT,
        "100000",
        "Maximum client sessions; beyond it the oldest session without a connection, of the key that has the most, "
        "ends, and its client asks about its tasks.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    sessions_per_key_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Maximum client sessions of one key, beyond which its own oldest one without a connection ends; auto is "
        "DISTQ_SESSIONS_MAX.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    queues_max: int = _row(
        kinds.COUNT,
        "10000",
        "Maximum queues with tasks, limits or workers; the master refuses submits to further ones.",
        LIMITS,
        MASTER,
        at_least=10,
    )
    schedules_max: int = _row(
        kinds.COUNT,
        "10000",
        "Maximum schedules; the master refuses further ones.",
        LIMITS,
        MASTER,
    )
    schedules_per_queue_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Maximum schedules that submit to one queue; auto is DISTQ_SCHEDULES_MAX.",
        LIMITS,
        MASTER,
    )
    schedules_per_key_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Maximum schedules that were made or last changed with one key; auto is DISTQ_SCHEDULES_MAX.",
        LIMITS,
        MASTER,
    )
    tasks_per_queue_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Maximum tasks of one queue, including stored results and dead letters, beyond which the master refuses "
        "submits to it; auto is DISTQ_TASKS_MAX.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    tasks_per_key_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Maximum tasks that were submitted with one key, including stored results and dead letters, beyond which the "
        "master refuses its submits; auto is DISTQ_TASKS_MAX. Tasks from before it was set count for no key.",
        LIMITS,
        MASTER,
        at_least=1,
    )
