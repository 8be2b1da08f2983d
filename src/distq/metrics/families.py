"""prometheus-client's families, made from the catalogue; and label values that cannot break a scrape."""

import platform
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from distq._version import __version__
from distq.core.tally import BUCKETS_S, Histogram
from distq.metrics.catalogue import BY_NAME

Labels = tuple[str, ...]

_BOUNDS = [*map(floatToGoString, BUCKETS_S), "+Inf"]


def clean(text: str) -> str:
    """The text with lone surrogates replaced: a peer may call itself what UTF-8 cannot say."""
    return text.encode("utf-8", "replace").decode("utf-8")


def gauge(name: str, values: Iterable[tuple[Labels, float]]) -> Metric:
    """A gauge of the catalogue with its values by label values."""
    family = GaugeMetricFamily(name, _help(name, "gauge"), labels=BY_NAME[name].labels)
    for labels, value in values:
        family.add_metric([*map(clean, labels)], value)
    return family


def counter(name: str, values: Iterable[tuple[Labels, float]]) -> Metric:
    """A counter of the catalogue with its values by label values."""
    family = CounterMetricFamily(name, _help(name, "counter"), labels=BY_NAME[name].labels)
    for labels, value in values:
        family.add_metric([*map(clean, labels)], value)
    return family


def histogram(name: str, values: Iterable[tuple[Labels, Sequence[Histogram]]]) -> Metric:
    """A histogram of the catalogue; several histograms under the same labels are added up."""
    family = HistogramMetricFamily(name, _help(name, "histogram"), labels=BY_NAME[name].labels)
    for labels, parts in values:
        counts = [sum(column) for column in zip(*(part.counts for part in parts), strict=True)]
        buckets = list(zip(_BOUNDS, map(float, accumulate(counts)), strict=True))
        family.add_metric([*map(clean, labels)], buckets, sum(part.sum_s for part in parts))
    return family


def build_info(component: str) -> Metric:
    """What runs here: distq's version, Python's, and whether it is a master or a worker."""
    return gauge("distq_build_info", [((__version__, platform.python_version(), component), 1)])


def _help(name: str, kind: str) -> str:
    metric = BY_NAME[name]
    assert metric.kind == kind, f"{name} is a {metric.kind}"
    return metric.help
