"""The metrics of the catalogue as text, in Prometheus' format, version 0.0.4; no label value can break a scrape.

https://prometheus.io/docs/instrumenting/exposition_formats/ - a busy master has 20,000 lines, and a scrape is answered
between its cycles: a family comes in slices of at most SLICE_SERIES lines, and whoever writes the page lets others run
between two of them. prometheus-client makes an object of each line, which takes 12 us; here the 21 lines of a histogram
are one formatting of a text that is kept.
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
"""So many texts are kept, of 100 and of 2,300 bytes: more than one scrape has."""
SLICE_SERIES: Final = 1_000
"""Maximum lines of one slice: a few milliseconds of formatting."""
_number: Final[Callable[[float], str]] = floatToGoString
_BOUNDS: Final = [*map(_number, BUCKETS_S), "+Inf"]
_LINES_OF_A_HISTOGRAM: Final = len(_BOUNDS) + 2
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def gauge(name: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """A gauge of the catalogue with its values by label values, in slices.

    `values` is read between others' work: what belongs together in it was read before, at once.
    """
    return _family(name, "gauge", values)


def counter(name: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """A counter of the catalogue with its values by label values, in slices as those of a gauge."""
    return _family(name, "counter", values)


def histogram(name: str, values: Iterable[tuple[Labels, Histogram]]) -> Iterator[str]:
    """A histogram of the catalogue with its values by label values, all as they are now, in slices."""
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
    """What runs here: distq's version, Python's, and whether it is a master or a worker."""
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
    """Labels as they stand behind a name; what UTF-8 cannot say, which a peer may call itself, is replaced."""
    texts = (text.encode("utf-8", "replace").decode().translate(_ESCAPES) for text in values)
    pairs = ",".join(f'{name}="{text}"' for name, text in zip(names, texts, strict=True))
    return f"{{{pairs}}}" if pairs else ""


@lru_cache(HISTOGRAMS_KEPT)
def _histogram_text(name: str, values: Labels) -> str:
    """The lines of a histogram without their numbers: each bucket's count, the whole count, the sum."""
    names = BY_NAME[name].labels
    buckets = (f"{name}_bucket{_labels((*names, 'le'), (*values, bound))}" for bound in _BOUNDS)
    labels = _labels(names, values)
    places = [*(f"{bucket} %d" for bucket in map(_as_format, buckets)), f"{name}_count{_as_format(labels)} %d"]
    return "\n".join([*places, f"{name}_sum{_as_format(labels)} %s\n"])


def _as_format(text: str) -> str:
    return text.replace("%", "%%")
