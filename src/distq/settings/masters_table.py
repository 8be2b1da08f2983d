"""The settings of several masters on one store, which the table of settings includes."""
# ruff: noqa: RUF009 - `_row` returns a fresh dataclass field each time, as `dataclasses.field` does

import dataclasses
import socket

from distq.settings import kinds
from distq.settings.address import Address
from distq.settings.row import MASTER
from distq.settings.row import row as _row
from distq.settings.tls_table import TlsSettings

MASTERS = "Several masters"
ANY_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - read, not bound


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MastersSettings(TlsSettings):
    """The settings of masters on one PostgreSQL store, of which one leads and the others stand by."""

    advertise: Address | None = _row(
        kinds.ADDRESS,
        None,
        "Address at which the other masters, clients and workers reach this one; when not set, the other masters use "
        "DISTQ_BIND, with this machine's name in place of 0.0.0.0.",
        MASTERS,
        MASTER,
    )
    leader_lease_s: float = _row(
        kinds.DURATION,
        "5s",
        "How long a leading master that the PostgreSQL store does not hear from keeps other masters from leading.",
        MASTERS,
        MASTER,
        at_least=0.5,
        at_most=60.0,
    )


def advertised(advertise: Address | None, bind: Address) -> Address:
    """Return the address that a leader gives as its own."""
    if advertise is not None:
        return advertise
    return Address(socket.gethostname(), bind.port) if bind.host in ANY_HOSTS else bind
