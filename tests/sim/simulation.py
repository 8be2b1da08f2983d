"""The simulation: rounds with faults, each followed by a recovery without faults in which every task must end.

make sim SEED=7 STEPS=100000
"""

from __future__ import annotations

import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

from tests.sim import invariants
from tests.sim.actors import Client, Plain, Worker
from tests.sim.hostile import Hostile
from tests.sim.master import TTL_S, Disk, Master, SlowStore
from tests.sim.operator import Operator
from tests.sim.world import Actor, World

from distq.core.head import unpack_dead
from distq.core.states import DEAD

ROUND_STEPS: Final = 2_500
RECOVERY_STEPS_MAX: Final = 150_000
REPLY_S: Final = 5.0
"""Maximum seconds that an answer of the master takes to its caller."""
CLIENTS_MAX: Final = 4
"""Maximum running clients; a fork beyond it lets the oldest client end after its present submit."""


class Simulation:
    """One seed's run."""

    round_steps = ROUND_STEPS
    """Steps with faults before each recovery."""
    fault_probability = 0.02
    """Probability of a fault in each step."""
    durable = False
    """Whether the next master finds the rows that a master has stored."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.world.route = lambda: self.master
        self.steps = 0
        self.faults: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self._name_count = 0
        self._epoch = 1
        self.disk: Disk | None = {} if self.durable else None
        self.master = self.start_a_master()
        self.plain = Plain(self.world)
        self.plain.epoch = self._epoch
        self.clients = [Client(self.world, self._name("client")) for _ in range(2)]
        self.workers = [Worker(self.world, self._name("worker")) for _ in range(2)]
        self.operator = Operator(self.world)
        self.hostile = Hostile(self.world)
        self.programs: list[tuple[str, Actor]] = []
        for role in ("producer", "worker", "worker", "collector"):
            self._start(role)

    def start_a_master(self) -> Master:
        """Start a master of this epoch; it has what the disk has."""
        return Master(self.world, SlowStore(self.world, self._epoch, self.disk), self.restart_the_master)

    def run(self, steps: int) -> None:
        """Take at least `steps` steps, in whole rounds; raises AssertionError if an invariant breaks."""
        while self.steps < steps:
            for _ in range(self.round_steps):
                if self.world.rng.random() < self.fault_probability:
                    self._break_something()
                self.step()
            self.recover()

    def step(self) -> None:
        """Take one step, and check every invariant."""
        self.steps += 1
        self.world.step()
        invariants.check(self.master, self.workers)

    def _name(self, what: str) -> str:
        self._name_count += 1
        return f"{what} {self._name_count}"

    def _start(self, role: str) -> None:
        self.programs.append((role, Actor(self.world, self._name(role), getattr(self.plain, role))))

    # -- faults --------------------------------------------------------------------------------

    def _break_something(self) -> None:
        faults = self.kinds()
        (fault,) = self.world.rng.choices([fault for _, fault in faults], [weight for weight, _ in faults])
        self.faults[fault.__name__] += 1
        fault()

    def kinds(self) -> tuple[tuple[int, Callable[[], None]], ...]:
        """All faults, with their weights."""
        return (
            (30, self.cut_a_connection),
            (15, self.kill_an_executor),
            (4, self.kill_a_worker),
            (4, self.freeze_a_worker),
            (3, self.silence_a_supervisor),
            (10, self.kill_a_program),
            (3, self.kill_a_client),
            (6, self.fork_a_client),
            (6, self.let_time_pass),
            (3, self.set_the_clock),
            (10 if self.durable else 1, self.restart_the_master),
        )

    def _connection_end(self) -> tuple[float, bool]:
        """Seconds until the master notices a broken connection, and whether calls on their way arrive before."""
        rng = self.world.rng
        return rng.choice((0.0, 0.0, 0.001, 0.9, 55.0)), rng.random() < 0.5

    def cut_a_connection(self) -> None:
        """Break a connection before or after a message arrives; the master notices immediately or much later."""
        if self.world.connections:
            noticed_in_s, arrives = self._connection_end()
            self.world.rng.choice(list(self.world.connections)).cut(noticed_in_s=noticed_in_s, arrives=arrives)

    def kill_an_executor(self) -> None:
        """Kill an executor; its supervisor reports the cause if it still runs."""
        worker = self.world.rng.choice(self.workers)
        if worker.executors:
            worker.lose(self.world.rng.choice(list(worker.executors.values())), "exit code 3")

    def kill_a_worker(self) -> None:
        """Kill a supervisor and its executors together, as the loss of their host does, and start another worker."""
        noticed_in_s, arrives = self._connection_end()
        worker = self.world.rng.choice(self.workers)
        worker.kill(noticed_in_s=noticed_in_s, arrives=arrives)
        self.workers.remove(worker)
        self.workers.append(Worker(self.world, self._name("worker")))

    def freeze_a_worker(self) -> None:
        """Stop all processes of a worker as SIGSTOP does, sometimes for longer than its lease."""
        self.world.rng.choice(self.workers).freeze(self.world.rng.random() * 70)

    def silence_a_supervisor(self) -> None:
        """Stop a supervisor alone; its executors go on."""
        supervisor = self.world.rng.choice(self.workers).supervisor
        supervisor.frozen_until = self.world.at + self.world.rng.random() * 70

    def kill_a_program(self) -> None:
        """Kill a standard-library program, and start another one."""
        role, actor = self.programs.pop(self.world.rng.randrange(len(self.programs)))
        if role == "collector":
            self.plain.collecting += 1
        noticed_in_s, arrives = self._connection_end()
        actor.kill(noticed_in_s=noticed_in_s, arrives=arrives)
        self._start(role)

    def kill_a_client(self) -> None:
        """Kill a client; its session never comes back, and its tasks still run."""
        noticed_in_s, arrives = self._connection_end()
        client = self.world.rng.choice(self._living_clients)
        self.clients.remove(client)
        for actor in client.actors:
            actor.kill(noticed_in_s=noticed_in_s, arrives=arrives)
        self.clients.append(Client(self.world, self._name("client")))

    def fork_a_client(self) -> None:
        """Fork a client, also during a submit; that submit stays the parent's. The child may end soon."""
        living = self._living_clients
        self.clients.append(self.world.rng.choice(living).fork(self._name("child")))
        if len(living) >= CLIENTS_MAX:
            living[0].submits_left = 0

    @property
    def _living_clients(self) -> list[Client]:
        return [client for client in self.clients if not client.ended]

    def let_time_pass(self) -> None:
        """Let time pass without an event, so that all processes are late."""
        self.world.at += self.world.rng.random() * 40

    def set_the_clock(self) -> None:
        """Set the clock of the master's machine, by less than a second or by more than any of its durations."""
        self.world.set_the_clock(self.world.rng.choice((0.7, -0.7, 25.0, -25.0, 70.0)))
        self.master.broker.wake()

    def restart_the_master(self) -> None:
        """Restart the master; its memory is lost, and a new epoch begins."""
        self.master.end()
        self._epoch += 1
        self.master = self.start_a_master()
        if not self.disk:
            self.plain.epoch = self._epoch
            self.plain.put.clear()
            self.plain.taken.clear()
            self.plain.collecting = 0
        for connection in list(self.world.connections):
            connection.open = False
            connection.cut(noticed_in_s=0.0, arrives=False)

    # -- recovery ------------------------------------------------------------------------------

    def recover(self) -> None:
        """Inject no fault, and start a worker for every queue and name; every accepted task must end."""
        self.world.fault_free = True
        helper = Worker(self.world, self._name("worker"), universal=True)
        self.workers.append(helper)
        for role, actor in list(self.programs):
            if not actor.alive:  # a program that a poisonous item has ended
                self.programs.remove((role, actor))
                self._start(role)
        started_at = self.steps
        while not self.is_idle():
            assert self.steps - started_at < RECOVERY_STEPS_MAX, self._describe_unfinished()
            self.step()
        idle_at = self.world.at
        while self.world.at < idle_at + REPLY_S or not self.is_idle():
            self.step()
        self.check_ends()
        for client in list(self.clients):
            if client.ended:
                self._check_tasks_of_ended_client(client)
                self.clients.remove(client)
            self.ends.update(client.known_ends.values())
            client.accepted.clear()
            client.known_ends.clear()
            client.adopted.clear()
        while len(self.clients) < 2:
            self.clients.append(Client(self.world, self._name("client")))
        self.workers.remove(helper)
        helper.kill(noticed_in_s=0.0, arrives=True)
        self.begin_round()
        self.world.fault_free = False

    def begin_round(self) -> None:
        """Restart the master with an empty store."""
        if self.disk is not None:
            self.disk = {}
        self.restart_the_master()

    def is_idle(self) -> bool:
        """Whether every accepted task has ended, and every client knows that."""
        live = sum(queue.live for queue in self.master.ledger.registry.queues.values())
        return not live and self.master.broker.idle and not any(client.is_busy for client in self.clients)

    def check_ends(self) -> None:
        """Check that nothing is left, and that every item has an end."""
        invariants.nothing_is_left(self.master)
        self._check_plain_items()

    def _describe_unfinished(self) -> str:
        pending = {client.session: sorted(map(hex, client.pending)) for client in self.clients if client.is_busy}
        live = {name: queue.counts for name, queue in self.master.ledger.registry.queues.items() if queue.live}
        return f"the simulation does not become idle: clients wait for {pending}, queues hold {live}"

    def _check_tasks_of_ended_client(self, client: Client) -> None:
        """Check that each task that an ended client knew to be accepted has ended too."""
        for key in client.accepted.keys() - client.adopted - client.known_ends.keys():
            if key >> 40 != self._epoch and not self.durable:
                continue
            task, sent_at = self.master.ledger.state.tasks.get(key), client.sent_at[key]
            over = self.world.at - sent_at >= TTL_S or self.world.set_at >= sent_at
            assert task is not None or over or key in self.world.purged, f"{key:x} of {client.session} was lost"
            self.ends["without its client"] += 1

    def _check_plain_items(self) -> None:
        """Check that each item has a result, is a dead letter, or was lost on its way to a collector that died."""
        dead = set()
        for task in self.master.ledger.state.tasks.values():
            if task.state == DEAD and task.envelope.queue.name == "work" and task.envelope.kind == "plain":
                dead.add(pickle.loads(unpack_dead(self.master.store.body(task.task_key)).arguments)[1])
        missing = self.plain.put.keys() - self.plain.taken.keys() - dead
        assert len(missing) <= self.plain.collecting, f"items {sorted(missing)} are gone"
        assert all(self.plain.put[number].startswith((b"bad", b"poison")) is False for number in missing)
        self.ends["plain"] += len(self.plain.put)


