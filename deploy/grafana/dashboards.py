"""Writes Grafana's dashboards: `python -m deploy.grafana.dashboards`, into helm/files/dashboards.

They are written here once, as code, and the files are committed; a test fails when the two differ. The files lie in
the chart because a chart cannot read outside of itself; Compose mounts them from there.
"""
# ruff: noqa: INP001 - a program, not a package

import itertools
import json
from pathlib import Path
from typing import Any

from deploy.grafana.panels import FLOW, MASTER, PER_TASK, RELIABILITY, SERVICE_LEVEL, WORKERS, Panel, Query
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
ACROSS = 3
"""How many panels of lines stand side by side."""


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
    board.with_variable(choice("task", "Task", 'label_values(distq_tasks_submitted_total{queue=~"$queue"}, task)'))
    board.with_variable(choice("pool", "Pool", "label_values(distq_workers, pool)"))
    ids = itertools.count(1)
    board.with_row(dashboard.Row("Service level").id(next(ids)))
    for panel in SERVICE_LEVEL:
        board.with_panel(number_panel(panel, WIDTH // len(SERVICE_LEVEL)).id(next(ids)))
    rows = {"Flow": FLOW, "Per task": PER_TASK, "Reliability": RELIABILITY, "Workers": WORKERS, "Master": MASTER}
    for title, panels in rows.items():
        board.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            board.with_panel(course_panel(panel, WIDTH // ACROSS).id(next(ids)))
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
