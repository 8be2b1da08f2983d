"""What the listeners of a master have in common: their backlog, and their error."""

import errno
import os
from typing import Final

from distq.core.errors import DistqError
from distq.net.port_holder import held_by
from distq.settings.address import Address

BACKLOG: Final = 4096


class CannotListen(DistqError):
    """The master cannot listen at its address."""

    code = "CANNOT_LISTEN"
    hint = "Stop what listens there, or choose another with DISTQ_BIND."
    exit_code = 2


def cannot_listen(address: Address, exc: OSError) -> CannotListen:
    """Return the error of an address at which the master cannot listen."""
    # For a port in use, the event loop gives a text of its own; for an unknown host, a number that is no errno.
    reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)
    holder = held_by(address.port) if exc.errno == errno.EADDRINUSE else ""
    return CannotListen(f"cannot listen at {address}: {reason}. {holder}".rstrip())
