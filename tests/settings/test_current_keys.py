"""Keys in files that change while a worker or client runs."""

import os
from pathlib import Path

import pytest

from distq.settings import Role, current_keys, file_stamps, load
from distq.settings.current_keys import CurrentKeys, current_authkeys, current_payload_keys

OLD, NEW, NEWER = (f"a key of the tests: {name}" for name in ("older", "newer", "newest"))


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_keys, "CHECK_S", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one key."""
    path = tmp_path / "authkey"
    path.write_text(f"{OLD}\n")
    return path


def keys_of(file: Path, complaints: list[str] | None = None) -> CurrentKeys:
    """Return the keys of a client whose key is in the file."""
    settings = load({"DISTQ_AUTHKEY_FILE": str(file)}, Role.CLIENT).settings
    return current_authkeys(settings, None if complaints is None else complaints.append)


def test_a_changed_file_is_read_again(file: Path) -> None:
    """Every key of the file is tried, in its order; an unchanged file gives the same tuple."""
    keys = keys_of(file)
    first = keys.now()
    assert first == (OLD.encode(),)
    assert keys.recent() is first
    file.write_text(f"{NEW}\n{OLD}\n")
    assert keys.recent() == (NEW.encode(), OLD.encode())
    assert keys.recent() is keys.now()


def test_a_file_that_is_written_again_with_the_same_key_changes_nothing(file: Path) -> None:
    """The tuple stays the same one, so that no connection is made anew."""
    keys = keys_of(file)
    first = keys.now()
    file.unlink()
    file.write_text(f"{OLD}\r\n\n")
    assert keys.now() is first


def test_a_file_that_changes_again_at_once_is_read_again(file: Path) -> None:
    """Two keys of one length, written within one step of the file system's clock, leave the same stamp."""
    keys = keys_of(file)
    for _ in range(200):
        for key in (NEW, OLD):
            file.write_text(key)
            assert keys.now() == (key.encode(),)


def test_a_file_that_has_not_changed_for_a_while_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its stamp is compared, as that happens at each new connection."""
    keys = keys_of(file)
    later_ns = file.stat().st_ctime_ns + 60_000_000_000
    monkeypatch.setattr(file_stamps, "_clock_ns", lambda: later_ns)
    first = keys.now()
    monkeypatch.setattr(keys, "_read", lambda _path: (b"must not be read",))
    assert keys.now() is first


def test_the_links_of_a_mounted_secret_are_followed(tmp_path: Path) -> None:
    """Kubernetes replaces a link to a folder: the path of the file stays, and so does the file behind it."""
    for name, key in (("1", OLD), ("2", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "authkey").write_text(key)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "authkey").symlink_to("..data/authkey")
    keys = keys_of(tmp_path / "authkey")
    assert keys.now() == (OLD.encode(),)
    (tmp_path / "..data_tmp").symlink_to("2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert keys.now() == (NEW.encode(),)


def test_a_relative_path_stays_valid_in_another_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task or program may change its folder."""
    monkeypatch.chdir(file.parent)
    keys = keys_of(Path(file.name))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file.write_text(NEW)
    assert keys.now() == (NEW.encode(),)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no key"),
        (b"\n\n", "holds no key"),
        (NEW.encode("utf-16"), "is UTF-16 text"),
        (b"\xff" * 30, "is not UTF-8 text"),
        (f"{NEW}\0".encode(), "has a NUL character"),
        (f'"{NEW}"'.encode(), "quotes around a key"),
        (f"DISTQ_AUTHKEY={NEW}".encode(), "the name of a setting"),
        (b"k" * 1_000_001, "more than 1,000,000 bytes"),
    ],
)
def test_a_file_with_an_error_leaves_the_previous_keys_in_use(file: Path, content: bytes, reason: str) -> None:
    """The reason is reported once, without a key, and a later file is read."""
    complaints: list[str] = []
    keys = keys_of(file, complaints)
    first = keys.now()
    file.write_bytes(content)
    assert keys.now() is first
    assert keys.now() is first
    (complaint,) = complaints
    assert reason in complaint
    assert NEW not in complaint
    file.write_text(NEWER)
    assert keys.now() == (NEWER.encode(),)


def test_a_file_that_is_missing_for_a_while_leaves_the_previous_keys_in_use(file: Path) -> None:
    """An editor may delete the file and write another one."""
    complaints: list[str] = []
    keys = keys_of(file, complaints)
    first = keys.now()
    file.unlink()
    assert keys.now() is first
    file.symlink_to(file)
    assert keys.now() is first
    file.unlink()
    file.mkdir()
    assert keys.now() is first
    file.rmdir()
    file.write_text(NEW)
    assert keys.now() == (NEW.encode(),)


def test_keys_of_a_text_never_change(file: Path) -> None:
    """DISTQ_AUTHKEY takes precedence over the file, and a client uses its first key only."""
    environ = {"DISTQ_AUTHKEY": f"{NEW},{NEWER}", "DISTQ_AUTHKEY_FILE": str(file)}
    settings = load(environ, Role.CLIENT).settings
    assert settings.key_files == {}
    keys = current_authkeys(settings)
    first = keys.now()
    assert len(first) == 1
    file.write_text(NEWER)
    assert keys.recent() is first
    assert current_payload_keys(settings) is None


def test_a_reason_is_logged_where_nothing_else_takes_it(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client has no log of its own."""
    keys = keys_of(file)
    keys.now()
    file.write_bytes(b"")
    keys.now()
    assert "The previous keys stay in use: DISTQ_AUTHKEY_FILE is " in caplog.text


def test_a_look_happens_once_a_second(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is used all the time costs few looks; a new connection always looks."""
    monkeypatch.setattr(current_keys, "CHECK_S", 3600.0)
    keys = keys_of(file)
    first = keys.recent()
    file.write_text(NEW)
    assert keys.recent() is first
    assert keys.now() == (NEW.encode(),)


def test_payload_keys_are_read_again_from_their_files(file: Path, tmp_path: Path) -> None:
    """A key in a text stays beside one in a file that changes."""
    signing = tmp_path / "signing"
    signing.write_text(OLD)
    environ = {
        "DISTQ_AUTHKEY_FILE": str(file),
        "DISTQ_SIGNING_KEY_FILE": str(signing),
        "DISTQ_ENCRYPTION_KEY": "an encryption key of the tests",
    }
    current = current_payload_keys(load(environ, Role.CLIENT).settings)
    assert current is not None
    assert current.recent() == ((OLD.encode(),), (b"an encryption key of the tests",))
    os.replace(_written(tmp_path / "draft", f"{NEW}\n{OLD}"), signing)  # noqa: PTH105 - the usual way
    assert current.now() == ((NEW.encode(), OLD.encode()), (b"an encryption key of the tests",))
    signing.write_text("short")
    assert current.now()[0] == (NEW.encode(), OLD.encode())


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
