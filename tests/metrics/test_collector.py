"""A scrape returns the counts of the ledger, in a format that Prometheus reads."""

import itertools
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.core.build import new_ledger, submitted
from tests.metrics.fakes import FakeMaster, FakeWorker, worker_row
from tests.tidy.tree import ROOT

from distq.core.counters import BUCKETS_S, COUNTED_MAX, OTHER, OTHERS_MAX, Histogram, TaskCounters
from distq.core.option_values import TASK
from distq.core.outcome import OUTCOME_NAMES
from distq.core.queue import LISTS_PER_TIDY, Queue
from distq.core.ready_list import PriorityList
from distq.core.registry import Defaults, Registry
from distq.core.states import DEAD, LEASED, READY, SUCCEEDED
from distq.core.task import Task
from distq.metrics.catalogue import METRICS
from distq.metrics.docs import reference
from distq.metrics.families import SLICE_SERIES
from distq.metrics.page import master_slices, worker_slices
from distq.metrics.view import MasterMetrics, WorkerMetrics
from distq.metrics.worker import CAUSES
from distq.web.api import queues_slices
from distq.web.autoscale import autoscale
from distq.worker.supervisor.exits import KINDS


def busy_master() -> FakeMaster:
    """Make a master each of whose counters has a value."""
    queue: Queue[Task] = Queue("work", capacity=1000)
    queue.counts[READY], queue.counts[LEASED], queue.counts[DEAD], queue.counts[SUCCEEDED] = 3, 2, 1, 7
    counters = TaskCounters()
    counters.submitted = 13
    counters.completed["success"] = 7
    counters.attempts["failure"] = 4
    counters.retries["failure"] = 3
    counters.count(counters.rejected, "full")
    counters.count(counters.redeliveries, "lease")
    counters.count(counters.late, "success")
    for seconds in (0.002, 0.002, 5000.0):
        counters.run.observe(seconds)
    master = FakeMaster(auth_failures=2, unknown_settles=5, connections_refused=6)
    master.schedules = {"active": 3, "paused": 1, "faulty": 2}
    master.internal_errors = {"decide": 0, "answer": 7}
    master.clock_steps, master.clock_stepped_s = 2, -3600.5
    master.undelivered_bytes, master.client_sessions = 9_000, 8
    master.leases_expired = {"gpu": 4}
    master.key_uses = {("web", "current"): 6, ("web", "old"): 0}
    master.all_key_connections = {("web", "current"): 2, ("web", "old"): 1}
    master.forbidden_calls = {"web": 3}
    master.scheduled_runs = {"submitted": 12, "skipped": 2}
    master.all_queues = [queue]
    master.all_counters = {("work", "plain"): counters}
    master.all_workers = [worker_row("w1"), worker_row("w2", busy=4, draining=True), worker_row("g", pool="gpu")]
    master.all_connections = {"worker": 3, "unproved": 1}
    master.loop_lag.observe(0.01)
    return master


