"""Which bytes a worker makes values of: the one place that decides it for all that comes from others.

A pickle is a program of whoever wrote it. A worker of DISTQ_ACCEPT=json reads none: no arguments, no results of tasks
before, no cursor that an attempt before has left.
"""

import json
import pickle
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError

PROTOCOL: Final = 5
_PICKLED: Final = b"\x80"
"""How a pickle (protocol 2 and up) begins, and no JSON text."""


class PayloadRefused(DistqError):
    """A worker with DISTQ_ACCEPT=json was given a pickle, or arguments that only the worker itself may give."""

    code = "PAYLOAD_REFUSED"


def is_json(body: bytes) -> bool:
    """Whether bytes are in the safe form."""
    return body[:1] != _PICKLED


class Codec(NamedTuple):
    """What one worker reads and writes."""

    json_only: bool = False

    def check(self, body: bytes, what: str) -> None:
        """Raise PayloadRefused for a pickle, if none is read here; `what` says what it is, as "its arguments are"."""
        if self.json_only and not is_json(body):
            raise PayloadRefused(f"{what} pickled, and this worker accepts only JSON (DISTQ_ACCEPT=json)")

    def load(self, body: bytes, what: str = "it is") -> Any:
        """The value in these bytes; raises PayloadRefused as `check`."""
        if body[:1] != _PICKLED:  # as `is_json`, whose call alone would cost each result
            return json.loads(body)
        self.check(body, what)
        return pickle.loads(body)

    def dump(self, value: Any) -> bytes:
        """The bytes of a value, in a form that this worker reads again; raises TypeError or ValueError."""
        return json.dumps(value).encode() if self.json_only else pickle.dumps(value, PROTOCOL)


PICKLE: Final = Codec()
