"""Formats the metrics of the catalogue in Prometheus' text format 0.0.4; no label value can break a scrape.

https://prometheus.io/docs/instrumenting/exposition_formats/ - a busy master writes 20,000 lines, and answers a scrape
between its cycles: a family is yielded in slices of at most SLICE_SERIES lines, and the event loop serves other
requests between two slices. prometheus-client makes an object of each line, which takes 12 us; here one formatting of
a cached text makes the 21 lines of a histogram.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import accumulate, islice
from typing import Final

from prometheus_client.utils import floatToGoString

from distq._version import __version__
from distq.core.counters import BUCKETS_S, Histogram
from distq.metrics.catalogue import BY_NAME

Labels = tuple[str, ...]

LABELS_KEPT: Final = 50_000
HISTOGRAMS_KEPT: Final = 4_000
"""Maximum cached texts of labels (100 bytes each) and of histograms (2,300 bytes each): more than one scrape needs."""
SLICE_SERIES: Final = 1_000
"""Maximum lines of one slice: a few milliseconds of formatting."""
_number: Final[Callable[[float], str]] = floatToGoString
_BOUNDS: Final = [*map(_number, BUCKETS_S), "+Inf"]
_LINES_OF_A_HISTOGRAM: Final = len(_BOUNDS) + 2
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def gauge(name: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Yield a gauge of the catalogue with its values by label values, in slices.

    Other requests are served while `values` is read: values that must be of one instant are a list.
    """
    return _family(name, "gauge", values)


def counter(name: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Yield a counter of the catalogue with its values by label values, in slices as those of a gauge."""
    return _family(name, "counter", values)


def histogram(name: str, values: Iterable[tuple[Labels, Histogram]]) -> Iterator[str]:
    """Yield a histogram of the catalogue with its values by label values, all of this instant, in slices."""
    read = iter([(labels, tuple(accumulate(one.counts)), one.sum_s) for labels, one in values])
    text = _head(name, "histogram")
    while piece := list(islice(read, SLICE_SERIES // _LINES_OF_A_HISTOGRAM)):
        lines = [
            _histogram_text(name, labels) % (*counts, counts[-1], _number(sum_s)) for labels, counts, sum_s in piece
        ]
        yield text + "".join(lines)
        text = ""
    if text:
        yield text


def build_info(component: str) -> Iterator[str]:
    """Yield the metric whose labels are the versions of distq and Python, and the component: master or worker."""
    return gauge("distq_build_info", [((__version__, platform.python_version(), component), 1)])


def _family(name: str, kind: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    known = BY_NAME[name].labels
    text, rest = _head(name, kind), iter(values)
    while True:
        lines = [
            f"{name}{_labels(known, labels)} {value if type(value) is int else _number(value)}\n"
            for labels, value in islice(rest, SLICE_SERIES)
        ]
        if not (lines or text):
            return
        yield text + "".join(lines)
        text = ""


def _head(name: str, kind: str) -> str:
    metric = BY_NAME[name]
    assert metric.kind == kind, f"{name} is a {metric.kind}"
    return f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n"


@lru_cache(LABELS_KEPT)
def _labels(names: Labels, values: Labels) -> str:
    """Return the labels in braces; characters in a peer's name that UTF-8 cannot encode are replaced."""
    texts = (text.encode("utf-8", "replace").decode().translate(_ESCAPES) for text in values)
    pairs = ",".join(f'{name}="{text}"' for name, text in zip(names, texts, strict=True))
    return f"{{{pairs}}}" if pairs else ""


@lru_cache(HISTOGRAMS_KEPT)
def _histogram_text(name: str, values: Labels) -> str:
    """Return the lines of a histogram as a format: the count of each bucket, the total count, the sum."""
    names = BY_NAME[name].labels
    buckets = (f"{name}_bucket{_labels((*names, 'le'), (*values, bound))}" for bound in _BOUNDS)
    labels = _labels(names, values)
    places = [*(f"{bucket} %d" for bucket in map(_as_format, buckets)), f"{name}_count{_as_format(labels)} %d"]
    return "\n".join([*places, f"{name}_sum{_as_format(labels)} %s\n"])


def _as_format(text: str) -> str:
    return text.replace("%", "%%")
