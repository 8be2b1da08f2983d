"""The metrics of the catalogue as text, in Prometheus' format, version 0.0.4; no label value can break a scrape.

https://prometheus.io/docs/instrumenting/exposition_formats/ - a busy master has 20,000 lines, and a scrape is answered
between two of its cycles. prometheus-client makes an object of each line, which takes 12 us; here the 21 lines of a
histogram are one formatting of a text that is kept.
"""

import platform
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import accumulate
from typing import Final

from prometheus_client.utils import floatToGoString

from distq._version import __version__
from distq.core.tally import BUCKETS_S, Histogram
from distq.metrics.catalogue import BY_NAME

Labels = tuple[str, ...]

LABELS_KEPT: Final = 50_000
HISTOGRAMS_KEPT: Final = 4_000
"""So many texts are kept, of 100 and of 2,300 bytes: more than one scrape has."""
_number: Final[Callable[[float], str]] = floatToGoString
_BOUNDS: Final = [*map(_number, BUCKETS_S), "+Inf"]
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def gauge(name: str, values: Iterable[tuple[Labels, float]]) -> str:
    """A gauge of the catalogue with its values by label values."""
    return _family(name, "gauge", values)


def counter(name: str, values: Iterable[tuple[Labels, float]]) -> str:
    """A counter of the catalogue with its values by label values."""
    return _family(name, "counter", values)


def histogram(name: str, values: Iterable[tuple[Labels, Histogram]]) -> str:
    """A histogram of the catalogue with its values by label values."""
    lines = [_head(name, "histogram")]
    for labels, counted in values:
        counts = tuple(accumulate(counted.counts))
        lines.append(_histogram_text(name, labels) % (*counts, counts[-1], _number(counted.sum_s)))
    return "".join(lines)


def build_info(component: str) -> str:
    """What runs here: distq's version, Python's, and whether it is a master or a worker."""
    return gauge("distq_build_info", [((__version__, platform.python_version(), component), 1)])


def _family(name: str, kind: str, values: Iterable[tuple[Labels, float]]) -> str:
    known = BY_NAME[name].labels
    lines = [
        f"{name}{_labels(known, labels)} {value if type(value) is int else _number(value)}\n"
        for labels, value in values
    ]
    return _head(name, kind) + "".join(lines)


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
