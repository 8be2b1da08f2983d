"""The inputs from which the fuzzer starts: for each target some that distq itself writes, made here rather than stored.

What a fuzzer found is stored in `corpus/`, except for pickles: one that harms no distq might harm another program.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.core.build import envelope, new_ledger
from tests.fuzz.targets import CONTEXT, COOKIE_SEED, KEY, SEVERAL, TARGETS

from distq.core import head
from distq.core.constraints import DependsOn, TaskConstraints
from distq.core.policy import Policy, pack_policy
from distq.settings.table import ROWS
from distq.tasks.seal import Sealer, SealSecrets
from distq.tasks.sealed import Seal, SealKind
from distq.wire.framing import pack, pack_split
from distq.wire.handshake import CHALLENGE, FAILURE, WELCOME
from distq.wire.messages import encode_call

CORPUS: Final = Path(__file__).parent / "corpus"
"""The folder with the inputs that the fuzzer found, a folder for each target."""


def _calls() -> list[bytes]:
    hello = {"role": "worker", "protocol": [1, 1], "session": "s", "slots": 2, "queues": ["q"], "holds": [(1, 2, 3)]}
    return [
        encode_call("broker", "hello", (hello,)),
        encode_call("broker", "submit", (1, [("q", "f", 4, None)], [(0, 1)], [b"body"], 0.0)),
        encode_call("broker", "exchange", ([(1, 1, 0, b"", 0.5, "")], 10, 1.5)),
        encode_call("work", "put", ({"any": [1, 2.5, None, "text"], "set": {1, 2}},)),
        encode_call("work", "get", (), {"block": True, "timeout": 1.0}),
        encode_call(None, "create", ("get_work_queue",)),
    ]


def _heads() -> list[bytes]:
    ledger = new_ledger()
    plain = envelope(ledger)
    rows = TaskConstraints("key", 2, "unique", 60.0, DependsOn(1, 3), (("traceparent", "00-ab-cd-01"),))
    return [
        head.pack(plain, state, 3, 1, 0, 900_000.0, 900_001.0, due_at) for state in range(8) for due_at in (0.0, 1e6)
    ] + [head.pack(plain, 0, 1, 0, 0, 1.0, 2.0, 0.0, 1e7, rows)]


def _stored() -> list[bytes]:
    rows = [(9, one) for one in _heads()]
    rows.append((0, pack_policy("q", Policy(paused=True), None)))
    return [b"\1" + bytes((kind, 7)) + struct.pack("!H", len(row)) + row for kind, row in rows]


def _orders() -> list[bytes]:
    orders = [
        {"name": "f", "queue": "q", "args": [1, "two", None, 2.5], "kwargs": {"a": []}},
        {"name": "f", "delay_s": 5, "priority": 3, "retries": 0, "headers": {"traceparent": "x"}, "labels": ["gpu"]},
        {"name": "f", "eta": "2026-11-28T10:00:00Z", "unique_key": "u", "concurrency_key": "c", "concurrency": 2},
    ]
    return [json.dumps(order).encode() for order in orders]


def _sealed() -> list[bytes]:
    found = []
    for which, secrets in enumerate((SealSecrets(), SealSecrets((KEY,)), SealSecrets((), (KEY,)))):
        for kind in SealKind:
            seal = Seal(
                kind, b"i" * 16, 1 << 40, 1, (b"d" * 16,), is_single=True, is_encrypted=bool(secrets.encryption)
            )
            found.append(bytes((which,)) + Sealer(secrets).seal(seal, b"content", CONTEXT))
    return found


def _settings() -> list[bytes]:
    return [b"\0" + bytes((number,)) + (row.default or "x").encode() for number, row in enumerate(ROWS)] + [
        b"\1" + SEVERAL.join((b"\0a:1", b"\x05 30s", b"\x10q,r"))
    ]


_SEEDS: Final[Mapping[str, Callable[[], list[bytes]]]] = {
    "framing": lambda: [
        b"\0" + pack(b"body") + pack(b"") + b"\xff\xff\xff\xff" + struct.pack("!Q", 3) + b"abc",
        b"\7" + b"".join(bytes(part) for part in pack_split(b"pickle", [b"x" * 40, b""])),
        b"\3" + pack(b"y" * 40_000),
        b"\x01" + struct.pack("!i", 1 << 30),
    ],
    "handshake": lambda: [
        b"".join(bytes((len(body),)) + body for body in bodies)
        for bodies in (
            (b"{sha256}" + b"m" * 32, CHALLENGE + b"{sha256}" + b"n" * 20, WELCOME),
            (CHALLENGE + b"n" * 20, WELCOME, b"m" * 16),
            (CHALLENGE + b"{md5}" + b"n" * 20, FAILURE),
        )
    ],
    "server": lambda: [b"\x01" + b"".join(map(pack, _calls())), b"\x00" + pack(b"x") + struct.pack("!i", 1 << 30)],
    "call": _calls,
    "protocol": lambda: [bytes((which,)) + bytes(range(first, first + 60)) for which in range(7) for first in (0, 9)],
    "http_json": _orders,
    "settings": _settings,
    "heads": _stored,
    "sealed": _sealed,
    "key_file": lambda: [
        b"web submit q8KdhG1o2vX8WmPzR5tYc7LbN4sJf0Ae mail.*,bill[ab]\r\nteam work+submit Zt3vM9rB6nHcE1xKpW7sLdF2g\n",
        b"\xef\xbb\xbfweb submit q8KdhG1o2vX8WmPzR5tYc7LbN4sJf0Ae\nweb submit Zt3vM9rB6nHcE1xKpW7sLdF2g *\n# end",
        b"#\nq8KdhG1o2vX8WmPzR5tYc7LbN4sJf0Ae,Zt3vM9rB6nHcE1xKpW7sLdF2g",
    ],
    "http_head": lambda: [
        b"a\1" + COOKIE_SEED,
        b"a\0Bearer " + KEY + b"\n\2host:1\n\3https://host:1\n\4same-origin",
        b"z\1distq_session=1.2; other=3\n\5" + b"7\n\6text/event-stream",
        b"a\2host:1\n\3https://[",
    ],
    "dead_letter": lambda: [head.pack_dead(b"arguments", b"error", causes) for causes in ([], ["one", "two"])],
}


def seeds_of(target: str) -> list[bytes]:
    """Return the inputs from which a target is fuzzed: those that distq writes, and those that were found."""
    found = sorted((CORPUS / target).iterdir()) if (CORPUS / target).is_dir() else []
    return [b"", *_SEEDS[target](), *(path.read_bytes() for path in found)]


assert _SEEDS.keys() == TARGETS.keys()
