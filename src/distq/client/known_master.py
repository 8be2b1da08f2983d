"""What a client knows of the master: which keys of tasks are valid after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from distq.client.future_state import FutureState
from distq.tasks.failure import TaskLost, TaskUnknown

if TYPE_CHECKING:
    from distq.client.pending_futures import PendingFutures
    from distq.protocol.hello import Greeting

F = TypeVar("F", bound=FutureState[Any])


class KnownMaster(Generic[F]):
    """The last master that answered, and the awaited tasks that an earlier one accepted."""

    def __init__(self, pending: PendingFutures[F]) -> None:
        self._pending = pending
        self._greeted: tuple[int, bool] | None = None
        """The epoch of the last master that answered, whose keys are valid; and whether it keeps tasks in a store.

        With a store, the keys of the masters before it are valid too.
        """
        self._epochs: set[int] = set()
        """The epochs of all masters that have answered; a task of any other one was never known to be there."""
        self._backlog = ""
        """Identifies the ends of tasks that the master keeps for this client."""

    def greet(self, greeting: Greeting) -> None:
        """Read a master's greeting; a master without a store does not know the tasks that the one before accepted."""
        self._greeted = greeting.epoch, bool(greeting.durable)
        self._epochs.add(greeting.epoch)
        self._backlog = self._backlog or greeting.backlog  # before the first submit: none of its ends can be lost yet
        self._forget_others()

    def greet_for_results(self, greeting: Greeting) -> Sequence[int]:
        """Do the same on the results connection; returns the keys about which the master must be asked.

        These are all keys if the master may have dropped ends, and otherwise those that an earlier master has given.
        """
        self.greet(greeting)
        before, self._backlog = self._backlog, greeting.backlog
        if greeting.backlog != before:
            return self._pending.all_keys()
        return self._pending.keys_of_other_masters(greeting.epoch)

    def keys_to_ask(self, first: int, count: int) -> Sequence[int]:
        """The accepted tasks, with keys from `first` on, about which the master must be asked, as it was restarted."""
        if self._greeted is None or first >> 40 == self._greeted[0]:
            return ()
        if self._greeted[1]:
            return range(first, first + count)
        self._forget_others()
        return ()

    def _forget_others(self) -> None:
        """Fail the futures of tasks that a master without a store does not know."""
        if self._greeted is not None and not self._greeted[1]:
            self._pending.fail(self._pending.keys_of_other_masters(self._greeted[0]), self._lost)

    def _lost(self, future: FutureState[Any]) -> TaskLost:
        """Return the error for a task of another master; for one that was followed by its id, as the master's answer.

        Which answer comes first, this one or the master's, is a matter of time.
        """
        if future.task_key is not None and future.task_key >> 40 in self._epochs:
            return TaskLost(f"task {future.task_id}: the master that had it was restarted without a store.")
        return TaskUnknown("the master does not know the task any more.")
