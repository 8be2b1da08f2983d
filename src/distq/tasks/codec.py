"""The codec that turns bytes into values: it alone decides which bytes from other processes a worker reads.

A pickle can run code of its sender. A worker with DISTQ_ACCEPT=json reads no pickle: not as arguments, as the result of
a dependency, or as the checkpoint of an earlier attempt.
"""

import json
import pickle
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError
from distq.tasks.sealed import SEALED, content_of

PROTOCOL: Final = 5
_PICKLED: Final = b"\x80"
"""The first byte of each pickle (protocol 2 and up), with which no JSON text begins."""


class PayloadRefused(DistqError):
    """A worker with DISTQ_ACCEPT=json was given a pickle, or arguments that only the worker itself may give."""

    code = "PAYLOAD_REFUSED"


def is_json(body: bytes) -> bool:
    """Whether the bytes of a body that is not sealed are in JSON, the safe form."""
    return body[:1] != _PICKLED


class Codec(NamedTuple):
    """Reads and writes values as bytes, in the forms that one worker accepts."""

    json_only: bool = False

    def check(self, body: bytes, what: str) -> None:
        """Raise PayloadRefused for a pickle if only JSON is read; `what` begins its text, as "its arguments are"."""
        if self.json_only and not is_json(content_of(body)):
            raise PayloadRefused(f"{what} pickled, and this worker accepts only JSON (DISTQ_ACCEPT=json)")

    def load(self, body: bytes, what: str = "it is") -> Any:
        """The value in these bytes; raises PayloadRefused as `check` does."""
        if body[:1] != _PICKLED:  # the same test as `is_json`, without the cost of a call for each result
            return json.loads(body) if body[:1] != SEALED else self.load(content_of(body), what)
        self.check(body, what)
        return pickle.loads(body)

    def dump(self, value: Any) -> bytes:
        """The bytes of a value, in a form that this codec can read; raises TypeError or ValueError."""
        return json.dumps(value).encode() if self.json_only else pickle.dumps(value, PROTOCOL)


PICKLE: Final = Codec()
