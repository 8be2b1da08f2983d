"""The settings that the server needs."""

from typing import Protocol


class ConnectionLimits(Protocol):
    """The settings that the server reads."""

    @property
    def frame_bytes_max(self) -> int: ...  # noqa: D102 - named as in the settings table
    @property
    def receiving_bytes_max(self) -> int: ...  # noqa: D102
    @property
    def handshake_s(self) -> float: ...  # noqa: D102
    @property
    def unauthenticated_max(self) -> int: ...  # noqa: D102
    @property
    def connections_max(self) -> int | None: ...  # noqa: D102
    @property
    def connections_per_address_max(self) -> int | None: ...  # noqa: D102
    @property
    def unread_s(self) -> float: ...  # noqa: D102
