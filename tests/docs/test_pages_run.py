"""Every block of every page runs: here, in a test that the table names, or it is in the list with its reason."""

import re
from pathlib import Path
from typing import Final

import pytest
from tests.docs.blocks import BLOCKS, SHELL, Block
from tests.docs.pages import CHECKED, NOT_CODE, NOT_RUN, RUN_BY, SETUPS
from tests.docs.reader import run_page, runs
from tests.storage.postgresql.server import server_in, short_folder
from tests.tidy.tree import ROOT, text

ON_POSTGRESQL: Final = ("docs/how-to/postgresql.md", "docs/how-to/several-masters.md")
"""Pages whose commands need a PostgreSQL server."""


def lines(block: Block) -> set[str]:
    """Return what the tables may name of a block: its commands without comments, or its first line."""
    if block.language not in SHELL:
        return {block.first}
    return {line.partition(" #")[0].strip() for line in block.commands.splitlines()}


def elsewhere(block: Block) -> bool:
    """Return whether a test that the table names runs the whole block."""
    return (str(block.page), block.language) in RUN_BY


def left_out(page: str) -> set[str]:
    """Return the commands and first lines of a page that other tests run, or none."""
    return {entry.first for entry in NOT_RUN if entry.page == page} | {first for of, first in RUN_BY if of == page}


def run_here(page: str) -> bool:
    """Return whether this file runs a block of the page."""
    return any(str(block.page) == page and runs(block) and not elsewhere(block) for block in BLOCKS)


def needs_docker(page: str) -> bool:
    """Return whether a command of the page, or one that a test stands in for, is of docker."""
    typed = [block.commands for block in BLOCKS if str(block.page) == page and block.language in SHELL]
    return any(re.search(r"\bdocker ", commands) for commands in typed)


HERE: Final = sorted({str(block.page) for block in BLOCKS if run_here(str(block.page))})


def ran(page: str, folder: Path, **environ: str) -> None:
    """Run the blocks of a page that no other test runs."""
    named = left_out(page)
    of_page = [block for block in BLOCKS if str(block.page) == page]
    skipped = {
        block.line for block in of_page if elsewhere(block) or (block.language == "python" and block.first in named)
    }
    run_page(Path(page), folder, named, skipped, **environ)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.docker] if needs_docker(page) else [])
        for page in HERE
        if page not in ON_POSTGRESQL
    ],
)
def test_the_blocks_of_a_page_run_in_their_order(page: str, tmp_path: Path) -> None:
    """Shell blocks with real masters and workers, Python blocks as programs; none fails."""
    ran(page, tmp_path)


@pytest.mark.postgresql
@pytest.mark.timeout(200)
@pytest.mark.parametrize("page", ON_POSTGRESQL)
def test_the_blocks_of_a_page_about_postgresql_run_on_a_server(page: str, tmp_path: Path) -> None:
    """The reader is a superuser of an empty server, as on the page."""
    with short_folder() as folder, server_in(folder) as server:
        ran(page, tmp_path, PGHOST=str(server.folder), PGPORT=str(server.port), PGUSER="distq")


def test_every_block_runs_or_is_in_the_list_with_its_reason() -> None:
    """A new language or page has no exception by itself."""
    named = {(entry.page, entry.first) for entry in NOT_RUN} | CHECKED.keys() | RUN_BY.keys()
    silent = [
        (str(block.page), block.line, block.language)
        for block in BLOCKS
        if block.language not in NOT_CODE
        and not runs(block)
        and not elsewhere(block)
        and (str(block.page), block.first) not in named
    ]
    assert silent == []


def test_every_entry_of_the_tables_is_of_a_block_that_exists() -> None:
    """An entry goes with its block, and has a reason."""
    there = {(str(block.page), line) for block in BLOCKS for line in lines(block) | {block.language}}
    named = [(entry.page, entry.first) for entry in NOT_RUN] + [*CHECKED, *RUN_BY]
    assert [entry for entry in named if entry not in there] == []
    assert len(set(named)) == len(named), "an entry is there twice"
    assert all(entry.reason.endswith(".") for entry in NOT_RUN)
    assert [page for page in SETUPS if page not in HERE] == []


@pytest.mark.parametrize("named", sorted({*RUN_BY.values(), *CHECKED.values()}))
def test_every_test_that_a_table_names_exists(named: str) -> None:
    """It is a function of that file."""
    file, _, function = named.partition("::")
    assert f"def {function}(" in text(Path(file))


def test_every_text_that_stands_for_another_is_on_its_page() -> None:
    """A substitution goes with its text."""
    gone = [
        (page, found)
        for page, setup in SETUPS.items()
        for found in setup.reads_as
        if found not in (ROOT / page).read_text()
    ]
    assert gone == []
