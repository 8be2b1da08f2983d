"""Large payloads of clients and large results of executors, to masters that read split frames and to older ones."""

import asyncio
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from tests.client.functions import double
from tests.client.masters import KEY, MasterState, client_of, serving
from tests.waiting import SOON_S

from distq import AsyncClient
from distq.core.states import SUCCEEDED

LARGE: Any = "a large argument" * 100_000

GREETINGS: list[tuple[Mapping[str, Any], list[str]]] = [({}, []), ({"split": True}, ["submit"])]


@pytest.mark.parametrize(("greeting", "split"), GREETINGS, ids=["older", "newer"])
def test_a_large_argument_travels_as_its_master_can_read_it(greeting: Mapping[str, Any], split: list[str]) -> None:
    """A master of the release before names no split frames in its greeting, and gets none."""
    state = MasterState()
    state.greeting = greeting
    with serving(state) as master, client_of(master) as client:
        assert client.submit(double, LARGE).result(SOON_S) == 2 * LARGE
        assert client.submit(double, 21).result(SOON_S) == 42
        assert master.split == split


@pytest.mark.parametrize(("greeting", "split"), GREETINGS, ids=["older", "newer"])
def test_a_large_argument_of_an_asyncio_client_does_too(greeting: Mapping[str, Any], split: list[str]) -> None:
    """Both clients send the same frames."""
    state = MasterState()
    state.greeting = greeting

    async def run(address: str) -> None:
        async with AsyncClient(address, KEY) as client:
            future = await client.submit(double, LARGE)
            assert await future == 2 * LARGE

    with serving(state) as master:
        asyncio.run(run(f"127.0.0.1:{master.address[1]}"))
        assert master.split == split


def test_a_submit_goes_again_as_its_next_master_can_read_it() -> None:
    """A client that connects to an older master after a newer one sends it the same submit in one pickle."""
    state = MasterState()
    state.greeting = {"split": True}
    state.hang_up = {"submit": 1}

    def answered(_: Any) -> tuple[int, bytes, None]:
        state.greeting = {}
        return SUCCEEDED, pickle.dumps("fine"), None

    state.outcome = answered
    with serving(state) as master, client_of(master) as client:
        outcome: object = client.submit(double, LARGE).result(SOON_S)
        assert outcome == "fine"
        assert master.split == ["submit"]
        assert len(state.submits) == 2
        assert len(state.bodies) == 1
