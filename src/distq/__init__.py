"""distq: the distributed task queue that is deployed, not assembled."""

from typing import TYPE_CHECKING

from distq._version import __version__

if TYPE_CHECKING:
    from distq.managers import QueueManager

__all__ = ["QueueManager", "__version__"]


def __getattr__(name: str) -> object:
    # Imported when asked for: an executor, which needs none of it, starts faster.
    if name == "QueueManager":
        from distq.managers import QueueManager  # noqa: PLC0415

        return QueueManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
