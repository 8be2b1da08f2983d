"""Ports of tests are distinct, although their programs do not listen yet."""

from tests.ports import free_port

from distq.demo.cluster import free_port as free_port_among


def test_a_port_is_returned_once() -> None:
    """Of 100 ports, 100 calls return each once, although no program listens on any of them."""
    ports = range(20_000, 20_200)
    returned = [free_port_among(ports) for _ in range(100)]
    assert len(set(returned)) == 100
    assert set(returned) <= set(ports)


def test_a_test_gets_a_port_of_its_own_process() -> None:
    """Two calls return two ports."""
    assert free_port() != free_port()
