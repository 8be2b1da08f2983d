"""One parser reads durations, one reads sizes; both reject unknown texts."""

from collections.abc import Callable

import pytest

from distq.settings import kinds
from distq.settings.address import Address, parse_address, parse_addresses
from distq.settings.store_url import parse_store
from distq.tasks.options import Options, checked


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("500ms", 0.5), ("30", 30.0), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0)),
        *(("1d", 86400.0), ("1.5s", 1.5), ("0", 0.0), ("10 s", 10.0)),
        *(("1h30m", 5400.0), ("1d12h", 129600.0), ("1.5h30s", 5430.0), ("1s500ms", 1.5)),
    ],
)
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    """A number alone is in seconds; the units are ms, s, m, h and d."""
    assert kinds.parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("65536", 65536), ("16MiB", 16 * 1024**2), ("64MB", 64_000_000), ("1kB", 1000)),
        *(("1KB", 1000), ("2GiB", 2 * 1024**3), ("10B", 10), ("1.5KiB", 1536)),
    ],
)
def test_sizes_are_read_in_bytes(text: str, size: int) -> None:
    """A number alone is in bytes; decimal and binary units differ."""
    assert kinds.parse_bytes(text) == size


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (
            kinds.parse_duration_s,
            ["", "-1", "1w", "s", "1e3", "inf", "nan", "30m1h", "1h30", "1h 30m", "1m1m", "٣", "5 minutes", "1S"],
        ),
        (kinds.parse_bytes, ["", "-1", "16mib", "16M", "1.0001KiB", "MiB", "0x10", "1TB"]),
        (kinds.parse_count, ["", "-1", "1.5", "ten", "²", "1" * 19]),
        (kinds.parse_flag, ["", "maybe", "2"]),
        (kinds.parse_handler, ["", "module", "module:", ":function", "a b:c", "a/b:c", "module:function()"]),
        (kinds.parse_name, ["", "-a", "a" * 64, "a b", "ä", 'a"b', "a-"]),
        (kinds.parse_queues, ["a\nb", "a,b\tc", "x" * 65]),
        (kinds.parse_queue_limits, ["mail", "mail:", "a\nb:rate=1/s", "mail:speed=1", "mail:running=x"]),
        (kinds.parse_plain_queues, ["get_jobs", "get_jobs:", "get-jobs:work", "a:work,a:result"]),
        (parse_store, ["", "memory", "redis://localhost", "postgresql:", "postgresql:/host"]),
        (
            parse_address,
            ["", "host", ":9000", "host:", "host:x", "host:65536", "::1:9000", "a b:1", "tcp://a:1"],
        ),
        (parse_addresses, ["", ",", "a:1,b"]),
    ],
)
def test_a_text_that_a_parser_does_not_know_is_refused(parse: Callable[[str], object], texts: list[str]) -> None:
    """No parser guesses."""
    for text in texts:
        with pytest.raises(ValueError):
            parse(text)


@pytest.mark.parametrize("name", ["mail", "emails:high", "Aufträge", "a b", "a/b", "x" * 64, "a=b", '"q"'])
def test_every_name_that_a_queue_can_have_is_read_in_a_list_of_queues(name: str) -> None:
    """DISTQ_QUEUES can name every queue that a client can submit to."""
    assert checked(Options(), {"queue": name}).queue == name
    assert kinds.parse_queues(f"first, {name} ,last") == ("first", name, "last")
    (queue, policy), *_ = kinds.parse_queue_limits(f"{name}:rate=5/s,running=2;other:capacity=3").items()
    assert (queue, str(policy.rate), policy.running) == (name, "5/s", 2)


@pytest.mark.parametrize("name", ["a,b", ",", "a\nb", "a\rb", "a\tb", " a", "a ", "\x00", "a\x85b", "a\u2028b"])
def test_a_name_that_no_list_of_queues_can_contain_is_refused_at_the_client(name: str) -> None:
    """The sentence says which characters are wrong, and why."""
    with pytest.raises(ValueError, match=r"no comma, line break or control character.*DISTQ_QUEUES can list it"):
        checked(Options(), {"queue": name})


def test_an_unknown_unit_is_named() -> None:
    """The message says which part is wrong."""
    with pytest.raises(ValueError, match="there is no unit fortnights"):
        kinds.parse_duration_s("2 fortnights")


def test_plain_queues_are_a_mapping_of_getters_to_queues() -> None:
    """Blanks around the words do not matter."""
    assert kinds.parse_plain_queues("get_jobs:work, get_answers : result,") == {
        "get_jobs": "work",
        "get_answers": "result",
    }


def test_flags_choices_and_keywords_ignore_case() -> None:
    """Texts are accepted in upper and lower case."""
    assert kinds.parse_flag("On") is True
    assert kinds.parse_flag("no") is False
    assert kinds.choice("json", "console").parse("JSON") == "json"
    assert kinds.DURATION.or_word("off").parse("OFF") is None
    assert kinds.COUNT.parse("10_000") == 10_000


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        ("[::1]:9000", Address("::1", 9000)),
        ("distq-master.default.svc:0", Address("distq-master.default.svc", 0)),
    ],
)
def test_addresses_are_read_and_written_alike(text: str, address: Address) -> None:
    """IPv6 hosts are in brackets in both directions."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://host:9000", "write host:9000"),
        ("tcp://host:9000/", "write host:9000"),
        ("https://user:secret@[::1]:9000/path?query", r"write \[::1\]:9000"),
        ("http://host", "write the host and the port, as in host:9000"),
        ("http://", "write the host and the port, as in host:9000"),
        ("::1:9000", r"an IPv6 address goes in brackets, as in \[::1\]:9000"),
        ("host:" + "9" * 5_000, "its port is not a number from 0 to 65535"),
    ],
)
def test_a_text_that_is_no_address_is_refused_with_what_to_write(text: str, expected: str) -> None:
    """A URL is no IPv6 address, and neither its password nor a sentence of Python is in the message."""
    with pytest.raises(ValueError, match=f"{expected}$") as refused:
        parse_address(text)
    assert ("it is a URL" in str(refused.value)) == ("://" in text)
    assert "secret" not in str(refused.value)


def test_several_addresses_keep_their_order() -> None:
    """The client tries the first one first."""
    assert parse_addresses("a:1, b:2,") == (Address("a", 1), Address("b", 2))


def test_a_listener_on_every_interface_is_reached_on_loopback() -> None:
    """0.0.0.0 and :: are addresses for listening only."""
    assert Address("0.0.0.0", 1).dialled() == Address("127.0.0.1", 1)
    assert Address("::", 1).dialled() == Address("::1", 1)
    assert Address("10.0.0.7", 1).dialled() == Address("10.0.0.7", 1)


def test_loopback_is_known_by_its_text() -> None:
    """0.0.0.0 and :: are not loopback."""
    assert all(Address(host, 1).is_loopback for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"))
    assert not any(Address(host, 1).is_loopback for host in ("0.0.0.0", "::", "10.0.0.1", "master"))


def test_a_path_has_no_nul_character() -> None:
    """No system has a file of such a name, and Python raises an error that names no setting."""
    assert kinds.PATH.parse("/etc/distq/keys") == "/etc/distq/keys"
    with pytest.raises(ValueError, match="NUL"):
        kinds.PATH.parse("keys\0")
