"""The pages of the documentation have the checks as the doctor has them, and name settings and values that exist."""

import re

import yaml
from tests.tidy.tree import ROOT

from distq.cli.doctor.page import PAGE, SECURITY, page, with_checklist
from distq.cli.doctor.table import CHECKS
from distq.settings.table import ROWS

TEXTS = [text for checks in CHECKS.values() for one in checks for text in (one.advice, one.why, one.change)]
VALUE = re.compile(r"(?<![`\w./])((?:tls|keys|payloadKeys|networkPolicy|authkey|master|workerDefaults)\.\w[\w.]*\w)")


def test_the_page_of_all_checks_is_up_to_date() -> None:
    """`python -m distq.cli.doctor.page` would change nothing."""
    assert (ROOT / PAGE).read_text() == page()


def test_the_checklist_of_the_page_about_security_is_up_to_date() -> None:
    """The same command writes it."""
    text = (ROOT / SECURITY).read_text()
    assert with_checklist(text) == text
    assert all(f"`{check.name}`)" in text for checks in CHECKS.values() for check in checks)


def test_each_setting_that_a_check_names_exists() -> None:
    """An operator who types what the doctor prints gets no warning of an unknown setting."""
    named = {name for text in TEXTS for name in re.findall(r"DISTQ_[A-Z_]+", text)}
    assert len(named) > 15
    assert named - {row.name for row in ROWS} == set()


def test_each_value_of_the_chart_that_a_check_names_exists() -> None:
    """A value with another name would be refused by the chart's schema."""
    values = yaml.safe_load((ROOT / "helm" / "values.yaml").read_text())
    named = {name for text in TEXTS for name in VALUE.findall(text)}
    assert len(named) > 10
    for name in named:
        below = values
        for word in name.split("."):
            assert word in below, name
            below = below[word]
