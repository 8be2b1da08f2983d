"""`distq bench`: measures a cluster's latency and throughput with tasks that do nothing, and names the limit."""

import json
import secrets
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from distq.cli.ask import PATIENCE_S, master, seconds
from distq.cli.early import raise_at_termination
from distq.cli.environment import settings_of_command
from distq.cli.options import json_object
from distq.cli.text import printable
from distq.core.errors import DistqError
from distq.core.plurals import counted
from distq.protocol.methods import ADMIN, BROKER, RUNNING, STATS
from distq.settings import Role, Settings
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq import Client, TaskFuture
    from distq.client.session_port import SessionPort
    from distq.net.dial import Connection

TASK: Final = "distq.demo.tasks:noop"
START_S: Final = 15.0
"""Maximum seconds until the first task has ended; a worker imports the task's module first."""
STALL_S: Final = 5.0
"""Seconds without the end of any later task until the benchmark gives up and says why."""
STALL_FACTOR: Final = 1.5
"""For a slow task: STALL_S is at least the duration of the first one, times this."""
DRAIN_S: Final = 5.0
"""Maximum seconds after the last submit in which the tasks in flight may end; the benchmark cancels the others."""
CLEAN_UP_S: Final = 1.0
"""Maximum seconds to reach the master for the removal of the tasks: after Ctrl-C, a user waits for it."""
IDS_PER_CALL: Final = 5_000
"""Maximum tasks that one request removes; more would make the master's answer slow."""
ROUND_TRIPS: Final = 50
LATENCIES: Final = 100
"""Tasks that are submitted one after the other for the latency."""
LATENCY_S: Final = 5.0
"""Maximum seconds of this part."""
POLL_S: Final = 0.1
"""Pause between two looks at the executors during the throughput."""
MEASURE_S_MAX: Final = 3600.0
IN_FLIGHT: Final = 2_000
"""Tasks of the benchmark that are in flight at the same time, for a cluster with few slots: no executor lacks tasks."""
IN_FLIGHT_PER_SLOT: Final = 20
"""Tasks in flight for each slot of a cluster with many slots."""
HIGH: Final = 0.75
"""Share of the time from which a part counts as the limit."""
FULL: Final = 0.95
"""Share of a machine's CPU time from which the machine counts as the limit."""
OF_THE_QUEUE: Final = ("Its queue ", "Tasks ")
"""Beginnings of the master's reasons that are a limit or a pause of the queue."""
_now = time.perf_counter


class CannotMeasure(DistqError):
    """The cluster does not run the tasks of the benchmark."""

    code = "CANNOT_MEASURE"
    hint = "`distq status` shows the workers and queues."


class Figures(NamedTuple):
    """What a benchmark has measured; durations in seconds, shares from 0 to 1."""

    task: str
    round_trip_s: float
    latency_p50_s: float
    latency_p95_s: float
    tasks: int
    duration_s: float
    tasks_per_s: float
    slots: int
    executors_busy: float
    commits: int
    commit_s: float
    """Mean duration of a commit."""
    committing: float
    """Share of the time in which the store committed."""
    master_cpu: float
    """CPU time of the master in each second; its loop has one thread."""
    client_cpu: float
    machine_cpu: float
    """Share of all CPU time of this client's machine that was not idle."""
    failed: int


@click.command("bench")
@click.argument("task", metavar="[MODULE:FUNCTION]", default=TASK)
@click.option(
    "--duration", metavar="DURATION", default="3s", show_default=True, help="Time in which the throughput is measured."
)
@click.option("--queue", metavar="QUEUE", help="Queue for workers that serve only some queues; a new one by default.")
@json_object
@click.pass_context
def command(context: click.Context, task: str, duration: str, queue: str | None, as_json: bool) -> int:
    """Measure the cluster with tasks that do nothing, or with a task without arguments, and say what limits it.

    The tasks have a queue of their own. At the end, and after Ctrl-C or SIGTERM, none of them remains.
    """
    measure_s = seconds(duration, "--duration")
    if not 0.0 < measure_s <= MEASURE_S_MAX:
        raise click.BadParameter(f"{duration!r} is not above 0 and up to {MEASURE_S_MAX:g} s.", param_hint="--duration")
    settings = settings_of_command(context, Role.CLIENT)
    from distq.client.client import Client

    wait_s = min(settings.connect_wait_s, STALL_S)
    client = Client(settings=replace(settings, connect_wait_s=wait_s), wait_at_exit=False)
    raise_at_termination()
    try:
        with master(settings, "bench") as connection:
            bench = Bench(client, connection, task, f"bench-{secrets.token_hex(4)}" if queue is None else queue)
            try:
                figures = bench.run(measure_s)
            finally:
                bench.clean_up(settings)
    finally:
        client.abandon()
    verdict = bench.queue_limit or limit_of(figures)
    click.echo(json.dumps({**figures._asdict(), "limit": verdict}) if as_json else report(figures, verdict))
    return 0


