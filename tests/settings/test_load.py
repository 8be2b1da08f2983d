"""The environment and `.env` become one frozen, checked value; each mistake becomes a sentence."""

import dataclasses
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from distq.settings import ROWS, Address, Role, Settings, SettingsError, load, text_file
from distq.settings.authkey import create_authkey_file, new_authkey
from distq.settings.cpus import available_cpus

KEY = "k" * 32


def settings(role: Role = Role.MASTER, **environ: str) -> Settings:
    """Return the settings of an environment, with a key."""
    return load({"DISTQ_AUTHKEY": KEY, **environ}, role).settings


def sentence(role: Role = Role.MASTER, **environ: str) -> str:
    """Return the error of a wrong environment."""
    with pytest.raises(SettingsError) as caught:
        load({"DISTQ_AUTHKEY": KEY, **environ}, role)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_defaults_are_those_of_the_design() -> None:
    """Only the key is required."""
    found = settings()
    assert found.address == (Address("127.0.0.1", 9000),)
    assert found.bind == Address("127.0.0.1", 9000)
    assert found.http_address == Address("127.0.0.1", 9001)
    assert (found.lease_s, found.heartbeat_s, found.drain_s, found.handshake_s) == (30.0, 10.0, 8.0, 5.0)
    assert (found.max_deliveries, found.retries, found.retry_base_s, found.retry_max_s) == (5, 3, 1.0, 600.0)
    assert (found.capacity, found.result_ttl_s, found.unauthenticated_max) == (10_000_000, 3600.0, 1000)
    assert (found.payload_bytes_max, found.frame_bytes_max) == (16 * 1024**2, 64 * 1024**2)
    assert (found.store, found.log_level, found.log_format, found.pool) == (
        "sqlite:///distq.db",
        "info",
        "auto",
        "default",
    )
    assert (found.plain_handler, found.plain_lease_s, dict(found.plain_queues)) == (None, None, {})
    assert found.concurrency == available_cpus()


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("DISTQ_RETRIES", 3, "DISTQ_RETRIES is 3 of the type int. Settings are texts"),
        ("DISTQ_STORE", Path("a-secret"), "DISTQ_STORE is a value of the type PosixPath."),
        ("DISTQ_AUTHKEY", b"a-secret", "DISTQ_AUTHKEY is a value of the type bytes."),
        ("DISTQ_DRAIN_S", None, "DISTQ_DRAIN_S is None of the type NoneType."),
        (b"DISTQ_DRAIN_S", "1s", "is no name of a setting"),
    ],
)
def test_a_value_that_is_no_text_is_a_sentence(name: Any, value: Any, part: str) -> None:
    """A program may load settings from a mapping of its own; it was an AttributeError."""
    with pytest.raises(SettingsError) as caught:
        load({"DISTQ_AUTHKEY": KEY, name: value}, Role.CLIENT)
    assert part in str(caught.value)
    assert "a-secret" not in str(caught.value)


def test_a_key_of_bytes_that_are_no_text_is_a_sentence() -> None:
    """The environment may hold any bytes; it was a UnicodeEncodeError."""
    with pytest.raises(SettingsError, match="DISTQ_AUTHKEY has bytes that are no text in UTF-8"):
        load({"DISTQ_AUTHKEY": b"\xff".decode(errors="surrogateescape") * 32}, Role.CLIENT)


def test_a_worker_serves_no_http_unless_asked() -> None:
    """Only the master's HTTP server is on by default."""
    assert settings(Role.WORKER).http_address is None
    assert settings(Role.WORKER, DISTQ_HTTP_ADDRESS="0.0.0.0:9001").http_address == Address("0.0.0.0", 9001)
    assert settings(DISTQ_HTTP_ADDRESS="off").http_address is None


def test_the_master_listens_where_clients_connect_unless_a_setting_differs() -> None:
    """DISTQ_BIND follows the first DISTQ_ADDRESS."""
    assert settings(DISTQ_ADDRESS="m:1,n:2").bind == Address("m", 1)
    assert settings(DISTQ_ADDRESS="m:1", DISTQ_BIND="0.0.0.0:1").bind == Address("0.0.0.0", 1)


