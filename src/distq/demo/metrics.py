"""Reads the master's /metrics for the demo, and computes totals and quantiles as Prometheus does."""

import http.client
import math
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from distq.settings import Address

TIMEOUT_S = 2.0

Samples = Sequence[tuple[str, Mapping[str, str], float]]


def scrape(address: Address) -> Samples | None:
    """All samples of /metrics: name, labels, value; None while no HTTP server answers."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status != http.client.OK:
        return None
    families = text_string_to_metric_families(text)
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    return sum(value for found, has, value in samples if found == name and labels.items() <= has.items())


def quantile(samples: Samples, share: float, name: str, **labels: str) -> float:
    """The q-quantile of a histogram with these labels, interpolated as `histogram_quantile` does; NaN if empty."""
    buckets: dict[float, float] = {}
    for found, has, value in samples:
        if found == f"{name}_bucket" and labels.items() <= has.items():
            bound = float(has["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value
    return _interpolate(share, sorted(buckets.items()))


def _interpolate(share: float, buckets: Iterable[tuple[float, float]]) -> float:
    cumulated = list(buckets)
    rank = share * cumulated[-1][1] if cumulated else 0.0
    if rank == 0:
        return math.nan
    lower, below = 0.0, 0.0
    for bound, count in cumulated:
        if count >= rank:
            # In the last bucket there is nothing to interpolate to: its lower bound is all that is known.
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower
