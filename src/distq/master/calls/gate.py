"""The gate: whether the key of a connection, or of an HTTP request, allows a call. All doors of the master ask here.

What a role may do is the table in `distq.protocol.permissions`. A key for all queues costs one look into a set for each
call; only the calls of a key that is for some queues are examined for the queues and the tasks that they name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from distq.core.task_ids import task_key_of
from distq.protocol import methods
from distq.protocol.heartbeat import read_report
from distq.protocol.hello import EXECUTOR, WORKER, read_executor_hello, read_worker_hello
from distq.protocol.permissions import ADMIN_ACTION, BROKER, HELLO, HTTP, SERVER
from distq.wire.errors import BadCall

if TYPE_CHECKING:
    from distq.core.queue import Queue
    from distq.core.task import Task
    from distq.master.admin.schedules import Schedule
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.worker_session import WorkerSession
    from distq.protocol.authority import Authority
    from distq.protocol.heartbeat import WorkerReport
    from distq.wire.inert import InertCall

OF_TASKS: Final = frozenset(
    {methods.BEFORE, methods.CANCEL, methods.RUNNING, methods.STREAM, methods.STUCK, methods.WATCH}
)
"""Methods whose first argument is the key of a task, or a list of such keys."""
IDS: Final = ("id", "task", "other")
"""Fields of an action that hold the id of a task."""
OF_ALL_QUEUES: Final = frozenset(
    {
        "related",
        "schedule_list",
        "schedule_pause",
        "schedule_put",
        "schedule_remove",
        "schedule_resume",
        "schedule_run",
    }
)
"""Actions that always concern all queues: a task may be related to tasks of other queues."""
UNREADABLE: Final = "The arguments cannot be read: queues, tasks and their rows are lists."


class Gate:
    """Checks the calls of all connections of one master."""

    def __init__(self, cycle: Cycle, sessions: Mapping[str, WorkerSession], schedules: Mapping[str, Schedule]) -> None:
        self._cycle = cycle
        self._sessions = sessions
        self._schedules = schedules
        self.refused_count: dict[str, int] = {}
        """Number of refused calls, by the name of the key."""

    def check_server(self, authority: Authority, call: InertCall) -> None:
        """Check a call of the standard library's server; raises Forbidden."""
        if call.method not in authority.server_calls:
            self._check(authority, SERVER, call.method)

    def check_plain(self, authority: Authority, queue: Queue[Task], call: InertCall) -> None:
        """Check a call on a plain queue; raises Forbidden."""
        if call.method not in authority.plain_calls[queue.role]:
            self._check(authority, queue.role, call.method)
            self._check_queues(authority, [queue.name])

    def check_broker(self, authority: Authority, call: InertCall) -> None:
        """Check a call of a broker's method that is not in the authority's `broker_calls`; raises Forbidden or BadCall.

        A call that the master cannot read may pass: its reader refuses it.
        """
        self._check(authority, BROKER, call.method)
        first, second = (*call.args, None, None)[:2]
        if call.method == methods.HELLO and isinstance(first, dict):
            self._check_hello(authority, first)
        elif call.method == methods.ADMIN and isinstance(first, str):
            self._check(authority, ADMIN_ACTION, first)
            if authority.queues:
                self._check_action(authority, first, second if isinstance(second, dict) else {})
        elif authority.queues:
            self._check_names(authority, call.method, first, second)

    def check_http(self, authority: Authority, request: str) -> None:
        """Check a request over HTTP, as in `POST /api/v1/tasks`; raises Forbidden."""
        self._check(authority, HTTP, request)

    def check_queue(self, authority: Authority, queue: str) -> None:
        """Check that a request may use a queue; raises Forbidden."""
        if not authority.may_use(queue):
            self._count(authority)
            authority.check_queue(queue)

    def _check(self, authority: Authority, door: str, call: str) -> None:
        if not authority.allows(door, call):
            self._count(authority)
            authority.check(door, call)

    def _count(self, authority: Authority) -> None:
        self.refused_count[authority.name] = self.refused_count.get(authority.name, 0) + 1

    # -- keys for some queues ------------------------------------------------------------------

    def _check_hello(self, authority: Authority, info: Mapping[str, Any]) -> None:
        role = info.get("role")
        if not isinstance(role, str):
            return
        self._check(authority, HELLO, role)
        if not authority.queues or role not in (WORKER, EXECUTOR):
            return
        session = info.get("session")
        if role == WORKER:
            named = info.get("queues")
            if not isinstance(named, list | tuple) or not named:
                self._refuse_all_queues(authority, "a worker without DISTQ_QUEUES")
                return
            self._check_queues(authority, named)
            self._check_tasks(authority, [task_key for _, task_key, _ in read_worker_hello(info).holds])
            return
        self._check_tasks(authority, [task_key for task_key, _ in read_executor_hello(info).holds])
        if isinstance(session, str) and (known := self._sessions.get(session)) is not None:
            self._check_queues(authority, [queue.name for queue in known.queues or ()])

    def _check_names(self, authority: Authority, method: str, first: Any, second: Any) -> None:
        """Check the queues and the tasks in the arguments of a method."""
        if method == methods.SUBMIT:
            self._check_queues(authority, [_queue_in(envelope) for envelope in _listed(second)])
        elif method == methods.EXCHANGE:
            self._check_tasks(authority, [row[0] for row in map(_listed, _listed(first)) if row])
        elif method == methods.HEARTBEAT:
            self._check_tasks(authority, _reported(read_report(first)))
        elif method in OF_TASKS:
            self._check_tasks(authority, [first] if isinstance(first, int) else _listed(first))

    def _check_action(self, authority: Authority, action: str, asked: Mapping[str, Any]) -> None:
        """Check the queues and the tasks in the request of an operator, a client or a worker."""
        if action == "schedule_declare":
            self._check_declared(authority, asked)
            return
        ids = [asked[field] for field in IDS if asked.get(field) is not None]
        listed = [] if asked.get("ids") is None else _listed(asked["ids"])
        if action in OF_ALL_QUEUES or (asked.get("queue") is None and not ids and not listed):
            self._refuse_all_queues(authority, action.replace("_", " "))
        if asked.get("queue") is not None:
            self._check_queues(authority, [asked["queue"]])
        self._check_tasks(authority, [_key_in(one) for one in (*ids, *listed)])

    def _check_declared(self, authority: Authority, asked: Mapping[str, Any]) -> None:
        """Check the schedules that a worker declares, and those that they would replace or remove."""
        if asked.get("remove"):
            self._refuse_all_queues(authority, "DISTQ_SCHEDULES=remove")
        for row in _listed(asked.get("schedules")):
            if not isinstance(row, dict):
                raise BadCall(UNREADABLE)
            name = row.get("name")
            known = self._schedules.get(name) if isinstance(name, str) else None
            before = [] if known is None else [known.spec.envelope]
            self._check_queues(authority, [_queue_in(envelope) for envelope in (row.get("envelope"), *before)])

    def _check_queues(self, authority: Authority, names: Iterable[object]) -> None:
        for name in names:
            if isinstance(name, str):
                self.check_queue(authority, name)

    def _check_tasks(self, authority: Authority, keys: Iterable[object]) -> None:
        """Check the queues of tasks; the master refuses keys of unknown tasks by itself."""
        tasks = self._cycle.ledger.state.tasks
        for key in keys:
            if isinstance(key, int | float) and (task := tasks.get(int(key))) is not None:
                self.check_queue(authority, task.envelope.queue.name)

    def _refuse_all_queues(self, authority: Authority, what: str) -> None:
        self._count(authority)
        authority.refuse_all_queues(what)


def _listed(value: object) -> Sequence[Any]:
    """A list that a peer has sent. Raises BadCall for any other value: its elements would not be checked."""
    if not isinstance(value, list | tuple):
        raise BadCall(UNREADABLE)
    return value


def _reported(report: WorkerReport) -> Iterator[int]:
    """The tasks of which a worker says that it hands them back, has lost them, or has found their stacks."""
    yield from (task_key for task_key, _ in report.released)
    yield from (task_key for task_key, _, _ in report.stacks)
    for end in report.exited:
        yield from (lease[0] for lease in (*end.begun, *([] if end.running is None else [end.running])))


def _queue_in(envelope: object) -> object:
    """The queue in an envelope that a peer has sent, whatever it may be."""
    fields = _listed(envelope)
    return fields[0] if fields else None


def _key_in(task_id: object) -> int | None:
    try:
        return task_key_of(task_id) if isinstance(task_id, str) else None
    except ValueError:
        return None