class Bench:
    """One measurement: its client, its operator's connection, its queue, and the tasks that it has submitted."""

    def __init__(self, client: "Client", connection: "Connection", task: str, queue: str) -> None:
        self._client = client
        self._connection = connection
        self._task = task
        self._queue = queue
        try:
            self._submitter = client.options(queue=queue, retries=0, result_ttl=60)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--queue") from error
        self._futures: set[TaskFuture[Any]] = set()
        """The tasks that have not succeeded: those that `clean_up` removes."""
        self._stall_s = STALL_S
        self.queue_limit = ""
        """The verdict if a limit or a pause of the queue held tasks back at the end of the measurement, else ''."""

    def run(self, measure_s: float) -> Figures:
        """Measure everything; raises CannotMeasure, and ConnectionLost soon after the master has ended or frozen."""
        self._first()
        round_trip_s = statistics.median(self._round_trips())
        latencies = sorted(self._latencies())
        return self._throughput(measure_s, round_trip_s, latencies)

    def clean_up(self, settings: Settings) -> None:
        """Cancel tasks that have not ended, and delete those that failed, by their ids; warn if that is not possible.

        It has a connection of its own: Ctrl-C closes the one whose call it interrupts.
        """
        from distq.client.client import sessions_at

        try:
            with master(settings, "bench", CLEAN_UP_S) as connection:
                self._client.flush(PATIENCE_S)  # a submit that has no id yet could not be cancelled
                for action, ids in self._remaining(sessions_at(settings.address[0])):
                    asked = {"ids": ids, "running": True} if action == "cancel" else {"ids": ids}
                    connection.call(BROKER, ADMIN, (action, asked), timeout_s=PATIENCE_S)
        except DistqError as error:
            click.echo(
                f"distq: Tasks of the benchmark may remain in the queue {printable(self._queue)}; `distq purge` "
                f"removes them: {error}",
                err=True,
            )

    def _remaining(self, sessions: Sequence["SessionPort"]) -> Iterable[tuple[str, list[str]]]:
        """Yield the actions that remove the tasks, each with at most IDS_PER_CALL ids."""
        # The session also has the task of a submit that Ctrl-C has interrupted.
        pending = [future.task_id for session in sessions for future in session.pending_futures()]
        open_ids = [task_id for task_id in pending if task_id]
        dead_ids = [
            future.task_id
            for future in self._futures
            if future.task_id and future.done() and not future.cancelled() and future.exception() is not None
        ]
        for action, ids in (("cancel", open_ids), ("dead_purge", dead_ids)):
            for first in range(0, len(ids), IDS_PER_CALL):
                yield action, ids[first : first + IDS_PER_CALL]

    def _submit(self) -> "TaskFuture[Any]":
        future: TaskFuture[Any] = self._submitter.submit_named(self._task, [])
        self._futures.add(future)
        return future

    def _first(self) -> None:
        """Run one task, so that the workers have imported its module."""
        began_at = _now()
        try:
            future = self._submit()
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="MODULE:FUNCTION") from error
        self._must_succeed(future, START_S)
        self._stall_s = max(STALL_S, STALL_FACTOR * (_now() - began_at))

    def _must_succeed(self, future: "TaskFuture[Any]", limit_s: float) -> None:
        """Wait for a task; raises CannotMeasure if it fails or does not end in time, and ConnectionLost."""
        until_at = _now() + limit_s
        while (has_failed := self._ended(future, until_at, limit_s)) is None:
            pass
        if has_failed:
            raise CannotMeasure(f"The task {printable(self._task)} fails: {printable(future.exception())}")

    def _ended(self, future: "TaskFuture[Any]", until_at: float, limit_s: float) -> bool | None:
        """Wait for POLL_S; return whether the task has failed, None if it has not ended; raises as `_must_succeed`."""
        try:
            error = future.exception(POLL_S)
        except TimeoutError:
            self._check(future, until_at, limit_s)
            return None
        except CancelledError:
            raise CannotMeasure("The tasks of the benchmark were cancelled.") from None
        if error is not None and future.task_id is None:
            raise CannotMeasure(f"The master refuses the tasks of the benchmark: {printable(error)}")
        return error is not None

    def _check(self, future: "TaskFuture[Any]", until_at: float, limit_s: float) -> None:
        """Ask the master why a task has not ended, which notices its end too; raises CannotMeasure after `until`."""
        reason = self._reason(future)
        if _now() > until_at:
            raise CannotMeasure(f"No task of the benchmark has ended for {limit_s:g} s. {printable(reason)}")

    def _reason(self, future: "TaskFuture[Any]") -> str:
        """Return why a task does not run, as `distq why` prints it."""
        if not future.task_id:
            self._live()
            return "The master has not accepted it."
        try:
            return str(self._admin("show", {"id": future.task_id})["why"])
        except RemoteRefusal as error:  # its result has expired, or another operator has removed it
            return str(error)

    def _round_trips(self) -> Iterable[float]:
        for _ in range(ROUND_TRIPS):
            began_at = _now()
            self._connection.call(BROKER, RUNNING, ([],), timeout_s=PATIENCE_S)
            yield _now() - began_at

    def _latencies(self) -> Iterable[float]:
        until_at = _now() + LATENCY_S
        for _ in range(LATENCIES):
            began_at = _now()
            self._must_succeed(self._submit(), self._stall_s)
            yield (ended_at := _now()) - began_at
            if ended_at > until_at:
                break

    def _throughput(self, measure_s: float, round_trip_s: float, latencies: list[float]) -> Figures:
        before, began_at, cpu_s, machine = self._counters(), _now(), time.process_time(), machine_ticks()
        count, failed, busy = self._keep_in_flight(
            began_at + measure_s, max(IN_FLIGHT, IN_FLIGHT_PER_SLOT * before["slots"])
        )
        duration_s, after, ended = _now() - began_at, self._counters(), machine_ticks()
        commits, commit_s = (after[field] - before[field] for field in ("commits", "commit_s"))
        ticks = ended[1] - machine[1]
        return Figures(
            task=self._task,
            round_trip_s=round_trip_s,
            latency_p50_s=latencies[len(latencies) // 2],
            latency_p95_s=latencies[min(int(len(latencies) * 0.95), len(latencies) - 1)],
            tasks=count,
            duration_s=duration_s,
            tasks_per_s=count / duration_s,
            slots=after["slots"],
            executors_busy=statistics.mean(busy or [0.0]),
            commits=commits,
            commit_s=commit_s / max(commits, 1),
            committing=commit_s / duration_s,
            master_cpu=(after["cpu_s"] - before["cpu_s"]) / duration_s,
            client_cpu=(time.process_time() - cpu_s) / duration_s,
            machine_cpu=(ended[0] - machine[0]) / ticks if ticks else 0.0,
            failed=failed,
        )

    def _keep_in_flight(self, until_at: float, most: int) -> tuple[int, int, list[float]]:
        """Keep tasks in flight until an instant; return the counts of ended tasks, of failures, and looks."""
        in_flight: deque[TaskFuture[Any]] = deque()
        count = failed = 0
        busy: list[float] = []
        looked_at, ended_at = 0.0, _now()
        while _now() < until_at or (in_flight and _now() < until_at + DRAIN_S):
            while len(in_flight) < most and _now() < until_at:
                in_flight.append(self._submit())
            if _now() >= looked_at + POLL_S:
                totals, looked_at = self._live(), _now()
                busy.append(totals["busy"] / max(totals["slots"], 1))
                if in_flight and looked_at > until_at:
                    self._note_queue_limit(in_flight[-1])
            has_failed = self._ended(in_flight[0], ended_at + self._stall_s, self._stall_s)
            if has_failed is None:
                continue
            future, ended_at = in_flight.popleft(), _now()
            count += 1
            failed += has_failed
            if not has_failed:
                self._futures.discard(future)
        if not in_flight:
            self.queue_limit = ""
        return count, failed, busy

    def _note_queue_limit(self, newest: "TaskFuture[Any]") -> None:
        """Note the limit of the queue that holds back the newest task; a rate holds it back most of the time."""
        reason = self._reason(newest)
        if reason.startswith(OF_THE_QUEUE):
            self.queue_limit = f"A limit of the queue limits the throughput. {printable(reason)}"

    def _counters(self) -> dict[str, Any]:
        """Return the counters of which the throughput takes the differences."""
        overview: Any = self._connection.call(BROKER, STATS, ("overview",), timeout_s=PATIENCE_S)
        totals = self._live()
        commits = overview["commits"]
        return {
            "slots": totals["slots"],
            "cpu_s": totals["cpu_s"],
            "commits": commits["count"],
            "commit_s": commits["sum_s"],
        }

    def _live(self) -> dict[str, Any]:
        totals: dict[str, Any] = self._admin("live", {"view": "workers", "limit": 0})["totals"]
        return totals

    def _admin(self, what: str, asked: dict[str, Any]) -> Any:
        return self._connection.call(BROKER, ADMIN, (what, asked), timeout_s=PATIENCE_S)


def machine_ticks() -> tuple[int, int]:
    """Return the CPU time of this machine since its start: used, and in all; both 0 where /proc does not say."""
    try:
        times = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return 0, 0
    return sum(times) - times[3] - times[4], sum(times)  # the fourth and fifth are idle


def limit_of(figures: Figures) -> str:
    """Say what limits the throughput, and what raises it."""
    if figures.master_cpu >= HIGH:
        return (
            "The master's CPU limits the throughput: it uses one core. A faster core, or fewer and larger tasks help."
        )
    if figures.client_cpu >= HIGH:
        return "This client's CPU limits the throughput: several clients together may submit more."
    if figures.machine_cpu >= FULL:
        return (
            "The CPU of this machine limits the throughput: none of its cores is idle. Spread the parts over machines."
        )
    if figures.committing >= HIGH:
        return "The store's commits limit the throughput: a faster disk for DISTQ_STORE raises it."
    if figures.executors_busy >= HIGH:
        return f"The executors limit the throughput: no slot is free, of {figures.slots:,}. Add slots or workers."
    return (
        "Round trips limit the throughput: neither CPU, store nor executors are busy. More slots, or workers closer to "
        "the master, raise it."
    )


def report(figures: Figures, verdict: str) -> str:
    """Return the figures as lines for a terminal."""
    rest_s = max(figures.latency_p50_s - figures.round_trip_s - figures.commit_s, 0.0)
    tasks, commits = counted(figures.tasks, "task"), counted(figures.commits, "commit")
    lines = [
        ("task", f"{printable(figures.task)} on {counted(figures.slots, 'slot')}"),
        ("round trip", f"{_ms(figures.round_trip_s)} between this client and the master"),
        (
            "latency",
            f"{_ms(figures.latency_p50_s)} from submit to result (95 of 100 within {_ms(figures.latency_p95_s)})",
        ),
        ("", f"of it: round trip {_ms(figures.round_trip_s)}, commit {_ms(figures.commit_s)}, rest {_ms(rest_s)}"),
        (
            "throughput",
            f"{figures.tasks_per_s:,.0f} tasks/s ({tasks} in {figures.duration_s:.2f} s)",
        ),
        ("executors", f"{figures.executors_busy:.0%} of the slots busy"),
        (
            "store",
            f"{commits} of {_ms(figures.commit_s)}, {figures.committing:.0%} of the time",
        ),
        ("master", f"{figures.master_cpu:.0%} of a core"),
        ("client", f"{figures.client_cpu:.0%} of a core; all programs use {figures.machine_cpu:.0%} of its machine"),
        *([("failed", f"{counted(figures.failed, 'task')} failed")] if figures.failed else []),
        ("limit", verdict),
    ]
    return "\n".join(f"{field:<12}{text}" for field, text in lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
