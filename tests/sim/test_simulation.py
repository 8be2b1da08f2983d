"""Short runs of the simulation; `make sim` runs it for longer."""

import os
import subprocess
import sys

import pytest
from tests.sim.simulation import Durable, Simulation, run
from tests.tidy.tree import ROOT

STEPS = 25_000


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_accepted_task_ends_once_under_faults(seed: int) -> None:
    """P2, P4, P5, P6 hold after each step; a client receives each end once, unless the master that had it restarted."""
    simulation = run(seed, STEPS, Simulation)
    assert simulation.ends["succeeded"] > 60
    assert simulation.ends["plain"] > 20
    assert set(simulation.faults) >= {"cut_a_connection", "kill_an_executor", "kill_a_program", "freeze_a_worker"}
    assert simulation.faults["set_the_clock"] > 3
    assert simulation.faults["fork_a_client"] > 5
    assert simulation.ends["without its client"] > 0
    assert simulation.hostile.answered > 50


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_accepted_task_ends_once_although_masters_with_a_disk_die(seed: int) -> None:
    """P1, P2, P3 hold if a master dies at any await of a commit or a read, also if the commit's outcome is unknown."""
    simulation = run(seed, STEPS, Durable)
    assert simulation.ends["succeeded"] > 60
    assert simulation.ends["plain"] > 20
    assert simulation.faults["restart_the_master"] > 10
    assert simulation.faults["fork_a_client"] > 5
    assert simulation.ends["without its client"] > 0
    assert "lost with the master" not in simulation.ends


def test_a_seed_replays_its_run() -> None:
    """Two runs of one seed take the same steps and end at the same time with the same ends."""
    first, second = (run(7, 5_000, Simulation) for _ in range(2))
    assert (first.steps, first.world.at, first.ends) == (second.steps, second.world.at, second.ends)


@pytest.mark.parametrize("kind", ["Durable", "Simulation"])
def test_a_seed_replays_its_run_in_another_process(kind: str) -> None:
    """The hashes of texts differ from process to process, and with them the order of a set of texts."""
    program = (
        f"from tests.sim.simulation import {kind}, run; made = run(3, 4_000, {kind}); "
        "print(made.steps, made.world.at, made.world.rng.random(), sorted(made.ends.items()))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    outputs = [run.communicate()[0].splitlines() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert outputs[0][-1] == outputs[1][-1]  # before it come lines of the log, with the real time


def test_a_failure_prints_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command has the seed and the number of the failed step."""

    def fail(simulation: Simulation, steps: int) -> None:
        simulation.steps = 12
        raise AssertionError("something is wrong")

    monkeypatch.setattr(Simulation, "run", fail)
    with pytest.raises(AssertionError, match="something is wrong"):
        run(7, 100, Simulation)
    assert "make sim SEED=7 STEPS=12" in capsys.readouterr().err