def test_settings_are_frozen_and_never_show_a_key() -> None:
    """The log may contain the repr."""
    found = settings()
    assert KEY not in repr(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.pool = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("DISTQ_LEASE_S", "soon", "DISTQ_LEASE_S is 'soon', which cannot be read. It takes seconds or"),
        ("DISTQ_LEASE_S", "0", "DISTQ_LEASE_S is 0; it must be at least 1 s."),
        ("DISTQ_CONCURRENCY", "0", "DISTQ_CONCURRENCY is 0; it must be at least 1."),
        ("DISTQ_CAPACITY", "many", "It takes a whole number"),
        ("DISTQ_PAYLOAD_BYTES_MAX", "16mb", "there is no unit mb. It takes bytes or a number with kB"),
        ("DISTQ_PAYLOAD_BYTES_MAX", "12", "DISTQ_PAYLOAD_BYTES_MAX is 12; it must be at least 1024 bytes."),
        ("DISTQ_PLAIN_LEASE_S", "0.5s", "DISTQ_PLAIN_LEASE_S is 0.5s; it must be at least 1 s."),
        ("DISTQ_ADDRESS", "master", "it has no port. It takes host:port, or several"),
        ("DISTQ_LOG_FORMAT", "xml", "It takes auto, console or json."),
        ("DISTQ_STORE", "redis:", "It takes memory:, sqlite:///path, such as"),
        ("DISTQ_PLAIN_HANDLER", "square", "It takes module:function"),
        ("DISTQ_HEARTBEAT_S", "15s", "Make the heartbeat less than half of the lease."),
        ("DISTQ_FRAME_BYTES_MAX", "1MiB", "must be larger than DISTQ_PAYLOAD_BYTES_MAX"),
        ("DISTQ_RETRY_MAX_S", "500ms", "less than DISTQ_RETRY_BASE_S"),
        ("DISTQ_HTTP_ADDRESS", "127.0.0.1:9000", "are both 127.0.0.1:9000. Give them different ports."),
    ],
)
def test_a_wrong_value_is_a_sentence(name: str, text: str, part: str) -> None:
    """The sentence names the setting, the value, and what is accepted."""
    message = sentence(Role.MASTER, **{name: text})
    assert name in message
    assert part in message


@pytest.mark.parametrize("role", [Role.WORKER, Role.CLIENT])
def test_port_0_is_no_address_to_connect_to(role: Role) -> None:
    """A master may listen there, and gets a free port; a client would try it until its patience is over."""
    address = "127.0.0.1:9000,127.0.0.1:0"
    message = sentence(role, DISTQ_ADDRESS=address)
    assert message.startswith("DISTQ_ADDRESS is 127.0.0.1:0, and no master can be reached at port 0. Name the port")
    load({"DISTQ_AUTHKEY": KEY, "DISTQ_ADDRESS": address}, Role.MASTER)


@pytest.mark.parametrize("environ", [{}, {"DISTQ_AUTHKEY": ""}, {"DISTQ_AUTHKEY": " , "}])
def test_no_key_is_an_error_that_says_how_to_make_one(environ: dict[str, str]) -> None:
    """There is no default key, and an empty one is none."""
    for role in Role:
        with pytest.raises(SettingsError, match="distq key new"):
            load(environ, role)


def test_several_keys_may_be_valid_at_the_same_time() -> None:
    """Commas separate them; blanks around them are ignored."""
    assert settings(DISTQ_AUTHKEY=f"{KEY}, {KEY}2,").authkeys == (KEY.encode(), f"{KEY}2".encode())


def test_a_short_key_is_taken_on_loopback_only() -> None:
    """The recipe's short keys are valid on loopback only; clients and workers accept any key that a master may have."""
    assert "fewer than 16 characters" in sentence(DISTQ_AUTHKEY="abc", DISTQ_BIND="0.0.0.0:9000")
    loaded = load({"DISTQ_AUTHKEY": "abc"}, Role.MASTER)
    assert "only" in loaded.warnings[0]
    assert "abc" not in loaded.warnings[0]
    assert settings(Role.WORKER, DISTQ_AUTHKEY="abc", DISTQ_ADDRESS="master:9000").authkeys == (b"abc",)


