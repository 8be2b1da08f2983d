"""The actions of `admin(what, asked)` by name: the calls that the command line makes to the master."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from distq.core import moves
from distq.core.ranges import shown
from distq.master.admin.backups import BackupBegin, BackupRead
from distq.master.admin.cancels import cancel_of
from distq.master.admin.dead_letters import DeadList, DeadShow, SettleDeadLetters
from distq.master.admin.declared_schedules import DeclareSchedules
from distq.master.admin.inspection import ShowStack, ShowTask
from distq.master.admin.live_page import LivePage
from distq.master.admin.queue_limits import ACTIONS as LIMIT_ACTIONS
from distq.master.admin.queue_limits import SetQueueLimits
from distq.master.admin.related_tasks import RelatedTasks
from distq.master.admin.schedule_calls import ACTIONS as SCHEDULE_ACTIONS
from distq.master.admin.schedule_calls import ScheduleAction
from distq.master.admin.security import Report, ShowSecurity
from distq.master.admin.task_list import ListTasks
from distq.master.admin.wait_graph import WaitGraph
from distq.protocol.security_report import SecurityReport
from distq.wire.errors import BadCall

if TYPE_CHECKING:
    from distq.master.admin.schedules import Schedules
    from distq.master.cycle.requests import Cycle, Request
    from distq.master.sessions.workers import Workers
    from distq.net.serve import ServerConnection

Filters = Mapping[str, Any]


class AdminActions:
    """Makes the request for each admin call."""

    def __init__(self, cycle: Cycle, workers: Workers, schedules: Schedules) -> None:
        self.report_security: Report = SecurityReport
        """Makes the report of `security`; the master sets it when it has all of its parts."""
        self.actions: Mapping[str, Callable[[ServerConnection, Filters], Request]] = {
            "backup_begin": lambda connection, _: BackupBegin(connection),
            "backup_read": BackupRead,
            "cancel": partial(cancel_of, cycle),
            "dead_list": partial(DeadList, cycle),
            "dead_purge": partial(SettleDeadLetters, cycle, moves.DROP),
            "dead_retry": partial(SettleDeadLetters, cycle, moves.REQUEUE),
            "dead_show": DeadShow,
            "list": partial(ListTasks, cycle),
            "live": lambda connection, asked: LivePage(connection, workers, asked),
            "related": lambda connection, asked: RelatedTasks(connection, workers, asked),
            "schedule_declare": lambda connection, asked: DeclareSchedules(connection, schedules, asked),
            "security": lambda connection, _: ShowSecurity(connection, self.report_security),
            "show": lambda connection, asked: ShowTask(connection, workers, asked),
            "stack": lambda connection, asked: ShowStack(connection, workers, asked),
            "wait": WaitGraph(workers).request,
            **{action: partial(SetQueueLimits, action) for action in LIMIT_ACTIONS},
            **{action: partial(ScheduleAction, schedules, action) for action in SCHEDULE_ACTIONS},
        }

    def request(self, connection: ServerConnection, args: tuple[Any, ...]) -> Request:
        """Return the request for a call; raises BadCall for an unknown action."""
        what, asked = (*args, None, None)[:2]
        action = self.actions.get(what) if isinstance(what, str) else None
        asked = {} if asked is None else asked
        if action is None or not isinstance(asked, dict):
            known = ", ".join(self.actions)
            raise BadCall(f"admin(what, asked) takes one of {known}, and a dict; not {shown(what)}.")
        return action(connection, asked)
