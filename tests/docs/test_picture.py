"""The picture of the architecture page is the one that the source code gives."""

from xml.etree import ElementTree as ET

from tests.tidy.tree import ROOT
from tools.path_of_a_task import ARROWS, PICTURE, STEPS, imports_of, layers, missing, picture

PAGE = ROOT / "docs" / "explanation" / "architecture.md"


def test_every_function_of_the_picture_exists() -> None:
    """A function that is renamed or moved is renamed there too."""
    assert missing() == []


def test_the_picture_is_up_to_date() -> None:
    """`python -m tools.path_of_a_task` would change nothing."""
    drawn = picture()
    assert PICTURE.read_text(encoding="utf-8") == drawn
    ET.fromstring(drawn)


def test_every_step_is_on_the_page_with_its_files() -> None:
    """The table explains each number of the picture, and the arrows lead from the first step to the last."""
    page = PAGE.read_text(encoding="utf-8")
    assert "(../pictures/path-of-a-task.svg)" in page
    assert [step.number for step in STEPS if f"\n| {step.number} | " not in page] == []
    files = {function.split()[0] for step in STEPS for function in step.functions}
    assert {file for file in files if f"`{file}`" not in page} == set()
    assert {end for _, end in ARROWS} == {step.number for step in STEPS[1:]}


def test_the_layers_are_those_of_the_imports() -> None:
    """Each package imports only packages of lower rows, as the picture says."""
    rows = layers()
    row_of = {package: number for number, row in enumerate(rows) for package in row}
    wrong = [
        (package, other) for package, row in row_of.items() for other in imports_of(package) if row_of[other] <= row
    ]
    assert wrong == []
