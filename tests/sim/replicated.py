"""The simulation of several masters on one database; `make sim` runs it too.

Besides the faults of `tests.sim.simulation` it kills, ends and freezes masters, separates them from the database, from
their peers and from each other, ends the sessions of masters that go on, and crashes the database. What it checks
besides: no master answers after a later leader has answered, so that no two lease one task at an instant; every commit
in the database ends a task at most once and makes one task of each instant of a schedule; and every accepted task is
stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.sim import invariants
from tests.sim.database import Database
from tests.sim.master import Master
from tests.sim.replica import LEASE_S, Node, Path
from tests.sim.simulation import Simulation
from tests.sim.world import CallHandler

MASTERS: Final = 3
STEPS_PER_CHECK: Final = 20
"""Steps between two checks of all tasks of the leader, which take longer than the steps."""
SESSION_TIMEOUT_S: Final = 5.0
"""Seconds after which a master that is separated from the database regards its sessions as ended."""
LEADER_S_MAX: Final = 60.0
"""Maximum seconds until one of the masters leads, without a fault."""
LEADER_SHARE: Final = 0.7
"""Share of the faults of masters that meet the leader."""


class Replicated(Simulation):
    """A simulation with several masters."""

    durable = True
    round_steps = 1_500
    fault_probability = 0.02

    def start_a_master(self) -> Master:
        """Start all masters, and wait until one of them leads."""
        self.answered_epoch = 0
        """The epoch of the newest leader that has answered a call."""
        self.leaderships = 0
        self.waits_for_commit = False
        self.leader: Node | None = None
        self.database = Database(self.world)
        self.world.route = self._route
        self.world.replied = self._replied
        self.nodes = [Node(self.world, self.database, f"master {number}", self._led) for number in range(MASTERS)]
        return self._first_leader()

    def _first_leader(self) -> Master:
        started_at = self.world.at
        while self._leading() is None:
            assert self.world.at - started_at < LEADER_S_MAX, "no master leads"
            self.world.step()
        leader = self._leading()
        assert leader is not None
        assert leader.master is not None
        return leader.master

    def _leading(self) -> Node | None:
        """The node that leads in the newest epoch, None if that leader has ended or no node leads."""
        leader = self.leader
        return leader if leader is not None and leader.leads_in == self.database.epoch else None

    def _led(self, node: Node) -> None:
        assert node.master is not None
        if node.leads_in < self.database.epoch:
            return  # it was frozen just before, and another one leads: it will stand by when it checks its lease
        self.leader, self.master = node, node.master
        self.leaderships += 1
        for name, queue in node.master.ledger.registry.queues.items():
            assert node.master.loaded[name] == queue.live

    def _route(self) -> CallHandler | None:
        return self.world.rng.choice(self.nodes).path()

    def _replied(self, handler: CallHandler) -> None:
        assert isinstance(handler, Path)
        assert handler.epoch >= self.answered_epoch, (
            f"{handler.leader.name} answers as the leader of epoch {handler.epoch}, after one of {self.answered_epoch}"
        )
        self.answered_epoch = handler.epoch

    def step(self) -> None:
        """Take one step, and sometimes check the leader's tasks."""
        self.steps += 1
        self.world.step()
        leader = self._leading()
        if self.waits_for_commit and leader is not None and self.master.broker.waits is not None:
            self.waits_for_commit = False
            self._separate(leader, LEASE_S + self.world.rng.random() * LEASE_S)
        if self.steps % STEPS_PER_CHECK == 0 and leader is not None:
            invariants.check(self.master, self.workers)

    # -- faults --------------------------------------------------------------------------------

    def kinds(self) -> tuple[tuple[int, Callable[[], None]], ...]:
        """All faults, with their weights."""
        unlike = (self.set_the_clock, self.restart_the_master)
        return (
            *((weight, fault) for weight, fault in super().kinds() if fault not in unlike),
            (15, self.kill_a_master),
            (8, self.end_a_master),
            (12, self.freeze_a_master),
            (12, self.separate_from_the_database),
            (8, self.separate_from_peers),
            (15, self.separate_during_a_commit),
            (8, self.end_the_sessions),
            (4, self.crash_the_database),
        )

    def _victim(self) -> Node | None:
        """A running master, mostly the leader."""
        leader = self._leading()
        if leader is not None and self.world.rng.random() < LEADER_SHARE:
            return leader
        running = [node for node in self.nodes if node.is_running]
        return self.world.rng.choice(running) if running else None

    def kill_a_master(self) -> None:
        """Kill a master, at whatever it waits; its machine may be lost too, so that its sessions end later."""
        if (node := self._victim()) is not None:
            rng = self.world.rng
            there_in_s = rng.choice((0.0, 0.0, 0.001, 8.0))
            node.die(there_in_s, unsent_is_lost=rng.random() < 0.5)
            self.world.later(rng.random() * 3, node.start)

    def end_a_master(self) -> None:
        """Let a master hand over and end."""
        if (node := self._victim()) is not None:
            node.hand_over()
            self.world.later(4.0, node.start)

    def freeze_a_master(self) -> None:
        """Stop a master as SIGSTOP does, sometimes for longer than its lease."""
        if (node := self._victim()) is not None:
            node.machine.frozen_until = self.world.at + self.world.rng.random() * 3 * LEASE_S

    def separate_from_the_database(self) -> None:
        """Let no message pass between a master and the database for a while; messages on their way arrive after it."""
        if (node := self._victim()) is not None:
            self._separate(node, self.world.rng.random() * 2 * SESSION_TIMEOUT_S)

    def separate_during_a_commit(self) -> None:
        """Separate the leader when it next waits for a commit, until another one leads: the commit arrives then."""
        self.waits_for_commit = True

    def _separate(self, node: Node, for_s: float) -> None:
        node.link.separated_until = self.world.at + for_s
        if for_s > SESSION_TIMEOUT_S:
            node.link.end(here_in_s=SESSION_TIMEOUT_S, there_in_s=for_s + self.world.delay_s())

    def end_the_sessions(self) -> None:
        """End the sessions of a master that goes on, as an operator does; a separated one does not notice it."""
        if (node := self._victim()) is not None:
            rng = self.world.rng
            if rng.random() < 0.5:
                node.link.separated_until = self.world.at + rng.random() * LEASE_S
            node.link.terminate(here_in_s=rng.random() * LEASE_S)

    def separate_from_peers(self) -> None:
        """Let no connection reach a master for a while, from peers or through standbys; the open ones end."""
        if (node := self._victim()) is not None:
            node.peers_separated_until = self.world.at + self.world.rng.random() * 20
            for connection in list(self.world.connections):
                if isinstance(connection.handler, Path) and node in connection.handler.nodes:
                    noticed_in_s, arrives = self._connection_end()
                    connection.cut(noticed_in_s=noticed_in_s, arrives=arrives)

    def crash_the_database(self) -> None:
        """Crash the database; what it has confirmed is there afterwards."""
        self.database.crash([node.link for node in self.nodes])

    # -- recovery ------------------------------------------------------------------------------

    def is_idle(self) -> bool:
        """Whether a master leads, every accepted task has ended, and every client knows that."""
        return self._leading() is not None and super().is_idle()

    def check_ends(self) -> None:
        """Compare the ends of the tasks and the leader's tasks with the database."""
        super().check_ends()
        for client in self.clients:
            lost = client.accepted.keys() - self.database.ends.keys()
            assert not lost, f"the database has no end of {sorted(map(hex, lost))} of {client.session}"
        stored = {key for key in self.database.rows if key > 0}
        assert stored == set(self.master.ledger.state.tasks), "the leader knows other tasks than the database"

    def begin_round(self) -> None:
        """Start all masters on an empty database."""
        self.waits_for_commit = False
        for node in self.nodes:
            if node.is_running:
                node.die(0.0, unsent_is_lost=True)
        self.database.begin(self.database.epoch)
        for node in self.nodes:
            node.peers_separated_until = 0.0
            node.start()
        self.master = self._first_leader()
