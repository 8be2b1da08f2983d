"""The pages that Prometheus scrapes: our own metrics, and what prometheus-client tells of any process."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from distq.metrics.collector import master_metrics
from distq.metrics.view import MasterView, WorkerView
from distq.metrics.worker import worker_metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The text format's exact name; Prometheus 3 refuses a scrape without one."""

Page = Callable[[], bytes]


def master_page(view: MasterView) -> Page:
    """What a scrape of a master is answered."""
    return _page(lambda: master_metrics(view))


def worker_page(view: WorkerView) -> Page:
    """What a scrape of a worker is answered."""
    return _page(lambda: worker_metrics(view))


def _page(families: Callable[[], Iterable[str]]) -> Page:
    process = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=process)
    return lambda: "".join(families()).encode() + generate_latest(process)
