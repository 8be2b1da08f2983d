"""The simulation: rounds of trouble, each with a calm at its end in which everything must come to its end.

make sim SEED=7 STEPS=100000
"""

from __future__ import annotations

import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.sim import invariants
from tests.sim.actors import Client, Plain, Worker
from tests.sim.hostile import Hostile
from tests.sim.master import TTL_S, Disk, Master
from tests.sim.operator import Operator
from tests.sim.world import Actor, World

from distq.core.head import unpack_dead
from distq.core.states import DEAD

ROUND_STEPS: Final = 2_500
CALM_STEPS_MAX: Final = 150_000
ON_ITS_WAY_S: Final = 5.0
"""What the master has answered is with its caller by then."""
CLIENTS_MAX: Final = 4
"""Clients that live at one time; beyond it the oldest of them ends as a program does."""
TROUBLE: Final = 0.02
"""How often something breaks, by step."""


class Simulation:
    """One seed's run."""

    durable = False
    """Whether what a master has stored is there for the next one."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.steps = 0
        self.faults: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self._names = 0
        self._epoch = 1
        self.disk: Disk | None = {} if self.durable else None
        self.master = Master(self.world, self._epoch, self.disk, self.restart_the_master)
        self.world.desk = self.master
        self.plain = Plain(self.world)
        self.plain.epoch = self._epoch
        self.clients = [Client(self.world, self._name("client")) for _ in range(2)]
        self.workers = [Worker(self.world, self._name("worker")) for _ in range(2)]
        self.operator = Operator(self.world)
        self.hostile = Hostile(self.world)
        self.programs: list[tuple[str, Actor]] = []
        for role in ("producer", "worker", "worker", "collector"):
            self._start(role)

    def run(self, steps: int) -> None:
        """Take at least so many steps, in whole rounds; raises AssertionError."""
        while self.steps < steps:
            for _ in range(ROUND_STEPS):
                if self.world.dice.random() < TROUBLE:
                    self._break_something()
                self._step()
            self._calm()

    def _step(self) -> None:
        self.steps += 1
        self.world.step()
        invariants.check(self.master, self.workers)

    def _name(self, what: str) -> str:
        self._names += 1
        return f"{what} {self._names}"

    def _start(self, role: str) -> None:
        self.programs.append((role, Actor(self.world, self._name(role), getattr(self.plain, role))))

    # -- trouble -------------------------------------------------------------------------------

    def _break_something(self) -> None:
        faults: tuple[tuple[int, Callable[[], None]], ...] = (
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
        (fault,) = self.world.dice.choices([fault for _, fault in faults], [weight for weight, _ in faults])
        self.faults[fault.__name__] += 1
        fault()

    def _end(self) -> tuple[float, bool]:
        """How soon the master hears of an end, and whether what is under way arrives before."""
        dice = self.world.dice
        return dice.choice((0.0, 0.0, 0.001, 0.9, 55.0)), dice.random() < 0.5

    def cut_a_connection(self) -> None:
        """At either end's side of a message, heard of at once or much later."""
        if self.world.wires:
            heard_s, arrives = self._end()
            self.world.dice.choice(list(self.world.wires)).cut(heard_s=heard_s, arrives=arrives)

    def kill_an_executor(self) -> None:
        """Its supervisor says how, if it can."""
        worker = self.world.dice.choice(self.workers)
        if worker.executors:
            worker.lose(self.world.dice.choice(list(worker.executors.values())), "exit code 3")

    def kill_a_worker(self) -> None:
        """Supervisor and executors at once, or their host; another one starts."""
        heard_s, arrives = self._end()
        worker = self.world.dice.choice(self.workers)
        worker.kill(heard_s=heard_s, arrives=arrives)
        self.workers.remove(worker)
        self.workers.append(Worker(self.world, self._name("worker")))

    def freeze_a_worker(self) -> None:
        """SIGSTOP, sometimes for longer than its lease."""
        self.world.dice.choice(self.workers).freeze(self.world.dice.random() * 70)

    def silence_a_supervisor(self) -> None:
        """It alone is stuck; its executors go on."""
        supervisor = self.world.dice.choice(self.workers).supervisor
        supervisor.frozen_until = self.world.at + self.world.dice.random() * 70

    def kill_a_program(self) -> None:
        """One of the standard library's programs; another one starts."""
        role, actor = self.programs.pop(self.world.dice.randrange(len(self.programs)))
        if role == "collector":
            self.plain.collecting += 1
        heard_s, arrives = self._end()
        actor.kill(heard_s=heard_s, arrives=arrives)
        self._start(role)

    def kill_a_client(self) -> None:
        """Its session never comes back; its tasks run all the same."""
        heard_s, arrives = self._end()
        client = self.world.dice.choice(self._living_clients)
        self.clients.remove(client)
        for actor in client.actors:
            actor.kill(heard_s=heard_s, arrives=arrives)
        self.clients.append(Client(self.world, self._name("client")))

    def fork_a_client(self) -> None:
        """At any point: also with a submit under way, which is the parent's. The child ends soon, or goes on."""
        living = self._living_clients
        self.clients.append(self.world.dice.choice(living).fork(self._name("child")))
        if len(living) >= CLIENTS_MAX:
            living[0].submits_left = 0

    @property
    def _living_clients(self) -> list[Client]:
        return [client for client in self.clients if not client.over]

    def let_time_pass(self) -> None:
        """Everybody is late."""
        self.world.at += self.world.dice.random() * 40

    def set_the_clock(self) -> None:
        """Of the master's machine: by a little, or by more than anything here lasts."""
        self.world.set_the_clock(self.world.dice.choice((0.7, -0.7, 25.0, -25.0, 70.0)))
        self.master.broker.wake()

    def restart_the_master(self) -> None:
        """What it had in memory is lost with it; a new epoch begins."""
        self.master.end()
        self._epoch += 1
        self.master = Master(self.world, self._epoch, self.disk, self.restart_the_master)
        if not self.disk:
            self.plain.epoch = self._epoch
            self.plain.put.clear()
            self.plain.taken.clear()
            self.plain.collecting = 0
        for wire in list(self.world.wires):
            wire.open = False
            wire.cut(heard_s=0.0, arrives=False)
        self.world.desk = self.master

    # -- calm ----------------------------------------------------------------------------------

    def _calm(self) -> None:
        """Nothing breaks for a while, and somebody serves everything: all that was accepted must end."""
        self.world.calm = True
        helper = Worker(self.world, self._name("worker"), universal=True)
        self.workers.append(helper)
        for role, actor in list(self.programs):
            if not actor.alive:  # a worker that met an item that it could not bear
                self.programs.remove((role, actor))
                self._start(role)
        began = self.steps
        while not self._at_rest():
            assert self.steps - began < CALM_STEPS_MAX, self._what_is_left()
            self._step()
        rest_at = self.world.at
        while self.world.at < rest_at + ON_ITS_WAY_S or not self._at_rest():
            self._step()
        invariants.nothing_is_left(self.master)
        self._check_plain_items()
        for client in list(self.clients):
            if client.over:
                self._check_what_was_left_behind(client)
                self.clients.remove(client)
            self.ends.update(client.heard.values())
            client.accepted.clear()
            client.heard.clear()
            client.adopted.clear()
        while len(self.clients) < 2:
            self.clients.append(Client(self.world, self._name("client")))
        self.workers.remove(helper)
        helper.kill(heard_s=0.0, arrives=True)
        if self.disk is not None:
            self.disk = {}
        self.restart_the_master()
        self.world.calm = False

    def _at_rest(self) -> bool:
        live = sum(queue.live for queue in self.master.ledger.registry.queues.values())
        return not live and self.master.broker.idle and not any(client.is_busy for client in self.clients)

    def _what_is_left(self) -> str:
        pending = {client.session: sorted(map(hex, client.pending)) for client in self.clients if client.is_busy}
        live = {name: queue.counts for name, queue in self.master.ledger.registry.queues.items() if queue.live}
        return f"it does not come to rest: clients wait for {pending}, queues hold {live}"

    def _check_what_was_left_behind(self, client: Client) -> None:
        """A client has ended: each task that it was told is accepted has come to its end all the same."""
        for key in client.accepted.keys() - client.adopted - client.heard.keys():
            if key >> 40 != self._epoch and not self.durable:
                continue
            task, sent_at = self.master.ledger.state.tasks.get(key), client.sent_at[key]
            over = self.world.at - sent_at >= TTL_S or self.world.set_at >= sent_at
            assert task is not None or over or key in self.world.purged, f"{key:x} of {client.session} was lost"
            self.ends["without its client"] += 1

    def _check_plain_items(self) -> None:
        """Each item that was put has a result, is a dead letter, or was lost on the way to a collector that died."""
        dead = set()
        for task in self.master.ledger.state.tasks.values():
            if task.state == DEAD and task.envelope.queue.name == "work" and task.envelope.kind == "plain":
                dead.add(pickle.loads(unpack_dead(self.master.store.body(task.task_key)).arguments)[1])
        missing = self.plain.put.keys() - self.plain.taken.keys() - dead
        assert len(missing) <= self.plain.collecting, f"items {sorted(missing)} are gone"
        assert all(self.plain.put[number].startswith((b"bad", b"poison")) is False for number in missing)
        self.ends["plain"] += len(self.plain.put)


