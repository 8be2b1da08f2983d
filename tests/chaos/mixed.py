"""The mixed chaos test: `python -m tests.chaos.mixed SEED SECONDS`, or `make mixed`.

Clients submit tasks of every kind. Wild phases with the faults of `tests.chaos.run` alternate with calmer phases, in
which only workers and executors die and a queue is paused. No concurrency limit may be exceeded at any time: the test
reads from the traces of the tasks which of them ran at the same time.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.chaos.mixed_tasks import LEFT, traced
from tests.chaos.run import CLIENTS, Chaos, chaos
from tests.e2e.cluster import KEY, Cluster, Process
from tests.waiting import eventually

import distq
from distq.core.errors import DistqError
from distq.core.states import CANCELLED, DEAD, EXPIRED, STATE_NAMES, SUCCEEDED
from distq.core.task_ids import task_key_of

OF_A_CLIENT: Final = 60
"""Tasks that one client submits."""
PHASE_S: Final = 30.0
"""Seconds of each phase, calm or wild."""
BETWEEN_FAULTS_S: Final = 0.7
SCHEDULES: Final = "scheduled:1"
ENDS: Final = {
    "expiring": (SUCCEEDED, EXPIRED),
    "replaced": (SUCCEEDED, CANCELLED),
    "discarded": (CANCELLED,),
    "dies": (DEAD,),
    "stopped": (SUCCEEDED, CANCELLED),
}
"""The ends of each kind of task that does not always succeed."""
OUTCOMES: Final = {
    "expiring": ("ok", "TaskExpired"),
    "replaced": ("ok", "TaskCancelled"),
    "discarded": ("TaskCancelled",),
    "dies": ("ValueError",),
    "stopped": ("ok", "CancelledError", "TaskCancelled"),
}
"""The outcomes that clients may see of each kind, by the first word of the outcome."""


class Span(NamedTuple):
    """The time during which a task of a group ran."""

    began_at: float
    ended_at: float
    number: int


class Mixed(Chaos):
    """The run of one seed."""

    modules = ("tests.chaos.mixed_tasks",)
    client = "tests.chaos.mixed_client"
    workers_settings = ({}, {}, {"DISTQ_EXECUTOR": "thread", "DISTQ_EXECUTOR_TASKS": "8"})

    def __init__(self, grid: Cluster, folder: Path, seed: int, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(grid, folder, seed, sys.maxsize)

    def _master(self) -> Process:
        self.settings["DISTQ_QUEUE_LIMITS"] = "narrow: running=2"
        return super()._master()

    def break_gently(self) -> None:
        """Make one fault of a calm phase."""
        kinds: tuple[Callable[[], None], ...] = (
            self.kill_a_worker,
            self.kill_all_of_a_worker,
            self.kill_an_executor,
            self.end_a_worker,
            self.pause_a_queue,
        )
        self._break(self.dice.choice(kinds))

    def pause_a_queue(self) -> None:
        """Pause a queue for a while, as an operator does."""
        self._administer("pause")
        time.sleep(self.dice.random())  # the length of the fault
        self._administer("resume")

    def _administer(self, action: str) -> None:
        self._insist("admin", action, {"queue": "narrow"})

    def _insist(self, *call: object) -> None:
        """Repeat a call until a master answers."""

        def answered() -> bool:
            with suppress(DistqError):
                self._ask(*call)  # type: ignore[arg-type] # a method's name, and what it takes
                return True
            return False

        eventually(answered, f"an answer to {call}")

    # -- the run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Make faults for the given time, in alternating phases, and then let every task end."""
        with distq.Client(f"127.0.0.1:{self.grid.port}", KEY) as client:
            options = client.options(every=0.5, priority=7)
            options.schedule("scheduled", traced, 0, 0.05, SCHEDULES)
        end = time.monotonic() + self.seconds  # noqa: TID251 - real processes live in real time
        while (left_s := end - time.monotonic()) > 0:  # noqa: TID251 - as above
            self._phase(min(PHASE_S, left_s), self.break_gently)
            left_s = end - time.monotonic()  # noqa: TID251 - as above
            self._phase(min(PHASE_S, left_s), self.break_something)
            self._heal()
        self.tasks = self.submitted
        self._insist("admin", "schedule_pause", {"name": "scheduled"})
        super().run()

    def _phase(self, seconds: float, break_: Callable[[], None]) -> None:
        until = time.monotonic() + seconds  # noqa: TID251 - as above
        while time.monotonic() < until:  # noqa: TID251 - as above
            self.clients = [client for client in self.clients if client.poll() is None]
            while len(self.clients) < CLIENTS:
                self.tasks = self.submitted + OF_A_CLIENT
                self._client()
            break_()
            time.sleep(self.dice.random() * 2 * BETWEEN_FAULTS_S)  # the time between two faults

    def _heal(self) -> None:
        """Begin a calm phase: repair the network, and make sure that a master runs."""
        self._order("delay 0")
        self._order("flow")
        self._insist("stats", "overview")

    # -- the end -------------------------------------------------------------------------------

    def check(self) -> str:
        """Check what the run has left, and return the report. Raises AssertionError."""
        kinds, keys = self._accepted()
        ends = self._check_ends(keys, kinds)
        lost = self._lost()
        assert not lost, f"the tasks {sorted(lost)} have succeeded, and what they submitted is lost"
        results = self._check_outcomes(kinds)
        log = (self.folder / "clients.log").read_text()
        assert "has no outcome" not in log, log
        spans = self._spans()
        self._check_limits(spans)
        faults = Counter(kind for _, kind in self.faults)
        return (
            f"{len(keys):,} accepted of {self.submitted:,}, of {len(set(kinds.values()))} kinds: {dict(ends)}; "
            f"{results:,} results received.\n{len(spans)} limits held at every instant, by "
            f"{sum(map(len, spans.values())):,} runs.\n{len(self.faults)} faults: {dict(faults.most_common())}"
        )

    def _accepted(self) -> tuple[dict[int, str], dict[int, int]]:
        """Return the kind of each accepted task by its number, and its number by its key."""
        kinds: dict[int, str] = {}
        keys: dict[int, int] = {}
        for path in self.folder.glob("accepted-*"):
            for line in path.read_text().splitlines():
                number, ident, kind = line.split()
                kinds[int(number)] = kind
                keys[task_key_of(ident)] = int(number)
        return kinds, keys

    def _lost(self) -> set[int]:
        """Return the numbers of tasks that have succeeded and whose own submit has not run."""
        kinds, keys = self._accepted()
        keys = {key: number for key, number in keys.items() if kinds[number] == "leaves"}
        numbers = {keys[key] for key, state, *_ in self._ends(list(keys)) if state == SUCCEEDED}
        for path in self.folder.glob("runs-*"):
            if any(line.startswith(LEFT) for line in path.read_text().splitlines()):
                numbers.discard(int(path.name.rpartition("-")[2]))
        return numbers

    def _check_ends(self, keys: dict[int, int], kinds: dict[int, str]) -> Counter[str]:
        """Check that every accepted task has an end that its kind may have."""
        ends: Counter[str] = Counter()
        unknown = set(keys)
        for key, state, _, causes in self._ends(list(keys)):
            number = keys[key]
            unknown.discard(key)
            assert state in ENDS.get(kinds[number], (SUCCEEDED,)), (kinds[number], number, STATE_NAMES[state], causes)
            ends[STATE_NAMES[state]] += 1
        assert not unknown, f"{len(unknown)} accepted tasks have no terminal state"
        return ends

    def _check_outcomes(self, kinds: dict[int, str]) -> int:
        """Check that each result in the clients' notes is one that its kind may have, and count them."""
        results = 0
        for path in self.folder.glob("results-*"):
            for line in path.read_text().splitlines():
                number, _, text = line.partition(" ")
                kind = kinds.get(int(number))
                if kind is not None:
                    results += 1
                    assert text.split(":")[0] in OUTCOMES.get(kind, ("ok",)), (kind, line)
        return results

    def _spans(self) -> dict[str, list[Span]]:
        """Return when each task of each group ran, without runs that have no end: their length is unknown."""
        spans: defaultdict[str, list[Span]] = defaultdict(list)
        for path in self.folder.glob("runs-*"):
            began_at = math.nan
            for line in path.read_text().splitlines():
                event, number, at, *group = line.split()
                if event == "begin":
                    began_at = float(at)
                elif group:
                    spans[group[0]].append(Span(began_at, float(at), int(number)))
        return spans

    def _faults_before(self, at: float) -> list[str]:
        return [f"{at - since:.1f} s {kind}" for since, kind in self.faults if at - 10.0 <= since <= at]

    def _check_limits(self, spans: dict[str, list[Span]]) -> None:
        """Check that no group exceeded its limit; a unique key may have one live task, which may be delivered twice."""
        for group, found in spans.items():
            most = int(group.partition(":")[2])
            begins = [(one.began_at, 1, one.number) for one in found]
            ends = [(one.ended_at, -1, one.number) for one in found]
            running: Counter[int] = Counter()
            for at, step, number in sorted(begins + ends):
                running[number] += step
                running = +running  # leaves out tasks that do not run
                count = len(running) if group.startswith("u") else running.total()
                assert count <= most, f"{count} of {group} ran at {at}; before that: {self._faults_before(at)}"
        assert spans.keys() >= {SCHEDULES, "narrow:2"}


def main() -> None:
    """Run the seed for the number of seconds of the command line."""
    seed, seconds = int(sys.argv[1]), float(sys.argv[2])
    folder = Path(tempfile.mkdtemp(prefix="distq-mixed-"))
    print(f"seed {seed}, {seconds:.0f} s, traces and logs in {folder}")
    print(chaos(lambda grid, traces: Mixed(grid, traces, seed, seconds), folder / "run"))


if __name__ == "__main__":
    main()
