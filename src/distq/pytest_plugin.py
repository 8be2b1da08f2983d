"""The pytest plugin of distq: the fixtures `distq_cluster` and `distq_eager`, and the marker `distq`.

pytest imports this module where distq is installed. It imports the rest of distq only for a test that uses a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from distq.testing import Cluster, Eager

MARKER = "distq(*tasks, concurrency=2, settings=None): modules of tasks, executors and settings for distq's fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting with the modules of tasks."""
    parser.addini("distq_tasks", "modules that the executors of the fixture distq_cluster import", "args", [])


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker, so that `--strict-markers` knows it."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def distq_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A `distq.testing.Cluster` for one test; the marker `distq` or the setting `distq_tasks` names the modules."""
    from distq.testing import cluster  # noqa: PLC0415 - see the module's docstring

    tasks, options = _marked(request)
    with cluster(tasks, **options) as running:
        yield running


@pytest.fixture
def distq_eager(request: pytest.FixtureRequest) -> Iterator[Eager]:
    """A `distq.testing.Eager` for one test, with the modules and settings of `distq_cluster`."""
    from distq.testing import eager  # noqa: PLC0415 - as above

    tasks, options = _marked(request)
    with eager(tasks, settings=options.get("settings")) as running:
        yield running


def _marked(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    """The modules and options of the nearest marker `distq`; without modules in it, those of the setting."""
    tasks = request.config.getini("distq_tasks")
    marker = request.node.get_closest_marker("distq")
    if marker is None:
        return tasks, {}
    if unknown := sorted(marker.kwargs.keys() - {"concurrency", "settings"}):
        raise pytest.UsageError(f"The marker distq takes modules, concurrency and settings, not {unknown[0]}.")
    return marker.args or tasks, marker.kwargs
