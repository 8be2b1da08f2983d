"""The counted scenarios, each a fixed sequence of calls; callgrind counts this program from outside.

`python -m benchmarks.budget.scenarios` calls `os.getppid()` before and after each scenario, in the order of
`SCENARIOS`. Callgrind writes its counts at each call of that function, and begins anew (see `__main__.py`).
"""

from __future__ import annotations

import gc
import os
import pickle
import random
from collections.abc import Callable
from typing import Final

from distq.core.constraints import NO_CONSTRAINTS, TaskConstraints
from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore
from distq.core.option_values import TASK
from distq.core.outcome import Outcome
from distq.core.registry import Defaults, Registry
from distq.core.retry import Backoff
from distq.core.task import Envelope, Holder, Owner
from distq.protocol.exchange import read_exchange, read_lease_reply, write_lease_reply
from distq.protocol.heartbeat import WorkerReport, read_report, write_report
from distq.protocol.hello import WorkerHello, read_hello, read_worker_hello, write_worker_hello
from distq.protocol.methods import BROKER, EXCHANGE, HEARTBEAT, HELLO, SUBMIT
from distq.protocol.submit import (
    SubmitEnvelope,
    read_submit,
    split_submit,
    write_constraints,
    write_entry,
    write_envelope,
)
from distq.wire.framing import Framer, pack
from distq.wire.inert import read_call
from distq.wire.messages import decode_plain_reply, encode_call, pack_call, returned
from distq.wire.splice import item, packed_item

SEED: Final = 7
FIRST_KEY: Final = 1 << 40
NOW: Final = 1_000_000.0
TASKS: Final = 600
BATCH: Final = 50
"""Tasks of one cycle."""
CALLS: Final = 200
"""Calls of a scenario that reads or writes calls."""
FRAME_BYTES_MAX: Final = 64 << 20
BODY: Final = b"x" * 100
DEFAULTS: Final = Defaults(backoff=Backoff(1.0, 8.0))

Scenario = Callable[[], None]
"""What is counted; it ran once before, so that it finds every cache as it leaves it."""


def _ledger() -> Ledger:
    return Ledger(DEFAULTS, random.Random(SEED).random, FIRST_KEY)


def _envelope(ledger: Ledger, queue: str = "mail", name: str = "shop:send") -> Envelope:
    return ledger.registry.envelope(queue, name, TASK)


def _any_name(_: str) -> bool:
    return True


def _commit(ledger: Ledger, now: float) -> None:
    """End a cycle as the broker does, with a store that keeps nothing."""
    ledger.batch(now)
    ledger.apply(now)


def _submit(ledger: Ledger, envelope: Envelope, now: float, constraints: TaskConstraints = NO_CONSTRAINTS) -> None:
    for start in range(0, TASKS, BATCH):
        ledger.submit(envelope, [BODY] * BATCH, None, now + start * 1e-4, constraints=constraints)
        _commit(ledger, now + start * 1e-4)


def _run(ledger: Ledger, holder: Holder, now: float, outcome: int = Outcome.SUCCESS) -> int:
    """Lease and settle until nothing is ready; return the number of leases."""
    queues = list(ledger.registry.queues.values())
    count = 0
    while leased := ledger.leasing.lease(holder, queues, _any_name, BATCH, now):
        count += len(leased)
        for task in leased:
            ledger.settle(task.task_key, task.delivery, outcome, BODY, 0.001, "ValueError")
        _commit(ledger, now)
        now += 1e-4
    return count


# -- the ledger --------------------------------------------------------------------------------


def submits() -> None:
    """Submit tasks in batches."""
    ledger = _ledger()
    _submit(ledger, _envelope(ledger), NOW)
    assert len(ledger.state.tasks) == TASKS


def whole_life() -> None:
    """Submit tasks, lease them, settle them, and drop their results."""
    ledger = _ledger()
    _submit(ledger, _envelope(ledger), NOW)
    assert _run(ledger, Holder("executor"), NOW + 1) == TASKS
    late = NOW + 10 * DEFAULTS.result_ttl_s
    ledger.sweeper.sweep(late)
    _commit(ledger, late)
    assert not ledger.state.tasks


