"""A schedule's definition: what a peer sends, and what the master reads."""

from distq.protocol.schedule import ScheduleDefinition, read_definition, write_definition

DEFINITION = ScheduleDefinition("nightly", b"[]", ("work", "m:f"), None, None, None, "0 3 * * *", "UTC", False, "last")


def test_a_definition_travels_as_a_mapping_that_earlier_versions_read() -> None:
    """The constraints are named `more` there."""
    assert write_definition(DEFINITION) == {
        "name": "nightly",
        "body": b"[]",
        "envelope": ("work", "m:f"),
        "when": None,
        "more": None,
        "every": None,
        "cron": "0 3 * * *",
        "timezone": "UTC",
        "overlap": False,
        "catch_up": "last",
    }


def test_the_master_reads_the_definition_that_was_written() -> None:
    """Each field has its value again, the constraints too."""
    definition = DEFINITION._replace(constraints=("key", 1, None, None, "reject"))
    assert read_definition(write_definition(definition)) == definition


def test_a_field_that_a_peer_omits_is_none() -> None:
    """The master's checks then answer in words."""
    assert read_definition({"name": "nightly"}) == ScheduleDefinition("nightly", *[None] * 9)  # type: ignore[arg-type]
