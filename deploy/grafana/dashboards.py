"""Writes Grafana's dashboards: `python deploy/grafana/dashboards.py`, into helm/files/dashboards.

They are written here once, as code, and the files are committed; a test fails when the two differ. The files lie in
the chart because a chart cannot read outside of itself; Compose mounts them from there.
"""
# ruff: noqa: INP001 - a program, not a package

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

FOLDER = Path(__file__).resolve().parents[2] / "helm" / "files" / "dashboards"

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
QUANTILES = ("0.5", "0.95", "0.99")

OF_QUEUE = 'namespace=~"$namespace", queue=~"$queue"'
OF_POOL = 'namespace=~"$namespace", pool=~"$pool"'
OF_MASTER = 'namespace=~"$namespace"'
RANGE = "[$__rate_interval]"

COMPLETED = f"sum(rate(distq_tasks_completed_total{{{OF_QUEUE}}}{RANGE}))"
SUBMITTED = f"sum(rate(distq_tasks_submitted_total{{{OF_QUEUE}}}{RANGE}))"
SUCCEEDED = f'sum(rate(distq_tasks_completed_total{{{OF_QUEUE}, outcome="success"}}{RANGE}))'


class Query(NamedTuple):
    """One expression, and how its series are called in the legend."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel, before it is built; warn and critical are thresholds in the panel's unit."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    warn: float | None = None
    critical: float | None = None
    stacked: bool = False
    most: float | None = None


def quantiles(metric: str) -> list[Query]:
    """A histogram's p50, p95 and p99."""
    rate = f"sum by (le) (rate({metric}_bucket{{{OF_QUEUE}}}{RANGE}))"
    return [Query(f"histogram_quantile({q}, {rate})", f"p{float(q) * 100:g}") for q in QUANTILES]


SERVICE_LEVEL = [
    Panel(
        "Success ratio",
        "Of the tasks that ended, how many succeeded. The others are dead letters, cancelled or expired.",
        "percentunit",
        [Query(f"{SUCCEEDED} / {COMPLETED}", "success")],
        most=1,
    ),
    Panel(
        "Wait, p95",
        "From ready to leased: 95 % of tasks waited less than this for a free slot.",
        "s",
        [quantiles("distq_task_wait_seconds")[1]],
        warn=60,
        critical=600,
    ),
    Panel(
        "Oldest ready task",
        "How long the task at the head of its queue has been there. Grows when nobody takes from a queue.",
        "s",
        [Query(f"max(time() - distq_queue_oldest_task_enqueued_timestamp_seconds{{{OF_QUEUE}}}) or vector(0)", "age")],
        warn=60,
        critical=600,
    ),
    Panel(
        "Time to drain",
        "When the ready tasks will be done, if tasks come and go as now. Very large: more come than go.",
        "s",
        [
            Query(
                f'sum(distq_queue_tasks{{{OF_QUEUE}, state="ready"}}) / clamp_min({COMPLETED} - {SUBMITTED}, 0.001)',
                "to drain",
            )
        ],
        warn=600,
        critical=3600,
    ),
]

FLOW = [
    Panel(
        "Tasks by state",
        "Ready: waiting for a slot. Delayed: waiting for their time. Leased: with a worker.",
        "short",
        [Query(f"sum by (state) (distq_queue_tasks{{{OF_QUEUE}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "In and out",
        "Tasks submitted and tasks that ended, in any way. In above out for long: add workers.",
        "ops",
        [Query(SUBMITTED, "submitted"), Query(COMPLETED, "completed")],
    ),
    Panel(
        "Ready tasks by queue",
        "Which queue is behind.",
        "short",
        [Query(f'sum by (queue) (distq_queue_tasks{{{OF_QUEUE}, state="ready"}})', "{{queue}}")],
    ),
]

TASKS = [
    Panel("Wait", "From ready to leased.", "s", quantiles("distq_task_wait_seconds")),
    Panel("Run", "How long the attempt ran that succeeded.", "s", quantiles("distq_task_run_seconds")),
    Panel(
        "Attempts by outcome",
        "How runs ended. A failure is tried again while it has retries left; lost means that the executor died.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_task_attempts_total{{{OF_QUEUE}}}{RANGE}))", "{{outcome}}")],
        stacked=True,
    ),
    Panel(
        "Retries and redeliveries",
        "Tasks that run again: after a failure, or because executor, connection or lease ended while they ran.",
        "ops",
        [
            Query(f"sum(rate(distq_task_retries_total{{{OF_QUEUE}}}{RANGE}))", "retry"),
            Query(f"sum by (reason) (rate(distq_task_redeliveries_total{{{OF_QUEUE}}}{RANGE}))", "lost: {{reason}}"),
        ],
    ),
    Panel(
        "Dead letters",
        "Tasks that will not be tried again, kept with their cause.",
        "short",
        [Query(f"sum by (queue) (distq_dead_letter_tasks{{{OF_QUEUE}}})", "{{queue}}")],
        warn=1,
    ),
]