def test_a_key_file_is_read(tmp_path: Path) -> None:
    """Line ends and commas separate several keys."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n{KEY}2\n")
    loaded = load({"DISTQ_AUTHKEY_FILE": str(path)}, Role.WORKER)
    assert loaded.settings.authkeys == (KEY.encode(), f"{KEY}2".encode())


def test_a_key_file_that_is_of_no_use_is_a_sentence(tmp_path: Path) -> None:
    """The file is missing, empty, a folder, or no text: each error says which."""
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"k\n\xe9")
    for name, part in {
        "missing": "which does not exist",
        "empty": "holds no key",
        "": "cannot be read by user",
        "binary": "not UTF-8 text: see its line 2",
    }.items():
        with pytest.raises(SettingsError, match=part):
            load({"DISTQ_AUTHKEY_FILE": str(tmp_path / name)}, Role.MASTER)


def test_a_pipe_to_which_nothing_is_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named pipe that was meant to be a file does not have the program wait for ever."""
    monkeypatch.setattr(text_file, "PIPE_S", 0.01)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match=r"is a pipe, and nothing was written to it within 0\.01 s"):
        load({"DISTQ_AUTHKEY_FILE": str(tmp_path / "pipe")}, Role.CLIENT)


def test_a_key_comes_through_a_pipe(tmp_path: Path) -> None:
    """As with `DISTQ_AUTHKEY_FILE=<(command)`, in several parts; it is not looked at again."""
    reading, writing = os.pipe()
    parts = [KEY[:9], KEY[9:], "\n"]

    def write() -> None:
        for part in parts:
            os.write(writing, part.encode())
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    settings = load({"DISTQ_AUTHKEY_FILE": f"/dev/fd/{reading}"}, Role.CLIENT).settings
    writer.join()
    os.close(reading)
    assert settings.authkeys == (KEY.encode(),)
    assert settings.key_files == {}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (f"DISTQ_AUTHKEY={KEY}\n", "the name of a setting"),
        (f"export DISTQ_AUTHKEY={KEY}\n", "the name of a setting"),
        (f"authkey: {KEY}\n", "the name of a setting"),
        (f'"{KEY}"\n', "quotes"),
        (f"'{KEY}'\n", "quotes"),
        (f"“{KEY}”\n", "quotes"),
        (f"# made in May\n{KEY}\n", "a comment as key 1 of 2"),
        (f"{KEY}\n# the old one\n", "a comment as key 2 of 2"),
        (f"{KEY}\u200b\n", "an invisible character"),
        (f"{KEY[:9]}\t{KEY}\n", "an invisible character"),
    ],
)
@pytest.mark.parametrize("role", [Role.MASTER, Role.WORKER, Role.CLIENT])
def test_a_character_around_a_key_is_an_error_that_does_not_repeat_the_key(
    role: Role, text: str, part: str, tmp_path: Path
) -> None:
    """Some programs keep the quotes of their files in the environment; each error says which source has the key."""
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    for environ, where in (
        ({"DISTQ_AUTHKEY_FILE": str(path)}, f"The file {path} of DISTQ_AUTHKEY_FILE holds "),
        ({"DISTQ_AUTHKEY": text}, "DISTQ_AUTHKEY holds "),
    ):
        with pytest.raises(SettingsError) as caught:
            load(environ, role)
        assert str(caught.value).startswith(where)
        assert part in str(caught.value)
        assert KEY not in str(caught.value)


def test_a_key_of_any_printable_characters_is_taken(tmp_path: Path) -> None:
    """A key may be base64 with signs at its end, or a passphrase; blanks around it and line ends are ignored."""
    path = tmp_path / "key"
    for key in ("c2VjcmV0IGtleSBvZiAxNg==", "correct horse battery: staple", "a=b" * 9, "key=" + "=" * 12):
        path.write_bytes(f"  {key} \r\n".encode())
        assert load({"DISTQ_AUTHKEY_FILE": str(path)}, Role.WORKER).settings.authkeys == (key.encode(),)


