"""Tests of clients that do not read what the master writes to them."""

import signal
from pathlib import Path

from tests.e2e import tasks
from tests.e2e.cluster import Cluster
from tests.e2e.slow_reader import RESULT_BYTES
from tests.waiting import eventually

LARGE = "40MiB"


def test_a_suspended_client_is_disconnected_and_loses_no_result(grid: Cluster, tmp_path: Path) -> None:
    """The master keeps the results, serves the others meanwhile, and sends them when the client connects again."""
    master = grid.master(DISTQ_UNREAD_S="1s", DISTQ_PAYLOAD_BYTES_MAX=LARGE)
    grid.tasks(2, "tests.e2e.slow_reader", DISTQ_PAYLOAD_BYTES_MAX=LARGE).executors(2)
    program = grid.run("tests.e2e.slow_reader", str(tmp_path), launcher=("-m",), DISTQ_PAYLOAD_BYTES_MAX=LARGE)
    eventually(lambda: "asked" in program.text, "the program asks for results", lambda: program.text)
    eventually(lambda: grid.count_of("leased") == 2, "the tasks run")
    program.signal(signal.SIGSTOP)
    try:
        (tmp_path / "go").touch()
        (refused,) = master.logs("peer_turned_away")
        assert "DISTQ_UNREAD_S" in refused["reason"]
        with grid.client() as other:
            assert other.submit(tasks.square, 3).result(20) == 9
    finally:
        program.signal(signal.SIGCONT)
    assert program.ends() == 0, program.text
    assert [line for line in program.text.splitlines() if line.startswith("result")] == [
        f"result {number} {RESULT_BYTES}" for number in range(2)
    ]