def scrape(view: MasterMetrics) -> dict[str, Metric]:
    """Return the master's metrics as prometheus-client's own parser reads them, by metric name."""
    text = "".join(master_slices(view)())
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float | None:
    """Return the value of one sample, None if it does not exist."""
    found = [
        each.value
        for family in families.values()
        for each in family.samples
        if each.name == sample and each.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_counts_of_the_ledger_are_samples() -> None:
    """Each counter has the name and labels of the catalogue."""
    families = scrape(busy_master())
    expected: list[tuple[str, dict[str, str], float]] = [
        ("distq_queue_tasks", {"queue": "work", "state": "ready"}, 3),
        ("distq_queue_tasks", {"queue": "work", "state": "leased"}, 2),
        ("distq_queue_tasks", {"queue": "work", "state": "delayed"}, 0),
        ("distq_queue_capacity_tasks", {"queue": "work"}, 1000),
        ("distq_dead_letter_tasks", {"queue": "work"}, 1),
        ("distq_results_stored", {"queue": "work"}, 7),
        ("distq_tasks_submitted_total", {"queue": "work", "task": "plain"}, 13),
        ("distq_tasks_completed_total", {"queue": "work", "task": "plain", "outcome": "success"}, 7),
        ("distq_tasks_completed_total", {"queue": "work", "task": "plain", "outcome": "dead"}, 0),
        ("distq_task_attempts_total", {"queue": "work", "task": "plain", "outcome": "failure"}, 4),
        ("distq_tasks_rejected_total", {"queue": "work", "reason": "full"}, 1),
        ("distq_tasks_rejected_total", {"queue": "work", "reason": "payload"}, 0),
        ("distq_task_retries_total", {"queue": "work", "reason": "failure"}, 3),
        ("distq_task_redeliveries_total", {"queue": "work", "reason": "executor"}, 0),
        ("distq_leases_expired_total", {"pool": "gpu"}, 4),
        ("distq_leases_expired_total", {"pool": "default"}, 0),
        ("distq_task_late_settles_total", {"queue": "work", "outcome": "success"}, 1),
        ("distq_unknown_settles_total", {}, 5),
        ("distq_schedules", {"state": "paused"}, 1),
        ("distq_schedules", {"state": "faulty"}, 2),
        ("distq_scheduled_runs_total", {"outcome": "submitted"}, 12),
        ("distq_internal_errors_total", {"place": "decide"}, 0),
        ("distq_internal_errors_total", {"place": "answer"}, 7),
        ("distq_clock_steps_total", {}, 2),
        ("distq_undelivered_results_bytes", {}, 9_000),
        ("distq_client_sessions", {}, 8),
        ("distq_clock_stepped_seconds", {}, -3600.5),
        ("distq_auth_failures_total", {}, 2),
        ("distq_key_uses_total", {"key": "web", "age": "old"}, 0),
        ("distq_key_connections", {"key": "web", "age": "old"}, 1),
        ("distq_forbidden_calls_total", {"key": "web"}, 3),
        ("distq_connections_turned_down_total", {}, 6),
        ("distq_connections", {"role": "unproved"}, 1),
        ("distq_workers", {"pool": "default", "state": "active"}, 1),
        ("distq_workers", {"pool": "default", "state": "draining"}, 1),
        ("distq_worker_slots", {"pool": "default", "state": "busy"}, 5),
        ("distq_worker_slots", {"pool": "gpu", "state": "free"}, 3),
        ("distq_event_loop_lag_seconds_count", {}, 1),
    ]
    assert [(name, labels, value(families, name, **labels)) for name, labels, _ in expected] == expected


def test_the_stores_numbers_are_exposed_where_it_has_them() -> None:
    """A file has size, free bytes and free pages; a store without a file has none of them, and is ready."""
    master = busy_master()
    families = scrape(master)
    registry = ("distq_store_bytes", "distq_store_volume_free_bytes", "distq_store_free_pages")
    assert [value(families, name) for name in registry] == [None] * 3
    assert value(families, "distq_store_ready") == 1
    master.store_health = {"bytes": 4000, "wal_bytes": 96, "free_bytes": 10**9, "free_pages": 7, "refusing": ""}
    master.store_commits.observe(0.002)
    master.store_refusals = 3
    families = scrape(master)
    assert [value(families, name) for name in registry] == [4096, 10**9, 7]
    assert value(families, "distq_store_commit_seconds_count") == 1
    assert value(families, "distq_store_refusals_total") == 3
    for key, present in (("refusing", "no room"), ("hangs", True), ("broken", "no sync")):
        master.store_health[key], before = present, master.store_health.get(key, "")
        assert value(scrape(master), "distq_store_ready") == 0
        master.store_health[key] = before


def every_number() -> Iterator[int]:
    """Yield numbers that can be recognised in the output: no two are equal, and none is a bucket's bound."""
    return itertools.count(70_001)


def test_every_counter_of_a_tally_is_exposed() -> None:
    """The output has each counter of a task: a new counter without a metric fails here."""
    counters, numbers, counted = TaskCounters(), every_number(), set()
    keys = {
        "rejected": ("full", "kept", "payload", "unique"),
        "redeliveries": ("executor", "connection", "lease"),
        "late": OUTCOME_NAMES,
    }
    for slot in set(TaskCounters.__slots__) - {"envelopes"}:  # by which a tally knows that it is still needed
        table = getattr(counters, slot)
        if isinstance(table, Histogram):
            table.sum_s = next(numbers)
            counted.add(table.sum_s)
        elif isinstance(table, dict):
            table.update({key: next(numbers) for key in [*table, *keys.get(slot, ())]})
            counted.update(table.values())
        else:
            setattr(counters, slot, number := next(numbers))
            counted.add(number)
    master = FakeMaster(all_counters={("work", "add"): counters})
    exposed = {sample.value for family in scrape(master).values() for sample in family.samples}
    assert counted <= exposed


def test_the_series_of_rare_events_exist_with_the_value_zero() -> None:
    """`rate()` shows the first retry, loss, late answer or timeout only in a series that existed before."""
    families = scrape(FakeMaster(all_counters={("work", "add"): TaskCounters()}))
    rare_series: list[tuple[str, str, tuple[str, ...]]] = [
        ("distq_task_attempts_total", "outcome", ("success", "failure", "timeout", "lost", "returned", "snoozed")),
        ("distq_tasks_completed_total", "outcome", ("success", "dead", "cancelled", "expired")),
        ("distq_tasks_rejected_total", "reason", ("full", "kept", "payload", "unique")),
        ("distq_task_redeliveries_total", "reason", ("executor", "connection", "lease")),
        ("distq_task_retries_total", "reason", ("failure", "timeout")),
        ("distq_task_late_settles_total", "outcome", ("success", "failure", "release")),
    ]
    for name, label, keys in rare_series:
        samples = families[name.removesuffix("_total")].samples
        assert {(sample.labels[label], sample.value) for sample in samples} == {(key, 0) for key in keys}


def test_a_workers_causes_are_those_that_its_supervisor_finds() -> None:
    """Both use one set of words, from the wait status to the label."""
    assert set(KINDS.values()) == set(CAUSES)


def test_histograms_are_cumulative_and_have_a_last_bucket() -> None:
    """A value above every bound is in +Inf only."""
    families = scrape(busy_master())
    labels = {"queue": "work", "task": "plain"}
    assert value(families, "distq_task_run_seconds_bucket", le="0.001", **labels) == 0
    assert value(families, "distq_task_run_seconds_bucket", le="0.0025", **labels) == 2
    assert value(families, "distq_task_run_seconds_bucket", le="3600.0", **labels) == 2
    assert value(families, "distq_task_run_seconds_bucket", le="+Inf", **labels) == 3
    assert value(families, "distq_task_run_seconds_count", **labels) == 3
    assert value(families, "distq_task_run_seconds_sum", **labels) == pytest.approx(5000.004)
    assert len(families["distq_task_run_seconds"].samples) == len(BUCKETS_S) + 3


def test_the_oldest_task_is_a_timestamp_only_while_there_is_one() -> None:
    """An empty queue has no age."""
    name = "distq_queue_oldest_task_enqueued_timestamp_seconds"
    assert value(scrape(busy_master()), name, queue="work") is None
    ledger = new_ledger()
    submitted(ledger, now=5.0)
    assert value(scrape(FakeMaster(all_queues=list(ledger.registry.queues.values()))), name, queue="q") == 5.0


def test_the_exposed_metrics_and_the_catalogue_are_equal() -> None:
    """Names, kinds, labels and help agree; master and worker each have all their metrics."""
    texts = {"master": "".join(master_slices(busy_master())()), "worker": "".join(worker_slices(FakeWorker())())}
    for place, text in texts.items():
        families = {
            family.name + ("_total" if family.type == "counter" else ""): family
            for family in text_string_to_metric_families(text)
            if family.name.startswith("distq_")
        }
        listed = {metric.name: metric for metric in METRICS if metric.place in {place, "both"}}
        assert set(families) == set(listed)
        for name, family in families.items():
            assert (family.type, family.documentation) == (listed[name].kind, listed[name].help)
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(listed[name].labels)


def test_a_worker_has_series_for_its_executors() -> None:
    """Every cause exists from the start, so that `rate()` shows the first exit."""
    worker: WorkerMetrics = FakeWorker(pool="gpu", exits={"oom": 2}, tasks={"success": 9})
    text = "".join(worker_slices(worker)())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert value(families, "distq_worker_executor_exits_total", pool="gpu", cause="oom") == 2
    assert value(families, "distq_worker_executor_exits_total", pool="gpu", cause="signal") == 0
    assert value(families, "distq_worker_tasks_total", pool="gpu", outcome="success") == 9
    assert value(families, "distq_worker_executors", pool="gpu", state="free") == 3
    assert value(families, "distq_worker_connected", pool="gpu") == 1
    assert "process_resident_memory_bytes" in families


NAMES = 10_000
WORKERS = 500


def test_ten_thousand_task_names_and_five_hundred_workers_are_a_bounded_number_of_series() -> None:
    """A client that invents names cannot fill Prometheus, and every task is counted; workers have no series."""
    registry = Registry(Defaults())
    for number in range(NAMES):
        registry.envelope(f"queue-{number % 10}", f"task-{number}", TASK).counters.submitted += 1
    master = FakeMaster(all_counters=registry.counters, all_queues=list(registry.queues.values()))
    master.all_workers = [worker_row(f"worker-{number}", pool=f"p{number % 3}") for number in range(WORKERS)]
    families = scrape(master)
    samples = families["distq_tasks_submitted"].samples
    assert len(samples) == COUNTED_MAX + 10
    assert sum(sample.value for sample in samples) == NAMES
    assert value(families, "distq_tasks_submitted_total", queue="queue-3", task=OTHER) == (NAMES - COUNTED_MAX) / 10
    assert sum(len(family.samples) for family in families.values()) < 80 * (COUNTED_MAX + 10)
    labels = {text for family in families.values() for sample in family.samples for text in sample.labels.values()}
    assert not [text for text in labels if text.startswith("worker-")]


QUEUES = 3_000


def test_three_thousand_queues_of_one_task_are_a_bounded_number_of_series() -> None:
    """With a queue for each tenant, pairs of queue and task are bounded, not each label; every queue has its gauges."""
    registry = Registry(Defaults())
    for number in range(QUEUES):
        registry.envelope(f"tenant-{number}", "job", TASK).counters.submitted += 1
    families = scrape(FakeMaster(all_counters=registry.counters, all_queues=list(registry.queues.values())))
    samples = families["distq_tasks_submitted"].samples
    assert len(samples) == COUNTED_MAX + OTHERS_MAX + 1
    assert sum(sample.value for sample in samples) == QUEUES
    assert value(families, "distq_tasks_submitted_total", queue=OTHER, task=OTHER) == QUEUES - COUNTED_MAX - OTHERS_MAX
    gauges = {"distq_queue_tasks": 4 * QUEUES, "distq_dead_letter_tasks": QUEUES}
    assert {name: len(families[name].samples) for name in gauges} == gauges
    by_pair = [name for name, family in families.items() if any("task" in one.labels for one in family.samples)]
    assert sum(len(families[name].samples) for name in by_pair) < 80 * (COUNTED_MAX + OTHERS_MAX + 1)


def test_no_slice_of_a_page_is_long() -> None:
    """Other requests run between two slices, so each slice has a maximum of lines, also with 10,000 queues."""
    registry = Registry(Defaults())
    for number in range(10_000):
        registry.envelope(f"tenant-{number}", f"job-{number % 20}", TASK)
    master = FakeMaster(all_counters=registry.counters, all_queues=list(registry.queues.values()))
    lines = [piece.count("\n") for piece in master_slices(master)()]
    assert max(lines) <= SLICE_SERIES + 2
    assert sum(lines) > 80_000


def test_no_slice_of_a_page_examines_many_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20,000 names in one queue, or 40 in each of 500, the ready tasks are examined in parts."""
    looked_at, head = [0], PriorityList.first

    def counted(ready_list: PriorityList[Task]) -> Task | None:
        looked_at[0] += 1
        return head(ready_list)

    ledger = new_ledger()
    for number in range(20_000):
        submitted(ledger, 1, name=f"job-{number}")
        ledger.submit(ledger.registry.envelope(f"q-{number // 40}", f"job-{number}", TASK), [b"x"], None, 0.0)
    ledger.apply(0.0)
    master = FakeMaster(all_queues=list(ledger.registry.queues.values()))
    monkeypatch.setattr(PriorityList, "first", counted)
    for slices in (master_slices(master), lambda: queues_slices(master), lambda: autoscale(master, [])):
        before, whole = looked_at[0], looked_at[0]
        for _ in slices():
            assert looked_at[0] - before <= 2 * LISTS_PER_TIDY
            before = looked_at[0]
        assert looked_at[0] - whole >= 20_000


def test_the_values_of_one_family_are_of_one_instant() -> None:
    """Changes between two slices never show a task in two states, or a bucket above the total count."""
    registry = Registry(Defaults())
    for number in range(1_000):
        envelope = registry.envelope(f"tenant-{number}", "job", TASK)
        envelope.queue.counts[READY] = 1
        envelope.counters.run.observe(0.1)
    queues = list(registry.queues.values())
    text = []
    for piece in master_slices(FakeMaster(all_counters=registry.counters, all_queues=queues))():
        text.append(piece)
        for queue in queues:
            queue.counts[READY], queue.counts[LEASED] = queue.counts[LEASED], queue.counts[READY]
        for counters in registry.counters.values():
            counters.run.observe(0.1)
    families = {family.name: family for family in text_string_to_metric_families("".join(text))}
    assert sum(sample.value for sample in families["distq_queue_tasks"].samples) == len(queues)
    states = {sample.labels["state"] for sample in families["distq_queue_tasks"].samples if sample.value}
    assert len(states) == 1
    for name, more in (("bucket", {"le": "1.0"}), ("count", {})):
        runs = [one for one in families["distq_task_run_seconds"].samples if one.name.endswith(name)]
        same = [one.value for one in runs if more.items() <= one.labels.items() and one.labels["queue"] != OTHER]
        assert len(same) == COUNTED_MAX + OTHERS_MAX
        assert len(set(same)) == 1


def test_a_task_that_is_really_called_other_is_counted_with_the_others() -> None:
    """Two series never have the same labels."""
    registry = Registry(Defaults())
    tallies = [
        registry.envelope("work", name, TASK).counters for name in (OTHER, *map(str, range(COUNTED_MAX)), "late")
    ]
    assert tallies[0] is tallies[-1]
    assert len(registry.counters) == COUNTED_MAX


def test_a_page_equals_the_text_of_prometheus_client() -> None:
    """Its parser reads escapes, buckets and numbers unchanged; a percent sign is not a format."""
    counters, text = TaskCounters(), 'a "b"\\\n%d {c} 100%'
    counters.submitted = 2**60
    counters.run.observe(0.1)
    families = scrape(FakeMaster(all_counters={("q", text): counters}))
    assert value(families, "distq_tasks_submitted_total", queue="q", task=text) == 2**60
    assert value(families, "distq_task_run_seconds_sum", queue="q", task=text) == 0.1
    assert value(families, "distq_task_run_seconds_bucket", queue="q", task=text, le="0.1") == 1


def test_no_name_can_break_a_scrape() -> None:
    """Quotes, line ends and lone surrogates in names come from peers."""
    master = FakeMaster()
    registry = ['say "hi"\n{}\\', "\ud800", "größe"]
    master.all_counters = {("work", name): TaskCounters() for name in registry}
    master.all_queues = [Queue("\udfff", 1)]
    labels = {sample.labels["task"] for sample in scrape(master)["distq_tasks_submitted"].samples}
    assert labels == {registry[0], "?", registry[2]}


@pytest.mark.promtool
def test_promtool_finds_nothing_to_say() -> None:
    """Names, units and help follow the conventions."""
    for slices in (master_slices(busy_master()), worker_slices(FakeWorker())):
        text = "".join(slices()).encode()
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert (done.returncode, done.stderr.decode(), done.stdout.decode()) == (0, "", "")


def test_the_reference_is_up_to_date() -> None:
    """`python -m distq.metrics` would change nothing."""
    assert (ROOT / "docs/reference/metrics.md").read_text() == reference()
