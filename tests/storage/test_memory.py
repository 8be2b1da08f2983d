"""The memory store keeps the contract, as far as memory can."""

import itertools

import pytest
from tests.storage.contract import StoreContract

from distq.core.ports import Store
from distq.storage.memory import EPOCH_MAX, MemoryStore


class TestMemoryStore(StoreContract):
    """The store keeps no rows after its process, and no other process can lead."""

    durable = False
    shared = False

    def setup_method(self) -> None:
        """The caller gives the epochs: here they count from one."""
        self.epochs = itertools.count(1)

    async def make(self, place: str) -> Store:
        """Return a new store: it has no earlier rows to open."""
        return MemoryStore(next(self.epochs))


@pytest.mark.parametrize("epoch", [0, -1, EPOCH_MAX + 1])
def test_an_epoch_that_does_not_fit_into_a_key_is_refused(epoch: int) -> None:
    """A key has 64 bits for epoch and number."""
    with pytest.raises(ValueError, match=f"an epoch is 1 to {EPOCH_MAX}, not {epoch}"):
        MemoryStore(epoch)