WORKERS = [
    Panel(
        "Workers",
        "Connected workers; one that drains takes no more tasks.",
        "short",
        [Query(f"sum by (pool, state) (distq_workers{{{OF_POOL}}})", "{{pool}} {{state}}")],
        stacked=True,
    ),
    Panel(
        "Slots",
        "How many tasks can run at the same time, and how many do.",
        "short",
        [Query(f"sum by (state) (distq_worker_slots{{{OF_POOL}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "Saturation",
        "Busy slots of all slots. At 100 % tasks wait.",
        "percentunit",
        [
            Query(
                f'sum by (pool) (distq_worker_slots{{{OF_POOL}, state="busy"}})'
                f" / sum by (pool) (distq_worker_slots{{{OF_POOL}}})",
                "{{pool}}",
            )
        ],
        warn=0.9,
        most=1,
    ),
    Panel(
        "Executors that ended",
        "By cause: out of memory, a signal, a time limit, a crash, or recycled as asked.",
        "ops",
        [Query(f"sum by (cause) (rate(distq_worker_executor_exits_total{{{OF_POOL}}}{RANGE}))", "{{cause}}")],
    ),
]

MASTER = [
    Panel(
        "Event loop lag, p99",
        "How late the master's event loop is. Above a tenth of a second it has too much to do.",
        "s",
        [
            Query(
                "histogram_quantile(0.99, sum by (le) "
                f"(rate(distq_event_loop_lag_seconds_bucket{{{OF_MASTER}}}{RANGE})))",
                "p99",
            )
        ],
        warn=0.1,
    ),
    Panel(
        "Connections",
        "Open connections by who holds them; unproved ones have not shown the key yet.",
        "short",
        [Query(f"sum by (role) (distq_connections{{{OF_MASTER}}})", "{{role}}")],
        stacked=True,
    ),
    Panel(
        "Authentication failures",
        "Peers that did not have the key.",
        "ops",
        [Query(f"sum(rate(distq_auth_failures_total{{{OF_MASTER}}}{RANGE}))", "failures")],
    ),
]


def target(query: Query, number: int) -> prometheus.Dataquery:
    """A query as Grafana asks it."""
    ref = "ABCDEFGH"[number]
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).range().ref_id(ref).datasource(SOURCE)


def thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Green, and from `warn` on amber, from `critical` on red."""
    steps = [Threshold(value=None, color="green")]
    steps += [Threshold(value=panel.warn, color="orange")] if panel.warn is not None else []
    steps += [Threshold(value=panel.critical, color="red")] if panel.critical is not None else []
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def fill(builder: Any, panel: Panel, width: int, height: int) -> None:
    """Gives a builder of any kind what all panels have."""
    builder.title(panel.title).description(panel.description).datasource(SOURCE).unit(panel.unit).min(0)
    builder.thresholds(thresholds(panel)).span(width).height(height)
    for number, query in enumerate(panel.queries):
        builder.with_target(target(query, number))
    if panel.most is not None:
        builder.max(panel.most)


def number_panel(panel: Panel, width: int) -> stat.Panel:
    """A panel that is one number with its recent course."""
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    builder = stat.Panel().graph_mode(shapes.BigValueGraphMode.AREA).reduce_options(reduced)
    fill(builder, panel, width, 4)
    return builder


def course_panel(panel: Panel, width: int) -> timeseries.Panel:
    """A panel of lines over time."""
    legend = common.VizLegendOptions().show_legend(True).placement(shapes.LegendPlacement.BOTTOM)
    legend.display_mode(shapes.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])
    tooltip = common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    builder = timeseries.Panel().legend(legend).tooltip(tooltip).fill_opacity(10).line_width(1)
    if panel.stacked:
        builder.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL)).fill_opacity(30)
    fill(builder, panel, width, 8)
    return builder


def choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable whose values Prometheus knows; several may be chosen, and all are at first.

    All is `.*`, which fits series without that label as well: there is no namespace outside of Kubernetes.
    """
    everything = VariableOption(selected=True, text="All", value="$__all")
    builder = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query).current(everything)
    builder.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return builder.multi(True).include_all(True).all_value(".*")


def overview() -> dashboard.Dashboard:
    """The first dashboard to look at: is anything late, does anything fail, are there enough workers?"""
    board = dashboard.Dashboard("distq").uid("distq-overview").tags(["distq"]).editable()
    board.description("Queues, tasks, workers and the master of distq.")
    board.time("now-30m", "now").refresh("10s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    board.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    board.with_variable(choice("namespace", "Namespace", "label_values(distq_build_info, namespace)"))
    board.with_variable(choice("queue", "Queue", "label_values(distq_queue_capacity_tasks, queue)"))
    board.with_variable(choice("pool", "Pool", "label_values(distq_workers, pool)"))
    ids = itertools.count(1)
    board.with_row(dashboard.Row("Service level").id(next(ids)))
    for panel in SERVICE_LEVEL:
        board.with_panel(number_panel(panel, WIDTH // len(SERVICE_LEVEL)).id(next(ids)))
    rows = {"Flow": (FLOW, 3), "Tasks": (TASKS, 3), "Workers": (WORKERS, 4), "Master": (MASTER, 3)}
    for title, (panels, across) in rows.items():
        board.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            board.with_panel(course_panel(panel, WIDTH // across).id(next(ids)))
    return board


def rendered() -> dict[str, str]:
    """Every dashboard's file by its name."""
    return {"overview.json": json.dumps(overview().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"}


def main() -> None:
    """Writes all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