def test_the_master_makes_the_key_file_once(tmp_path: Path) -> None:
    """The second start reads the key that the first one made; only the owner may read the file."""
    path = tmp_path / "key"
    environ = {"DISTQ_AUTHKEY_FILE": str(path), "DISTQ_AUTHKEY_CREATE": "1"}
    with pytest.raises(SettingsError):
        load(environ, Role.WORKER)
    first = load(environ, Role.MASTER).settings.authkeys
    assert load(environ, Role.MASTER).settings.authkeys == first
    assert path.stat().st_mode & 0o777 == 0o400
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_is_never_replaced(tmp_path: Path) -> None:
    """The second process learns that the file exists, and leaves no other file behind."""
    path = tmp_path / "key"
    assert create_authkey_file(str(path))
    made = path.read_text()
    assert not create_authkey_file(str(path))
    assert path.read_text() == made
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_hold_the_key_is_a_sentence(tmp_path: Path) -> None:
    """The sentence says what the operator must do."""
    environ = {"DISTQ_AUTHKEY_FILE": str(tmp_path / "none/key"), "DISTQ_AUTHKEY_CREATE": "1"}
    with pytest.raises(SettingsError, match="cannot make DISTQ_AUTHKEY_FILE"):
        load(environ, Role.MASTER)


def test_a_new_key_needs_no_quoting() -> None:
    """Letters, digits, '-' and '_' mean the same to every shell and every dotenv parser."""
    keys = {new_authkey() for _ in range(50)}
    assert len(keys) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys)


