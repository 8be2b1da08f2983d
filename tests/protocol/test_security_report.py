"""What a master says about its own security, as it is written and read."""

import pickle

import pytest

from distq.protocol.security_report import (
    HttpReport,
    KeyReport,
    SecurityReport,
    StoreReport,
    read_security_report,
    write_security_report,
)

KEY = KeyReport("web", ("submit",), ("mail",), is_old=True, workers=1, clients=2)
WHOLE = SecurityReport(
    KEY,
    (KEY, KEY._replace(name="team")),
    uses_tls=True,
    verifies_clients=False,
    binds_loopback=False,
    http=HttpReport("0.0.0.0", 9001, is_loopback=False, uses_tls=True, has_token=True, takes_plain_keys=False),
    store=StoreReport("postgresql", is_local=False, sslmode="require", standbys=2),
    limits_off=("DISTQ_TIME_LIMIT",),
    auth_failures=3,
    forbidden_calls={"web": 1},
    limits_met={"capacity": 4},
    unserved_queues=("mail",),
)


@pytest.mark.parametrize("report", [WHOLE, SecurityReport()])
def test_a_report_is_read_as_it_was_written(report: SecurityReport) -> None:
    """It travels as plain values, of which a master of another version may leave out some."""
    travelled = pickle.loads(pickle.dumps(write_security_report(report)))
    assert read_security_report(travelled) == report


@pytest.mark.parametrize("value", [None, "x", -1, 1.5, [[1]], [("a", "b")], {}, {"name": 3}])
def test_a_value_that_cannot_be_used_counts_as_left_out(value: object) -> None:
    """No value of a master in wrong hands raises."""
    assert read_security_report(value) == SecurityReport()
    read = read_security_report(dict.fromkeys(SecurityReport._fields, value))
    assert isinstance(read, SecurityReport)
    assert read.uses_tls is None