class Durable(Simulation):
    """The same with a disk: what a master has answered is there for the next one, whenever it dies."""

    durable = True


def run(seed: int, steps: int, kind: type[Simulation] = Simulation) -> Simulation:
    """Simulate; a failure says how to have it again."""
    simulation = kind(seed)
    try:
        simulation.run(steps)
    except BaseException:
        print(
            f"\nstep {simulation.steps} failed. Once more: make sim SEED={seed} STEPS={simulation.steps}",
            file=sys.stderr,
        )
        raise
    return simulation


def main() -> None:
    """Run the seed and the number of steps of the command line, and say what happened."""
    seed, steps = int(sys.argv[1]), int(sys.argv[2])
    began = time.perf_counter()
    simulations = [run(seed, steps, kind) for kind in (Durable, Simulation)]
    took_s = time.perf_counter() - began
    done = sum(simulation.steps for simulation in simulations)
    print(f"seed {seed}: {done:,} steps in {took_s:.1f} s, {done / took_s * 60:,.0f} a minute")
    for simulation in simulations:
        print("with a disk" if simulation.durable else "in memory")
        for title, counter in (("ends", simulation.ends), ("faults", simulation.faults)):
            print(f"  {title}: {', '.join(f'{count:,} {name}' for name, count in counter.most_common())}")


if __name__ == "__main__":
    main()