def test_the_environment_wins_over_the_dotenv_file(tmp_path: Path) -> None:
    """A key file in the environment also takes precedence over a key in `.env`."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("DISTQ_POOL=file\nDISTQ_RETRIES='7'\nDISTQ_AUTHKEY=from-$HOME-dotenv-file\nPATH=x\n")
    loaded = load({"DISTQ_POOL": "environment", "DISTQ_RETRIES": ""}, Role.MASTER, dotenv=dotenv)
    assert (loaded.settings.pool, loaded.settings.retries) == ("environment", 7)
    assert loaded.settings.authkeys == (b"from-$HOME-dotenv-file",)
    assert loaded.texts["DISTQ_POOL"] == ("environment", "environment")
    assert loaded.texts["DISTQ_RETRIES"] == ("7", str(dotenv))
    assert loaded.texts["DISTQ_LEASE_S"] == ("30s", "default")
    key = tmp_path / "key"
    key.write_text(KEY)
    assert load({"DISTQ_AUTHKEY_FILE": str(key)}, Role.MASTER, dotenv=dotenv).settings.authkeys == (KEY.encode(),)


def test_a_dotenv_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """A named file must exist and be text."""
    with pytest.raises(SettingsError, match=r"cannot be read by user .* No such file"):
        load({}, Role.MASTER, dotenv=tmp_path / ".env")
    (tmp_path / ".env").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load({}, Role.MASTER, dotenv=tmp_path / ".env")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("DISTQ_LEASE_S='50s", "begins with 'DISTQ_LEASE_S', cannot be read"),
        ('DISTQ_LEASE_S="50s', "begins with 'DISTQ_LEASE_S', cannot be read"),
        ("DISTQ_LEASE_S: 50s", "begins with 'DISTQ_LEASE_S', cannot be read"),
        ("DISTQ_LEASE_S:50s", "cannot be read"),
        ("export DISTQ_LEASE_S", "cannot be read"),
        ("DISTQ LEASE_S=50s", "cannot be read"),
        ("DISTQ_LEASE_S='50's", "cannot be read"),
        ("=50s", "cannot be read"),
        ("a-key-that-stands-alone and more", "2 of .* cannot be read"),
        ('OTHER="one\nDISTQ_LEASE_S=50s\nLAST="', "opens a quote that a later line closes"),
        ("DISTQ_POOL=caf\udce9", "not UTF-8 text: see its line 2"),
        ("DISTQ_POOL=\0", "NUL character in its line 2"),
        ("\u200bDISTQ_POOL=a", r"before DISTQ_POOL that belong to no name, and may not be visible: '\\u200b'"),
        ("\u2060distq_pool=a", "before distq_pool that belong to no name"),
        ("-DISTQ_POOL=a", "before DISTQ_POOL that belong to no name"),
    ],
)
def test_a_line_of_the_dotenv_file_that_cannot_be_read_is_an_error(tmp_path: Path, line: str, message: str) -> None:
    """The line is never ignored, which would apply the default; the error hides the value, which may be a key."""
    path = tmp_path / ".env"
    path.write_bytes(f"# first\n{line}\nDISTQ_RETRIES=7\n".encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=message) as caught:
        load({"DISTQ_AUTHKEY": KEY}, Role.CLIENT, dotenv=path)
    assert str(path) in str(caught.value)
    assert "50s" not in str(caught.value).replace("DISTQ_LEASE_S:50s", "")
    assert "stands" not in str(caught.value)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_files_of_all_editors_are_read_alike(tmp_path: Path, mark: bytes, end: bytes) -> None:
    """A byte order mark is ignored, and any line end is accepted, in `.env` and in a key file."""
    (tmp_path / ".env").write_bytes(
        mark + end.join([b"export DISTQ_POOL=a", b"", b"DISTQ_LEASE_S = '50s' # long", b""])
    )
    (tmp_path / "key").write_bytes(mark + KEY.encode() + end)
    loaded = load({"DISTQ_AUTHKEY_FILE": str(tmp_path / "key")}, Role.CLIENT, dotenv=tmp_path / ".env")
    assert (loaded.settings.pool, loaded.settings.lease_s, loaded.warnings) == ("a", 50.0, ())
    assert loaded.settings.authkeys == (KEY.encode(),)
    for name in (".env", "key"):
        (tmp_path / name).write_bytes("DISTQ_POOL=a".encode("utf-16"))
        with pytest.raises(SettingsError, match="is UTF-16 text"):
            load({"DISTQ_AUTHKEY_FILE": str(tmp_path / "key")}, Role.CLIENT, dotenv=tmp_path / ".env")
        (tmp_path / name).write_text("")


def test_a_setting_that_stands_twice_in_the_dotenv_file_is_a_warning(tmp_path: Path) -> None:
    """The last one is used; the same value twice and an empty value cause no warning."""
    path = tmp_path / ".env"
    path.write_text("DISTQ_POOL=a\nDISTQ_RETRIES=7\nDISTQ_RETRIES=7\nDISTQ_POOL=b\nDISTQ_LEASE_S=\ndistq_bind=:1\n")
    loaded = load({"DISTQ_AUTHKEY": KEY}, Role.CLIENT, dotenv=path)
    assert (loaded.settings.pool, loaded.texts["DISTQ_LEASE_S"].source) == ("b", "default")
    assert loaded.warnings == (
        f"DISTQ_POOL is set twice in {path}, in lines 1 and 4; the last one is used.",
        "distq_bind is not a setting; did you mean DISTQ_BIND?",
    )


def test_quotes_of_a_word_processor_are_a_warning(tmp_path: Path) -> None:
    """The quotes become part of the value, seldom on purpose; the warning hides the value. Such a key is an error."""
    path = tmp_path / ".env"
    path.write_text(f"DISTQ_AUTHKEY=\u201c{KEY}\u201d\nOTHER=\u2018a\u2019\nDISTQ_POOL='a'\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="DISTQ_AUTHKEY holds quotes"):
        load({}, Role.CLIENT, dotenv=path)
    loaded = load({}, Role.CLIENT, dotenv=path, needs_authkey=False)
    (warning,) = loaded.warnings
    assert f"The value of DISTQ_AUTHKEY in line 1 of {path} begins with \u201c" in warning
    assert KEY not in warning


def test_a_key_under_another_name_is_mentioned_where_the_key_is_missing(tmp_path: Path) -> None:
    """The command ends before it would print its warnings."""
    (tmp_path / ".env").write_text(f"distq_authkey={KEY}\n")
    with pytest.raises(SettingsError, match="distq_authkey is not a setting; did you mean DISTQ_AUTHKEY") as caught:
        load({"DISTQ_ZZZ": "1"}, Role.CLIENT, dotenv=tmp_path / ".env")
    assert "DISTQ_ZZZ" not in str(caught.value)


def test_an_unknown_variable_is_a_warning_with_the_nearest_name() -> None:
    """Only the prefix marks a variable as one of distq."""
    loaded = load({"DISTQ_AUTHKEY": KEY, "DISTQ_LEASES": "9", "DISTQ_ZZZZZZZ": "1", "OTHER": "1"}, Role.CLIENT)
    assert loaded.warnings == (
        "DISTQ_LEASES is not a setting; did you mean DISTQ_LEASE_S?",
        "DISTQ_ZZZZZZZ is not a setting; `distq settings` lists the settings.",
    )


def test_the_variables_that_kubernetes_injects_are_passed_over() -> None:
    """A Service called distq, or distq-anything, causes no warning; and no setting has such a name."""
    injected = [
        *("DISTQ_PORT", "DISTQ_SERVICE_HOST", "DISTQ_SERVICE_PORT", "DISTQ_PORT_9000_TCP_ADDR"),
        *("DISTQ_MASTER_PORT", "DISTQ_MASTER_SERVICE_PORT_HTTP", "DISTQ_MASTER_PORT_9000_TCP"),
        *("DISTQ_MASTER_SERVICE_HOST", "DISTQ_MASTER_PORT_9001_TCP_PROTO"),
    ]
    assert load({"DISTQ_AUTHKEY": KEY, **dict.fromkeys(injected, "tcp://10.0.0.1:9000")}, Role.WORKER).warnings == ()
    assert not any("_SERVICE_" in row.name or "_PORT" in row.name for row in ROWS)


def test_keys_are_left_alone_where_none_is_needed() -> None:
    """`distq health` works whatever the key file contains."""
    loaded = load({"DISTQ_AUTHKEY_FILE": "/nowhere"}, Role.CLIENT, needs_authkey=False)
    assert loaded.settings.authkeys == ()


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, 10**6),
        ({"cpu.max": "max 100000\n"}, 10**6),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 10**6),
    ],
)
def test_cpus_are_those_that_affinity_and_control_group_allow(files: dict[str, str], most: int, tmp_path: Path) -> None:
    """Half a CPU counts as one; without a limit the affinity counts."""
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == min(most, len(os.sched_getaffinity(0)))


def test_settings_of_tls_that_lack_another_one_are_sentences() -> None:
    """No process listens or connects without TLS because one of its settings is missing."""
    pair = {"DISTQ_TLS_CERT": "c.pem", "DISTQ_TLS_KEY": "k.pem"}
    for role in Role:
        assert "DISTQ_TLS_KEY is not" in sentence(role, DISTQ_TLS_CERT="c.pem", DISTQ_TLS_CA="ca.pem")
        assert "DISTQ_TLS_CERT is not" in sentence(role, DISTQ_TLS_KEY="k.pem", DISTQ_TLS_CA="ca.pem")
        assert settings(role, **pair, DISTQ_TLS_CA="ca.pem").tls_ca == "ca.pem"
    assert "the master would listen without TLS" in sentence(DISTQ_TLS_CA="ca.pem")
    assert settings(Role.CLIENT, DISTQ_TLS_CA="ca.pem").tls_ca == "ca.pem"
    assert settings(Role.MASTER, **pair).tls_cert == "c.pem"
    for role in (Role.CLIENT, Role.WORKER):
        assert "this process would connect without TLS" in sentence(role, **pair)
        assert "this process would connect without TLS" in sentence(role, DISTQ_TLS_SERVER_NAME="distq-master")
    assert "DISTQ_TLS_VERIFY_CLIENTS is on, but DISTQ_TLS_CA is not" in sentence(
        Role.MASTER, **pair, DISTQ_TLS_VERIFY_CLIENTS="1"
    )


def test_the_second_port_of_the_master_is_on_loopback() -> None:
    """It has no TLS, so no other machine may reach it; it has a port of its own."""
    assert settings(DISTQ_LOOPBACK_BIND="127.0.0.1:9002").loopback_bind == Address("127.0.0.1", 9002)
    assert "other machines may reach" in sentence(DISTQ_LOOPBACK_BIND="0.0.0.0:9002")
    assert "DISTQ_BIND are both" in sentence(DISTQ_LOOPBACK_BIND="127.0.0.1:9000")
    assert "DISTQ_HTTP_ADDRESS are both" in sentence(DISTQ_LOOPBACK_BIND="127.0.0.1:9001")