class Durable(Simulation):
    """A simulation with a disk: the next master has everything that a master has answered before its death."""

    durable = True


Kind = TypeVar("Kind", bound=Simulation)


def run(seed: int, steps: int, kind: type[Kind]) -> Kind:
    """Simulate; a failure prints the command that repeats it."""
    simulation = kind(seed)
    try:
        simulation.run(steps)
    except BaseException:
        print(
            f"\nstep {simulation.steps} failed. To repeat it: make sim SEED={seed} STEPS={simulation.steps}",
            file=sys.stderr,
        )
        raise
    return simulation


def main() -> None:
    """Run the seed and the number of steps of the command line, and print the ends and the faults."""
    from tests.sim.replicated import Replicated  # noqa: PLC0415 - it is a kind of Simulation

    seed, steps = int(sys.argv[1]), int(sys.argv[2])
    started_at = time.perf_counter()
    kinds = {"several masters": Replicated, "with a disk": Durable, "in memory": Simulation}
    simulations: list[Simulation] = [run(seed, steps, kind) for kind in kinds.values()]
    took_s = time.perf_counter() - started_at
    done = sum(simulation.steps for simulation in simulations)
    print(f"seed {seed}: {done:,} steps in {took_s:.1f} s, {done / took_s * 60:,.0f} a minute")
    for name, simulation in zip(kinds, simulations, strict=True):
        print(name)
        for title, counter in (("ends", simulation.ends), ("faults", simulation.faults)):
            print(f"  {title}: {', '.join(f'{count:,} {name}' for name, count in counter.most_common())}")


if __name__ == "__main__":
    main()
