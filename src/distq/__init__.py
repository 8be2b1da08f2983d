"""distq: the distributed task queue that is deployed, not assembled."""

from distq._version import __version__

__all__ = ["__version__"]
