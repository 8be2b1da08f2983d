"""Short runs of the simulation of several masters; `make sim` runs it for longer."""

from collections import Counter

import pytest
from tests.sim.database import Database
from tests.sim.replica import Node
from tests.sim.replicated import Replicated
from tests.sim.simulation import run

SEEDS_PER_TEST = 40


@pytest.mark.parametrize("first", [0, 40, 80, 120, 160])
def test_one_master_leads_at_a_time_and_every_accepted_task_ends_once(first: int) -> None:
    """P1, P2, P4 hold although masters die, freeze and are separated, and although the database crashes."""
    faults: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    leaderships = fenced = 0
    for seed in range(first, first + SEEDS_PER_TEST):
        simulation = run(seed, 1, Replicated)
        faults += simulation.faults
        ends += simulation.ends
        leaderships += simulation.leaderships
        fenced += simulation.database.fenced
    assert leaderships > 2 * SEEDS_PER_TEST
    assert fenced, "no commit of an earlier leader has come late"
    assert ends["succeeded"] > SEEDS_PER_TEST
    assert "lost with the master" not in ends
    assert {fault for fault, count in faults.items() if count > 5} >= {
        "kill_a_master",
        "end_a_master",
        "freeze_a_master",
        "separate_from_the_database",
        "separate_during_a_commit",
        "separate_from_peers",
        "end_the_sessions",
        "crash_the_database",
    }


def failures(seeds: int) -> list[str]:
    """The first failure of the simulations of these seeds, if there is one."""
    for seed in range(seeds):
        try:
            run(seed, 1, Replicated)
        except AssertionError as exc:
            return [str(exc)]
    return []


def test_the_simulation_fails_without_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stores commits of earlier epochs has other tasks than the leader knows, or two ends of one."""

    def begin_without_fence(database: Database, epoch: int) -> None:
        begin(database, epoch)
        database.fences = False

    begin = Database.begin
    monkeypatch.setattr(Database, "begin", begin_without_fence)
    assert failures(400)


def test_the_simulation_fails_without_the_check_of_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that answers after its lease has ended answers beside the next one."""
    monkeypatch.setattr(Node, "checks_lease", False)
    (failure,) = failures(400)
    assert "answers as the leader of epoch" in failure


def test_the_simulation_fails_if_a_standby_trusts_the_database_about_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A leader without a session may live: it answers until its lease is over, beside the next one."""
    monkeypatch.setattr(Node, "asks_leader", False)
    (failure,) = failures(400)
    assert "answers as the leader of epoch" in failure


def test_a_seed_replays_its_run() -> None:
    """Two runs of one seed take the same steps and end at the same time with the same ends."""
    first, second = (run(18, 1, Replicated) for _ in range(2))
    assert first.steps == second.steps
    assert first.world.at == second.world.at
    assert first.world.rng.random() == second.world.rng.random()
    assert (first.ends, first.faults) == (second.ends, second.faults)