def single_tasks() -> None:
    """Submit, lease and settle one task after the other, as a closed loop does."""
    ledger = _ledger()
    envelope, holder = _envelope(ledger), Holder("executor")
    for number in range(TASKS // 4):
        now = NOW + number * 1e-3
        task_key = ledger.submit(envelope, [BODY], None, now)
        _commit(ledger, now)
        (task,) = ledger.leasing.lease(holder, [envelope.queue], _any_name, 1, now)
        ledger.settle(task_key, task.delivery, Outcome.SUCCESS, BODY, 0.001)
        _commit(ledger, now)
    assert len(ledger.state.tasks) == TASKS // 4


def keyed_tasks() -> None:
    """Run tasks of a hundred concurrency keys, two at a time each."""
    ledger = _ledger()
    envelope = _envelope(ledger)
    chance = random.Random(SEED)
    for start in range(0, TASKS, BATCH):
        for _ in range(BATCH):
            constraints = TaskConstraints(f"customer-{chance.randrange(100)}", 2)
            ledger.submit(envelope, [BODY], None, NOW + start * 1e-4, constraints=constraints)
        _commit(ledger, NOW + start * 1e-4)
    assert _run(ledger, Holder("executor"), NOW + 1) == TASKS


def priorities() -> None:
    """Run tasks of ten priorities and five queues."""
    ledger = _ledger()
    chance = random.Random(SEED)
    for start in range(0, TASKS, BATCH):
        for _ in range(BATCH):
            name = f"queue-{chance.randrange(5)}"
            envelope = ledger.registry.envelope(name, "shop:send", TASK, priority=chance.randrange(10))
            ledger.submit(envelope, [BODY], None, NOW + start * 1e-4)
        _commit(ledger, NOW + start * 1e-4)
    assert _run(ledger, Holder("executor"), NOW + 1) == TASKS


def retries() -> None:
    """Let every task fail until it is a dead letter."""
    ledger = _ledger()
    envelope, holder, now = _envelope(ledger), Holder("executor"), NOW
    for _ in range(TASKS // 4 // BATCH):
        ledger.submit(envelope, [BODY] * BATCH, None, now)
        _commit(ledger, now)
    while _run(ledger, holder, now, Outcome.FAILURE):
        now += 60
        ledger.sweeper.sweep(now)
        _commit(ledger, now)
    assert len(ledger.state.dead) == TASKS // 4


def lost_workers() -> None:
    """Let executors die with the tasks that they hold."""
    ledger = _ledger()
    envelope = _envelope(ledger)
    _submit(ledger, envelope, NOW)
    for number in range(TASKS // BATCH):
        holder = Holder(f"executor-{number}")
        leased = ledger.leasing.lease(holder, [envelope.queue], _any_name, BATCH, NOW)
        ledger.lose(holder, "lost", "The worker has gone.", leased[0].task_key)
        _commit(ledger, NOW)
    assert envelope.queue.offers


def restart() -> Scenario:
    """Load stored tasks into the ledger of a new master."""
    former = _ledger()
    former.submit(_envelope(former), [BODY] * TASKS, None, NOW)
    heads = [(key, row[0]) for key, row in former.batch(NOW).items() if row is not None]

    def load() -> None:
        registry = Registry(DEFAULTS)
        ledger = Ledger(DEFAULTS, random.Random(SEED).random, 2 * FIRST_KEY, registry)
        loader = Loader(registry)
        loader.feed(heads)
        restore(ledger, loader, NOW)
        assert len(ledger.state.tasks) == TASKS

    return load


# -- the protocol ------------------------------------------------------------------------------


def submit_calls() -> None:
    """Write and read submits of single tasks, and of a batch of tasks that differ in their keys."""
    registry = Registry(DEFAULTS)
    envelope = write_envelope(SubmitEnvelope("mail", "shop:send"))
    keyed = [write_entry(0, 1, None, write_constraints(f"customer-{number}", 2)) for number in range(BATCH)]
    for number in range(1, CALLS + 1):
        entries = [write_entry(0, 1, None, None)] if number % 10 else keyed
        bodies = [BODY] * len(entries)
        frame = encode_call(BROKER, SUBMIT, (number, (envelope,), entries, bodies, 0.0))
        _, rows, read, _ = read_submit(registry, read_call(frame).args, NOW)
        assert len(rows) == len(read) == len(entries)


def exchange_calls() -> None:
    """Write and read exchanges that settle and want tasks, most of them a single one."""
    for number in range(CALLS):
        settled = [(FIRST_KEY + at, 1, Outcome.SUCCESS, BODY, 0.001, "") for at in range(1 if number % 10 else BATCH)]
        frame = encode_call(BROKER, EXCHANGE, (settled, BATCH, 1.0))
        rows, _, _ = read_exchange(read_call(frame).args)
        assert len(rows) == len(settled)


def lease_replies() -> Scenario:
    """Write and read the leased tasks of an exchange, and the ends of tasks that a client awaits."""
    ledger, owner = _ledger(), Owner()
    envelope = _envelope(ledger)
    ledger.submit(envelope, [BODY] * BATCH, owner, NOW)
    _commit(ledger, NOW)
    tasks = ledger.leasing.lease(Holder("executor"), [envelope.queue], _any_name, BATCH, NOW)

    def reply() -> None:
        for number in range(CALLS):
            some = tasks[:1] if number % 10 else tasks
            answer = decode_plain_reply(returned(write_lease_reply(some, {}, {}, {})))
            assert len(read_lease_reply(answer).rows) == len(some)

    return reply


def worker_calls() -> None:
    """Write and read the greeting and the heartbeats of workers."""
    worker = WorkerHello("default", "host-1", 17, 2, ("mail",), plain=True, tasks=True, labels=("gpu",))
    report = WorkerReport(1, 2, 100 << 20, 1 << 30, draining=False, released=[(FIRST_KEY, 1)])
    for number in range(CALLS // 2):
        hello = write_worker_hello(f"worker-{number}", f"session-{number}", worker)
        (info,) = read_call(encode_call(BROKER, HELLO, (hello,))).args
        assert read_hello(info).name == f"worker-{number}"
        assert read_worker_hello(info).slots == 2
        (written,) = read_call(encode_call(BROKER, HEARTBEAT, (write_report(report),))).args
        assert read_report(written).slots == 2


# -- the wire ----------------------------------------------------------------------------------


def frames() -> Scenario:
    """Cut a stream of small frames into calls, as it arrives in pieces of every size."""
    chance = random.Random(SEED)
    stream = b"".join(pack(encode_call(BROKER, EXCHANGE, ((), number, 1.0))) for number in range(4 * CALLS))
    pieces, start = [], 0
    while start < len(stream):
        size = chance.randrange(1, 400)
        pieces.append(stream[start : start + size])
        start += size

    def read() -> None:
        framer = Framer(FRAME_BYTES_MAX)
        assert sum(len(framer.feed(piece)) for piece in pieces) == 4 * CALLS

    return read


def plain_items() -> Scenario:
    """Read puts of standard-library programs, and write the replies that hand the items over."""
    chance = random.Random(SEED)
    sent = [pickle.dumps(("work", "put", ([number, "x" * chance.randrange(200)],), {}), 4) for number in range(CALLS)]

    def pass_on() -> None:
        for frame in sent:
            assert packed_item(item(read_call(frame)))

    return pass_on


def large_bodies() -> Scenario:
    """Read a submit with payloads that travel beside its pickle, in reads of 64 kB."""
    body, size = bytes(100_000), 64 << 10
    args = split_submit((1, (("mail", "shop:send"),), ((0, 8),), [body] * 8, 0.0))
    stream = b"".join(pack_call(BROKER, SUBMIT, args))

    def read() -> None:
        for _ in range(20):
            framer, taken, frame = Framer(FRAME_BYTES_MAX), 0, None
            framer.takes_split = True
            while frame is None:
                room = framer.room
                count = min(size, len(stream) - taken, size if room is None else len(room))
                if room is None:
                    framer.push(stream[taken : taken + count])
                else:
                    room[:count] = stream[taken : taken + count]
                    framer.received(count)
                taken += count
                frame = framer.pull()
            assert len(read_call(frame).args[3]) == 8

    return read


# -- the reference -----------------------------------------------------------------------------


class _Node:
    __slots__ = ("links", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.links: dict[str, int] = {}

    def join(self, other: _Node) -> int:
        """Link to another node, and return the number of the links."""
        self.links[f"node-{other.number}"] = self.number + other.number
        return len(self.links)


def reference() -> None:
    """Do what Python programs do, with nothing of distq: calls, attributes, dicts, lists, texts and pickles."""
    chance = random.Random(SEED)
    nodes = [_Node(number) for number in range(200)]
    total = 0
    for number in range(4_000):
        node = nodes[chance.randrange(200)]
        total += node.join(nodes[number % 200])
    rows = [(node.number, sorted(node.links.items(), key=lambda pair: pair[1])[:10]) for node in nodes]
    for _ in range(10):
        assert pickle.loads(pickle.dumps(rows, 5)) == rows
    assert total > 0


def _as_is(scenario: Scenario) -> Callable[[], Scenario]:
    return lambda: scenario


REFERENCE: Final = "reference"
SCENARIOS: Final[dict[str, Callable[[], Scenario]]] = {
    REFERENCE: _as_is(reference),
    "ledger: submits": _as_is(submits),
    "ledger: whole life of tasks": _as_is(whole_life),
    "ledger: single tasks": _as_is(single_tasks),
    "ledger: keyed tasks": _as_is(keyed_tasks),
    "ledger: priorities and queues": _as_is(priorities),
    "ledger: retries and dead letters": _as_is(retries),
    "ledger: lost workers": _as_is(lost_workers),
    "ledger: restart": restart,
    "protocol: submits": _as_is(submit_calls),
    "protocol: exchanges": _as_is(exchange_calls),
    "protocol: lease replies": lease_replies,
    "protocol: greetings and heartbeats": _as_is(worker_calls),
    "wire: frames": frames,
    "wire: plain items": plain_items,
    "wire: large bodies": large_bodies,
}
"""What prepares each scenario, by its name; the preparation is not counted."""


def main() -> None:
    """Run every scenario twice, and mark the second run."""
    gc.disable()  # a collection that begins one object sooner or later would be noise of several percent
    for prepare in SCENARIOS.values():
        scenario = prepare()
        scenario()
        gc.collect()
        os.getppid()
        scenario()
        os.getppid()


if __name__ == "__main__":
    main()
