"""Tests of several masters on one PostgreSQL store: one leads, the others stand by and pass connections on."""

import re
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from multiprocessing.managers import BaseProxy
from pathlib import Path

import pytest
from tests.e2e import tasks
from tests.e2e.cluster import KEY, Cluster, Process
from tests.e2e.holding import go, holders, running, store_the_leases
from tests.ports import free_port
from tests.storage.postgresql.server import PostgresServer, server_in, short_folder, standby_of
from tests.waiting import eventually

from distq import Client, QueueManager

pytestmark = pytest.mark.postgresql

TASKS = 1_000
END_LEADER = (
    "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name LIKE 'distq commit %' "
    "OR pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)"
)
"""Ends both sessions of the leader."""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Yield a server of this test's own."""
    with short_folder() as folder, server_in(folder) as made:
        yield made


class Masters:
    """Masters on one store, each with a port of its own."""

    def __init__(self, grid: Cluster, server: PostgresServer) -> None:
        self.grid = grid
        self.server = server
        self.store = server.url
        self.ports: list[int] = [free_port() for _ in range(3)]
        self.http_ports: list[int] = [free_port() for _ in range(3)]
        self.addresses = ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, number: int, **settings: str) -> Process:
        """Start a master and wait until it listens."""
        return self.grid.master(
            DISTQ_STORE=self.store,
            DISTQ_BIND=f"127.0.0.1:{self.ports[number]}",
            DISTQ_HTTP_ADDRESS=f"127.0.0.1:{self.http_ports[number]}",
            DISTQ_LEADER_LEASE_S="2s",
            **settings,
        )

    def leader(self, number: int, **settings: str) -> Process:
        """Start a master and wait until it leads."""
        master = self.start(number, **settings)
        master.logs("leadership_began")
        return master

    def standby(self, number: int, **settings: str) -> Process:
        """Start a master and wait until it stands by."""
        master = self.start(number, **settings)
        master.logs("master_stood_by")
        return master

    def client(self, *numbers: int) -> Client:
        """Return a client that knows these masters, or all."""
        return Client(",".join(f"127.0.0.1:{self.ports[n]}" for n in numbers or range(3)), KEY)

    def worker(self, concurrency: int = 1) -> Process:
        """Start a worker that knows all masters."""
        return self.grid.tasks(concurrency, DISTQ_ADDRESS=self.addresses)

    def get(self, number: int, path: str) -> tuple[int, str]:
        """Return the status and the text of a page of one master."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_ports[number]}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def leads(self, number: int) -> bool:
        """Whether a master says that it leads."""
        lines = self.get(number, "/metrics")[1].splitlines()
        assert ("distq_leader 1" in lines) != ("distq_leader 0" in lines)
        return "distq_leader 1" in lines

    def leaderships(self, number: int) -> dict[str, int]:
        """Return how many leaderships a master has begun, by cause."""
        found = re.findall(r'distq_leaderships_total{cause="(\w+)"} (\d+)', self.get(number, "/metrics")[1])
        return {cause: int(count) for cause, count in found}


@pytest.fixture
def masters(grid: Cluster, server: PostgresServer) -> Masters:
    """Return masters of which none runs."""
    return Masters(grid, server)


def test_a_standby_passes_connections_on(masters: Masters) -> None:
    """A distq client, a worker and a program of the standard library need not know which master leads."""
    masters.leader(0)
    masters.standby(1)
    masters.grid.tasks(DISTQ_ADDRESS=f"127.0.0.1:{masters.ports[1]}")
    with masters.client(1) as client:
        assert [client.submit(tasks.square, n).result(60) for n in range(5)] == [0, 1, 4, 9, 16]
        assert len(client.submit(tasks.blob, 300_000).result(60)) >= 300_000
    BaseProxy._address_to_local.clear()
    manager = QueueManager(("127.0.0.1", masters.ports[1]), KEY.encode())
    manager.connect()
    work = manager.get_work_queue()
    work.put("plain")
    assert work.qsize() == 1
    assert work.get(timeout=20) == "plain"


def test_peers_connect_directly_to_the_address_that_the_leader_advertises(masters: Masters) -> None:
    """No byte of theirs takes the way through the standby for longer than the greeting."""
    masters.leader(0, DISTQ_ADVERTISE=f"127.0.0.1:{masters.ports[0]}")
    standby = masters.standby(1, DISTQ_ADVERTISE=f"127.0.0.1:{masters.ports[1]}")
    masters.grid.tasks(DISTQ_ADDRESS=f"127.0.0.1:{masters.ports[1]}")
    with masters.client(1) as client:
        assert client.submit(tasks.square, 5).result(60) == 25
        eventually(lambda: "distq_passed_connections 0" in masters.get(1, "/metrics")[1], "nothing is passed on")
        standby.signal(signal.SIGKILL)
        assert client.submit(tasks.square, 6).result(60) == 36


def test_peers_that_cannot_reach_the_advertised_address_stay_with_the_standby(masters: Masters) -> None:
    """The leader may advertise an address of a network that is not theirs."""
    masters.leader(0, DISTQ_ADVERTISE=f"127.0.0.1:{free_port()}")
    with masters.client(0) as client:
        client.submit(tasks.square, 7)
        assert client.flush(60)
        masters.grid.tasks(DISTQ_ADDRESS=f"127.0.0.1:{masters.ports[0]}")
        assert client.submit(tasks.square, 8).result(60) == 64


def test_the_pages_of_a_standby_name_its_role(masters: Masters) -> None:
    """It lives, it is ready because it passes connections on, and it refers to the leader for figures."""
    masters.leader(0)
    masters.standby(1)
    assert masters.get(1, "/livez") == (200, "alive\n")
    status, text = masters.get(1, "/readyz")
    assert (status, f"127.0.0.1:{masters.ports[0]} leads" in text) == (200, True)
    assert not masters.leads(1)
    status, text = masters.get(1, "/api/v1/overview")
    assert (status, f"127.0.0.1:{masters.ports[0]}" in text) == (503, True)
    eventually(lambda: "1 stand by" in masters.get(0, "/readyz")[1], "the leader counts its standby")
    assert masters.leads(0)


def test_p1_a_standby_leads_after_the_leader_was_killed(masters: Masters, held: Path) -> None:
    """No accepted task is lost, each result arrives once, and a task that runs is not run again."""
    first = masters.leader(0)
    second = masters.standby(1)
    masters.worker(2)
    with masters.client() as client:
        held_task = client.submit(tasks.hold, str(held), "done")
        running(held)
        store_the_leases(client)
        futures = [client.submit(tasks.square, n) for n in range(TASKS)]
        assert client.flush(60)
        first.signal(signal.SIGKILL)
        futures += [client.submit(tasks.square, n) for n in range(TASKS)]
        second.logs("leadership_began", cause="takeover")
        assert masters.leaderships(1) == {"handover": 0, "takeover": 1}
        received = Counter(future.result(60) for future in futures)
        assert received == Counter(2 * [n * n for n in range(TASKS)])
        go(held)
        assert held_task.result(60) == "done"
        assert len(holders(held)) == 1


def test_schedules_and_results_stay_over_a_change_of_leader(masters: Masters, held: Path) -> None:
    """A scheduled run that is in flight is not submitted again, later ones are, and earlier results can be read."""
    first = masters.leader(0)
    second = masters.standby(1)
    masters.worker(2)
    with masters.client() as client:
        earlier = client.submit(tasks.square, 12)
        assert earlier.result(60) == 144
        assert earlier.task_id is not None
        client.options(every=0.2).schedule("held", tasks.hold, str(held), "done")
        running(held)
        store_the_leases(client)
        first.signal(signal.SIGKILL)
        second.logs("leadership_began")
        store_the_leases(client)  # it takes longer than several periods of the schedule
        assert len(holders(held)) == 1
        assert client.result(earlier.task_id, 60) == 144
        (begun,) = holders(held)
        (held / str(begun)).unlink()
        go(held)
        running(held)  # a later run under the second leader


def test_a_leader_that_is_stopped_hands_over(masters: Masters) -> None:
    """The next master leads although tasks run; no client gets an error, and a master that comes back stands by."""
    first = masters.leader(0)
    second = masters.standby(1)
    eventually(lambda: "1 stand by" in masters.get(0, "/readyz")[1], "the leader counts its standby")
    masters.worker(2)
    with masters.client() as client:
        futures = [client.submit(tasks.square, n) for n in range(TASKS)]
        first.signal(signal.SIGTERM)
        futures += [client.submit(tasks.square, n) for n in range(TASKS, 2 * TASKS)]
        assert first.ends() == 0
        second.logs("leadership_began", cause="handover")
        assert masters.leaderships(1) == {"handover": 1, "takeover": 0}
        third = masters.standby(0)
        assert [future.result(60) for future in futures] == [n * n for n in range(2 * TASKS)]
    assert first.logs("leadership_released")
    third.signal(signal.SIGTERM)
    assert third.ends() == 0


def test_a_frozen_leader_is_replaced_and_stands_by_when_it_is_thawed(masters: Masters, server: PostgresServer) -> None:
    """Its session and its lock stay while it is frozen; its lease ends, and nothing that it does later is stored."""
    first = masters.leader(0)
    second = masters.standby(1)
    with masters.client(1) as client:
        client.submit(tasks.square, 2)
        assert client.flush(60)
        client.abandon()
    first.signal(signal.SIGSTOP)
    second.logs("leadership_began")
    masters.worker()
    with masters.client() as client:  # the first address accepts connections, and is silent
        assert client.submit(tasks.square, 3).result(60) == 9
    first.signal(signal.SIGCONT)
    first.logs("leadership_ended")
    first.logs("master_stood_by", leader=f"127.0.0.1:{masters.ports[1]}")
    assert masters.get(0, "/readyz")[0] == 200
    assert server.sql("SELECT epoch FROM distq.distq_clusters") == [(2,)]
    second.signal(signal.SIGKILL)
    first.logs("leadership_began", times=2)
    with masters.client(0) as client:
        assert client.submit(tasks.square, 4).result(60) == 16


def test_a_leader_whose_sessions_are_ended_goes_on_alone(masters: Masters, server: PostgresServer) -> None:
    """It may answer until its lease is over, so no standby leads meanwhile, although the lock is free."""
    first = masters.leader(0)
    masters.standby(1)
    eventually(lambda: "1 stand by" in masters.get(0, "/readyz")[1], "the leader counts its standby")
    for _ in range(3):
        beats = server.sql("SELECT beat FROM distq.distq_leases")[0][0]
        server.sql(END_LEADER)
        while server.sql("SELECT beat FROM distq.distq_leases")[0][0] < beats + 4:  # more than a lease
            both = masters.leads(0) and masters.leads(1) and masters.leads(0)
            assert not both, "two masters lead"
    assert server.sql("SELECT epoch FROM distq.distq_clusters") == [(1,)]
    assert "leadership_ended" not in first.log.read_text()
    masters.worker()
    with masters.client() as client:
        assert client.submit(tasks.square, 3).result(60) == 9


def test_p1_no_accepted_task_is_lost_when_the_database_fails_over(masters: Masters, server: PostgresServer) -> None:
    """A synchronous standby has every commit that a client knows of, and the masters find it when it is promoted."""
    with standby_of(server) as standby:
        masters.store = server.url_with(standby)
        masters.leader(0)
        masters.standby(1)
        with masters.client() as client:
            futures = [client.submit(tasks.square, n) for n in range(TASKS)]
            assert client.flush(60)
            server.kill()
            standby.promote()  # before the submits: without a leader they wait for DISTQ_CONNECT_WAIT_S at most
            futures += [client.submit(tasks.square, n) for n in range(TASKS)]
            masters.worker(2)
            assert Counter(future.result(60) for future in futures) == Counter(2 * [n * n for n in range(TASKS)])


def test_a_commit_that_waits_for_a_synchronous_standby_is_not_cancelled(
    masters: Masters, server: PostgresServer
) -> None:
    """The leader keeps its lease, for longer than that lasts, and answers the submit when the standby is back."""
    commits = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'distq commit %'"
    waiting = f"{commits} AND wait_event = 'SyncRep'"
    beat = "SELECT beat FROM distq.distq_leases"
    with standby_of(server) as standby:
        leader = masters.leader(0)
        masters.worker()
        with masters.client() as client:
            assert client.submit(tasks.square, 3).result(60) == 9
            standby.stop(signal.SIGQUIT)
            future = client.submit(tasks.square, 4)
            eventually(lambda: server.sql(waiting) == [(1,)], "the commit waits for the standby")
            ((first,),) = server.sql(beat)
            eventually(lambda: server.sql(beat)[0][0] > first + 4, "the lease was renewed for longer than it lasts")
            assert not future.done()
            assert server.sql(waiting) == [(1,)]
            standby.start()
            assert future.result(60) == 16
        assert "leadership_ended" not in leader.log.read_text()
