"""Connects with the first of several keys that the master accepts: while keys change, one end has them first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distq.net.dial import FRAME_BYTES_MAX, Connection, dial
from distq.wire.errors import AuthenticationFailed, TlsFailed

if TYPE_CHECKING:
    from distq.net.dial import Address
    from distq.net.tls_files import TlsFiles


def dial_with_any(
    addresses: Sequence[Address],
    authkeys: Sequence[bytes],
    *,
    timeout_s: float,
    frame_bytes_max: int = FRAME_BYTES_MAX,
    tls: TlsFiles | None = None,
) -> Connection:
    """Connect with the first of several keys that the master accepts, as while keys are changed; raises as `dial`."""
    for authkey in authkeys[:-1]:
        try:
            return dial(addresses, authkey, timeout_s=timeout_s, frame_bytes_max=frame_bytes_max, tls=tls)
        except TlsFailed:
            raise
        except AuthenticationFailed:
            pass
    return dial(addresses, authkeys[-1], timeout_s=timeout_s, frame_bytes_max=frame_bytes_max, tls=tls)
