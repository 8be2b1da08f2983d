"""Writes the dashboards of Grafana to helm/files/dashboards: `python -m deploy.grafana.dashboards`.

The dashboards are defined here as code. The generated files are committed, and a test fails when they differ from the
output of this program. They are part of the chart because Helm reads no file outside the chart; Compose mounts them
from there.
"""
# ruff: noqa: INP001 - a program, not a package

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deploy.grafana.panels import (
    FLOW,
    LIMITS,
    MASTER,
    PER_TASK,
    RELIABILITY,
    SERVICE_LEVEL,
    SEVERAL_MASTERS,
    WORKERS,
    Panel,
    Query,
)
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
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
ACROSS = 3
"""Number of graph panels in one row of the screen."""


def target(query: Query, number: int) -> prometheus.Dataquery:
    """Return the query as a target of a Grafana panel."""
    ref = "ABCDEFGH"[number]
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).range().ref_id(ref).datasource(SOURCE)


def thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Return the colours of the panel's values: green, orange from `warn` on, red from `critical` on."""
    steps = [Threshold(value=None, color="green")]
    steps += [Threshold(value=panel.warn, color="orange")] if panel.warn is not None else []
    steps += [Threshold(value=panel.critical, color="red")] if panel.critical is not None else []
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def set_common(builder: Any, panel: Panel, width: int, height: int) -> None:
    """Set what every kind of panel has: texts, unit, thresholds, size and queries."""
    builder.title(panel.title).description(panel.description).datasource(SOURCE).unit(panel.unit).min(0)
    builder.thresholds(thresholds(panel)).span(width).height(height)
    for number, query in enumerate(panel.queries):
        builder.with_target(target(query, number))
    if panel.most is not None:
        builder.max(panel.most)


def number_panel(panel: Panel, width: int) -> stat.Panel:
    """Return a panel that shows one number with a small graph behind it."""
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    builder = stat.Panel().graph_mode(shapes.BigValueGraphMode.AREA).reduce_options(reduced)
    set_common(builder, panel, width, 4)
    return builder


def graph_panel(panel: Panel, width: int) -> timeseries.Panel:
    """Return a panel with a graph over time."""
    legend = common.VizLegendOptions().show_legend(True).placement(shapes.LegendPlacement.BOTTOM)
    legend.display_mode(shapes.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])
    tooltip = common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    builder = timeseries.Panel().legend(legend).tooltip(tooltip).fill_opacity(10).line_width(1)
    if panel.stacked:
        builder.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL)).fill_opacity(30)
    set_common(builder, panel, width, 8)
    return builder


def query_variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """Return a variable whose values come from Prometheus; the user may select several, and `All` is the default.

    `All` is the pattern `.*`, which also matches series without the label: outside Kubernetes there is no namespace.
    """
    everything = VariableOption(selected=True, text="All", value="$__all")
    builder = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query).current(everything)
    builder.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return builder.multi(True).include_all(True).all_value(".*")


class DashboardSpec(NamedTuple):
    """One dashboard before it is built: an optional row of numbers, then rows of graphs."""

    name: str
    title: str
    description: str
    variables: Sequence[str]
    rows: Mapping[str, Sequence[Panel]]
    numbers: tuple[str, Sequence[Panel]] | None = None


VARIABLES = {
    "namespace": ("Namespace", "label_values(distq_build_info, namespace)"),
    "queue": ("Queue", "label_values(distq_queue_capacity_tasks, queue)"),
    "task": ("Task", 'label_values(distq_tasks_submitted_total{queue=~"$queue"}, task)'),
    "pool": ("Pool", "label_values(distq_workers, pool)"),
}

DASHBOARDS = (
    DashboardSpec(
        "overview",
        "distq",
        "Start here: is a queue late, does a task fail, are there enough workers?",
        ("namespace", "queue", "pool"),
        {"Flow": FLOW, "Reliability": RELIABILITY, "Limits": LIMITS},
        ("Service level", SERVICE_LEVEL),
    ),
    DashboardSpec(
        "tasks",
        "distq: tasks",
        "Rate, wait, run time and errors of each task, by name.",
        ("namespace", "queue", "task"),
        {"Per task": PER_TASK},
    ),
    DashboardSpec(
        "workers",
        "distq: workers",
        "Workers of each pool, their slots, and exits of executors.",
        ("namespace", "pool"),
        {"Workers": WORKERS},
    ),
    DashboardSpec(
        "master",
        "distq: master",
        "Health of the master and of its store.",
        ("namespace",),
        {"Master": MASTER, "Several masters": SEVERAL_MASTERS},
    ),
)


def build(spec: DashboardSpec) -> dashboard.Dashboard:
    """Return one dashboard for Grafana; it links to the others and passes on the variables and the time range."""
    board = dashboard.Dashboard(spec.title).uid(f"distq-{spec.name}").tags(["distq"]).editable()
    board.description(spec.description)
    board.time("now-30m", "now").refresh("10s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    others = dashboard.DashboardLink("distq").type(DashboardLinkType.DASHBOARDS).tags(["distq"])
    board.link(others.include_vars(True).keep_time(True).as_dropdown(False))
    board.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for name in spec.variables:
        board.with_variable(query_variable(name, *VARIABLES[name]))
    ids = itertools.count(1)
    if spec.numbers is not None:
        title, panels = spec.numbers
        board.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            board.with_panel(number_panel(panel, WIDTH // len(panels)).id(next(ids)))
    for title, panels in spec.rows.items():
        board.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            board.with_panel(graph_panel(panel, WIDTH // ACROSS).id(next(ids)))
    return board


def rendered() -> dict[str, str]:
    """Return the content of every dashboard's file, by file name."""
    return {f"{spec.name}.json": json.dumps(as_json(spec), indent=2, sort_keys=True) + "\n" for spec in DASHBOARDS}


def as_json(spec: DashboardSpec) -> dict[str, Any]:
    """Return a dashboard as JSON values, without the builder's fields that Grafana's schema does not know."""
    board: dict[str, Any] = json.loads(json.dumps(build(spec).build(), cls=JSONEncoder))
    del board["style"]
    for variable in board["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min", "id"):
            del variable[name]
    return board


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
