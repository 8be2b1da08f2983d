"""A scraper receives the version that it reads: 1.0.0 only if its request asks for that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distq.metrics.accept import NEWER, USUAL, content_type

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], USUAL),
        ([""], USUAL),
        (["*/*"], USUAL),
        (["text/plain"], USUAL),
        (["text/plain;version=0.0.4"], USUAL),
        (["text/plain;version=0.0.4;q=0.5,*/*;q=0.1"], USUAL),
        (["text/plain; version=1.0.0"], NEWER),
        (['Text/Plain; Version="1.0.0"; Q=0.5'], NEWER),
        (["text/plain;version=1.0.0, */*"], NEWER),
        (["text/plain;version=1.0.0;q=0.3, text/plain;version=0.0.4;q=0.4"], USUAL),
        (["text/plain;version=0.0.4", "text/plain;version=1.0.0"], USUAL),
        (["text/plain;version=0.0.4;q=0.1", "text/plain;version=1.0.0;q=0.2"], NEWER),
        (["text/plain;version=1.0.0;q=0"], USUAL),
        (["text/plain;version=1.0.0;q=0.000, application/json"], USUAL),
        ([PROMETHEUS_3], NEWER),
        (["application/openmetrics-text;version=1.0.0"], USUAL),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], USUAL),
        (["text/plain;version=2.0.0"], USUAL),
        (["text/plain;version=1.0.0;q=nan"], USUAL),
        (["text/plain;version=1.0.0;q=1e9"], USUAL),
        (["text/plain;version=1.0.0;q=1.5, text/plain;q=0.1"], USUAL),
        ([";;;,,,=;q=,/"], USUAL),
        (["*/*;version=1.0.0"], USUAL),
    ],
)
def test_the_version_that_was_asked_for(accept: list[str], expected: str) -> None:
    """The weight decides, then which version is named; the default is 0.0.4."""
    assert content_type(accept) == expected


@given(st.lists(st.text(alphabet='textplain/;,=q01.5version"* ', max_size=60), max_size=4))
def test_any_accept_header_is_answered(accept: list[str]) -> None:
    """The answer is 1.0.0 only if the header contains that."""
    assert content_type(accept) == USUAL or any("1.0.0" in one for one in accept)
