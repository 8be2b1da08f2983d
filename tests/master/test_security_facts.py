"""What the URL of a store says of the way to it."""

import pytest

from distq.master.security_facts import store_report
from distq.protocol.security_report import StoreReport


@pytest.mark.parametrize(
    ("url", "is_local", "sslmode"),
    [
        ("postgresql://distq@db.example.com/distq", False, ""),
        ("postgresql://distq@db.example.com:5432/distq?sslmode=verify-full&schema=a", False, "verify-full"),
        ("postgresql://distq@localhost:5432/distq", True, ""),
        ("postgresql://127.0.0.1/distq", True, ""),
        ("postgresql://[::1]:5432/distq", True, ""),
        ("postgresql:///distq", True, ""),
        ("postgresql:///distq?host=/run/postgresql", True, ""),
        ("postgresql:///distq?host=db.example.com", False, ""),
        ("postgresql://%2Frun%2Fpostgresql/distq", True, ""),
        ("postgresql://localhost,db.example.com/distq?sslmode=prefer", False, "prefer"),
    ],
)
def test_a_database_is_local_where_no_network_leads_to_it(url: str, is_local: bool, sslmode: str) -> None:
    """All hosts of a URL have to be this machine."""
    assert store_report(url, 1) == StoreReport("postgresql", is_local, sslmode, 1)


def test_a_file_and_memory_are_local_and_for_one_master() -> None:
    """No other master can open them."""
    assert store_report("sqlite:////var/lib/distq/queue.db", None) == StoreReport("sqlite", True, "", None)
    assert store_report("memory:", None) == StoreReport("memory", True, "", None)
