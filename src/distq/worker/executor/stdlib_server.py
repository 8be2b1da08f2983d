"""The executor's loop for a server of the standard library (`BaseManager`), which offers nothing but two queues.

The server has no leases: it forgets an item that an executor takes. So the executor takes one item at a time. Each
`get` waits at most `TAKE_S`: one that stayed blocked on the server after its executor has gone would lose the next
item. The executor keeps a result that it cannot put, and puts it first after it has connected again.
"""

import os
import select
from collections import deque
from collections.abc import Callable
from contextlib import closing
from queue import Empty, Full
from typing import Final, cast

from distq.core.errors import DistqError
from distq.core.option_values import PLAIN
from distq.net.dial import Connection
from distq.tasks import access
from distq.tasks.failure import describe
from distq.wire.errors import BadReply, RemoteRefusal
from distq.worker.executor.handler import Handler, HandlerUnusable
from distq.worker.executor.shutdown import ShutdownFlag
from distq.worker.executor.unaccepted_submits import LAST_SUBMITS_S
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.clock import Clock
from distq.worker.shared.reports import Failed, Reporter, Succeeded, Trouble

WORK_GETTERS: Final = ("get_work_queue", "get_task_queue")
RESULT_GETTERS: Final = ("get_result_queue", "get_done_queue")
TAKE_S: Final = 0.5
"""Maximum seconds that one `get` waits; an idle executor needs up to this time to drain."""
ANSWER_S: Final = 20.0
EMPTY_PAUSE_S: Final = 0.1
"""Seconds to pause after a `get` that raised Empty without waiting, as a program's own queue class may do."""


class StdlibServerLoop:
    """Runs the items of a standard-library server in one executor, one at a time."""

    def __init__(
        self,
        handler: Handler | None,
        page: BatchPage,
        reporter: Reporter,
        shutdown: ShutdownFlag,
        clock: Clock,
        *,
        verbose: bool,
    ) -> None:
        self._handler = handler
        self._page = page
        self._reporter = reporter
        self._shutdown = shutdown
        self._clock = clock
        self._verbose = verbose
        self._unsent: deque[object] = deque()
        self._item_number = 0

    @property
    def has_unsettled(self) -> bool:
        """Whether the executor holds a result that the server does not have yet."""
        return bool(self._unsent)

    def serve(self, dial: Callable[[], Connection]) -> None:
        """Take items, run them and put their results until the shutdown, over connections that `dial` makes.

        Raises:
            RemoteRefusal: the server offers no such queues.
            ConnectionLost: the connection to the server has ended.
            HandlerUnusable: the server has plain items only, and this worker has no plain handler.
        """
        if self._handler is None:
            raise HandlerUnusable("The server is the standard library's and has plain items only.")
        work, result = self._create(dial, WORK_GETTERS), self._create(dial, RESULT_GETTERS)
        with closing(dial()) as connection:
            connection.call(None, "accept_connection", ("distq",), timeout_s=ANSWER_S)
            self._put(connection, result)
            while not self._shutdown.is_set:
                self._take(connection, work)
                self._put(connection, result)
        for ident in (work, result):
            with closing(dial()) as connection:
                connection.call(None, "decref", (ident,), timeout_s=ANSWER_S)

    def _create(self, dial: Callable[[], Connection], getters: tuple[str, ...]) -> str:
        """Return the ident of the first object that one of `getters` creates.

        The server accepts one such call for each connection.
        """
        reason = ""
        for getter in getters:
            with closing(dial()) as connection:
                try:
                    made = connection.call(None, "create", (getter,), timeout_s=ANSWER_S)
                except RemoteRefusal as error:
                    reason = _last_line(error)
                else:
                    return cast("tuple[str, object]", made)[0]
        raise RemoteRefusal(f"The server offers no {' or '.join(getters)}: {reason}.")

    def _take(self, connection: Connection, work: str) -> None:
        asked_at = self._clock()
        try:
            item = connection.call(work, "get", (True, TAKE_S), timeout_s=TAKE_S + ANSWER_S)
        except Empty:
            if self._clock() - asked_at < TAKE_S / 2:
                self._pause()
        except BadReply as error:
            self._item_number += 1
            self._page.count_ended(0, 1, 0.0)
            self._reporter.send(Failed(str(self._item_number), PLAIN, 1, str(error)))
        else:
            self._run(item)

    def _run(self, item: object) -> None:
        self._item_number += 1
        self._page.set_batch((self._item_number, 1))
        self._page.begin(0)
        began = self._clock()
        try:
            assert self._handler is not None
            self._unsent.append(self._handler(item))
        except BaseException as error:  # noqa: BLE001 - any error, also sys.exit(), fails this item only
            cause = describe(error)
        else:
            cause = ""
        if self._shutdown.is_forked:
            os._exit(os.EX_OK)  # this is a child that the task has forked: it must not put a result
        run_s = self._clock() - began
        self._page.rest()
        self._page.count_ended(int(not cause), int(bool(cause)), run_s)
        if cause:
            self._reporter.send(Failed(str(self._item_number), PLAIN, 1, cause))
        elif self._verbose:
            self._reporter.send(Succeeded(str(self._item_number), PLAIN, 1, run_s))

    def _put(self, connection: Connection, result: str) -> None:
        if self._unsent and access.flush is not None:
            access.flush(LAST_SUBMITS_S)  # the submits of a handler whose result is put would not be made again
        while self._unsent:
            try:
                connection.call(result, "put", (self._unsent[0],), timeout_s=ANSWER_S)
            except Full:
                self._pause()
                continue
            except DistqError:
                raise
            except Exception as error:  # noqa: BLE001 - it cannot be pickled, or the queue refuses it
                self._reporter.send(Trouble(f"A result could not be put: {describe(error)}."))
            self._unsent.popleft()

    def _pause(self) -> None:
        poll = select.poll()
        poll.register(self._shutdown, select.POLLIN)
        poll.poll(EMPTY_PAUSE_S * 1000)


def _last_line(error: RemoteRefusal) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip(" -.") if lines else "it gives no reason"
