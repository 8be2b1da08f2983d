"""The URL of a database: its secrets are kept apart and are never shown, wherever a mistake has put them."""

import pytest

from distq.cli.app import run
from distq.settings import Role, Settings, SettingsError, load
from distq.settings.store_url import parse_store, split_secrets

KEY = "k" * 32
SECRET = "s3cret"


def settings(store: str) -> Settings:
    """Return a master's settings with this store."""
    return load({"DISTQ_AUTHKEY": KEY, "DISTQ_STORE": store}, Role.MASTER).settings


@pytest.mark.parametrize(
    ("url", "shown", "secrets"),
    [
        ("postgresql://u:s3cret@h/db", "postgresql://u@h/db", {"password": SECRET}),
        ("postgres://u:s3cret@h:5432,[::1]:5433/db", "postgres://u@h:5432,[::1]:5433/db", {"password": SECRET}),
        ("postgresql://u:a%2Fb%40c@/db?host=/run", "postgresql://u@/db?host=/run", {"password": "a/b@c"}),
        ("postgresql://h/db?user=u&password=s3cret", "postgresql://h/db?user=u", {"password": SECRET}),
        (
            "postgresql://u@h?sslpassword=s3cret&sslmode=verify-full&%70assword=x",
            "postgresql://u@h?sslmode=verify-full",
            {"sslpassword": SECRET, "password": "x"},
        ),
        *(
            (f"postgresql://h/db?{name}=s3cret&ssl=true", "postgresql://h/db?ssl=true", {name: SECRET})
            for name in ("pasword", "Password", "passwd", "scram_client_key", "scram_server_key", "options")
        ),
        ("postgresql://h/db?schema=a&cluster=b&user=u", "postgresql://h/db?schema=a&cluster=b&user=u", {}),
        ("postgresql://u:@h/db", "postgresql://u@h/db", {}),
        ("postgresql://", "postgresql://", {}),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db", {}),
        ("memory:", "memory:", {}),
    ],
)
def test_the_secrets_of_a_url_are_kept_apart(url: str, shown: str, secrets: dict[str, str]) -> None:
    """The rest of the URL stays as it was written, and may be shown."""
    assert parse_store(url) == url
    assert split_secrets(url) == (shown, secrets)
    found = settings(url)
    assert (found.store, found.store_secrets) == (shown, secrets)
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://u:s3cret/x@h/db", "postgresql://u:s3cret@x@h/db", "postgresql://u:s3cret?x@h/db"),
        *("postgresql://u:s3cret", "postgresql://u:x:s3cret@h/db", "postgresql://h/db?options=s3cret@x"),
        *("postgrsql://u:s3cret@h/db", "mysql://u:s3cret@h/db"),
        *("postgresql://h/db?password=a&s3cret", "postgresql://u:s3cret@h/d%00", "postgresql://u:s3cret@h/d\0"),
        *("postgresql://u:s3cret@h/\udcff", "postgresql://u:s3cret@h/%ff"),
    ],
)
def test_a_wrong_url_is_an_error_that_shows_no_part_of_it(url: str) -> None:
    """Libpq would take a part of such a password for a host or a port, and name it in an error."""
    with pytest.raises(SettingsError) as caught:
        settings(url)
    assert f"DISTQ_STORE is '{url.partition('://')[0]}://...', which cannot be read" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "part"),
    [
        ("connect_timeout=5s", "connect_timeout is a whole number of seconds, written without a unit"),
        ("tcp_user_timeout=10s", "tcp_user_timeout is a whole number of milliseconds, written without a unit"),
        ("keepalives=on", "keepalives is a whole number. It takes"),
        ("keepalives_idle=", "keepalives_idle is a whole number of seconds"),
    ],
)
def test_a_parameter_that_is_no_number_is_a_sentence(parameter: str, part: str) -> None:
    """The other parameters of the URL do not matter; numbers are accepted, also in percent encoding."""
    with pytest.raises(SettingsError) as caught:
        settings(f"postgresql://h/db?schema=x&{parameter}")
    assert part in str(caught.value)
    assert settings("postgresql://h/db?connect_timeout=%35&keepalives=0").store.endswith("=%35&keepalives=0")


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_distq_settings_shows_the_url_without_its_password(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints the text of each setting."""
    monkeypatch.setenv("DISTQ_STORE", "postgresql://u:s3cret@host/db")
    assert run(["settings", *arguments]) == 0
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
    assert arguments == () or '"postgresql://u@host/db"' in printed.out
