"""The settings of signed and encrypted payloads, which the table of settings includes."""

import dataclasses

from distq.settings import kinds
from distq.settings.limits_table import LimitsSettings
from distq.settings.row import DIALLING
from distq.settings.row import row as _row

PAYLOADS = "Signed and encrypted payloads"
REFUSE, ACCEPT = "refuse", "accept"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PayloadsSettings(LimitsSettings):
    """The keys with which clients and workers sign and encrypt bodies; the master has none of them."""

    signing_keys: tuple[bytes, ...] = _row(
        kinds.SECRET,
        None,
        "Key with which clients and workers sign payloads and results, or several separated by commas: the first "
        "signs, each is accepted. A worker with one runs only what is signed.",
        PAYLOADS,
        DIALLING,
        name="DISTQ_SIGNING_KEY",
    )
    signing_key_file: str | None = _row(
        kinds.PATH,
        None,
        "File that contains the signing keys; DISTQ_SIGNING_KEY takes precedence. It is read again after each change.",
        PAYLOADS,
        DIALLING,
    )
    unsigned: str = _row(
        kinds.choice(REFUSE, ACCEPT),
        REFUSE,
        "What becomes of payloads and results without a signature where there is a signing key: refuse, or accept, "
        "while clients and workers get their keys.",
        PAYLOADS,
        DIALLING,
    )
    encryption_keys: tuple[bytes, ...] = _row(
        kinds.SECRET,
        None,
        "Key with which clients encrypt payloads and workers results (AES-GCM), or several separated by commas: the "
        "first encrypts, each decrypts. The master and its disk see no plaintext.",
        PAYLOADS,
        DIALLING,
        name="DISTQ_ENCRYPTION_KEY",
    )
    encryption_key_file: str | None = _row(
        kinds.PATH,
        None,
        "File that contains the encryption keys; DISTQ_ENCRYPTION_KEY takes precedence. It is read again after each "
        "change.",
        PAYLOADS,
        DIALLING,
    )
