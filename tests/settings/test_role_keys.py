"""Keys with names and roles: the lines of their files, what is refused, and that no error or repr shows a key."""

import os
from pathlib import Path

import pytest

from distq.settings import Role, SettingsError, load
from distq.settings.authkey import Authkey
from distq.settings.role_keys import KEYS_MAX, KeyFiles, NamedKey, read_role_keys

FIRST, SECOND, THIRD = "first-key-of-the-tests", "second-key-of-the-tests", "third-key-of-the-tests"


def read(path: Path, **environ: str) -> list[NamedKey]:
    """The keys of a master with this file or folder."""
    given = {"DISTQ_KEYS_PATH": str(path), **environ}
    return KeyFiles(load(given, Role.MASTER).settings).read()


def facts(named: list[NamedKey]) -> list[tuple[str, str, str, tuple[str, ...], str]]:
    """The keys, as a test compares them."""
    return [
        (one.key.decode(), *(one.authority.name, one.authority.roles_text), one.authority.queues, one.authority.age)
        for one in named
    ]


def test_a_file_has_one_key_in_each_line(tmp_path: Path) -> None:
    """Name, roles, key and queues; comments and empty lines are left out. A name's first key is the present one."""
    file = tmp_path / "keys"
    file.write_text(
        f"# the keys of the tests\n\nweb submit {FIRST} mail.*,reports\r\n"
        f"web submit {SECOND}\n  ops\tadmin+read  {THIRD}\n"
    )
    assert facts(read(file)) == [
        (FIRST, "web", "submit", ("mail.*", "reports"), "current"),
        (SECOND, "web", "submit", (), "old"),
        (THIRD, "ops", "read+admin", (), "current"),
    ]


def test_a_folder_is_read_like_a_mounted_secret(tmp_path: Path) -> None:
    """All its files are read, in the order of their names; Kubernetes' own links and folders are left out."""
    data = tmp_path / "..2026_11_28"
    data.mkdir()
    (data / "web").write_text(f"web submit {FIRST}\n")
    (data / "team").write_text(f"team work {SECOND}")
    (tmp_path / "..data").symlink_to(data.name)
    for name in ("web", "team"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert [one[:2] for one in facts(read(tmp_path))] == [(SECOND, "team"), (FIRST, "web")]


def test_the_shared_key_stays_valid_beside_named_keys(tmp_path: Path) -> None:
    """DISTQ_AUTHKEY allows everything, and its second key is an old one."""
    file = tmp_path / "keys"
    file.write_text(f"web submit {FIRST}")
    assert facts(read(file, DISTQ_AUTHKEY=f"{SECOND},{THIRD}")) == [
        (SECOND, "authkey", "admin", (), "current"),
        (THIRD, "authkey", "admin", (), "old"),
        (FIRST, "web", "submit", (), "current"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no key"),
        (f"web submit {FIRST}\nweb submit", "line 2, has 2 words"),
        (f"web submit {FIRST} a b", "has 5 words"),
        (f"{FIRST} submit web", "fewer than 16 characters"),
        (f"Web! submit {FIRST}", "no name"),
        (f"authkey submit {FIRST}", "that of DISTQ_AUTHKEY"),
        (f"web {FIRST} submit", "a role that does not exist; the roles are submit, work, read, admin"),
        (f"web submit+boss {FIRST}", "a role that does not exist"),
        ("web submit short", "fewer than 16 characters"),
        (f"web submit '{FIRST}'", "quotes"),
        (f"web submit {FIRST} ,", "no queue as its fourth word"),
        (f"web submit {FIRST}\nteam work {FIRST}", "'web' and 'team' are the same"),
        (f"web submit {FIRST} #the-web-program", "line 1, has a comment after the key"),
        (f"web submit {FIRST} mail,bill[ab", "line 1, has a pattern of queues with '[' and without ']'"),
        (f"web Submit {FIRST}", "a role that does not exist"),
        (f"web submit,work {FIRST}", "a role that does not exist"),
        (f"web submit+ {FIRST}", "a role that does not exist"),
        (f"web submit {FIRST} mail, bill", "line 1, has 5 words"),
        (f"web submit {FIRST}\nweb submit {FIRST}", "DISTQ_KEYS_PATH has a key twice, with the name 'web'"),
        (f"web submit {FIRST},{SECOND}", "has a comma in its key"),
        (f"web submit billing,billing.reports {FIRST}", "has a comma in its key"),
        (f"web submit {FIRST} 'billing'", "quotes around a queue"),
        (f'web submit {FIRST} mail,"billing"', "quotes around a queue"),
        (f"web submit {FIRST} billing\u200b", "an invisible character in a queue"),
        ("\n".join(f"k{n} submit {FIRST}-{n}" for n in range(KEYS_MAX + 1)), "at most 64"),
        (f"http-token submit {FIRST}", "has the name 'http-token', which is that of DISTQ_HTTP_TOKEN"),
    ],
)
def test_a_wrong_line_is_refused_without_its_key(tmp_path: Path, text: str, words: str) -> None:
    """The error names the file and the line, and says what a line is; no word of the line is in it."""
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read(file)
    assert words in str(caught.value)
    assert FIRST not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_key_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A missing path and an empty folder are errors at the start."""
    with pytest.raises(SettingsError, match="No such file"):
        read(tmp_path / "missing")
    with pytest.raises(SettingsError, match="holds no key"):
        read(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SettingsError, match="Too many levels of symbolic links"):
        read(tmp_path / "loop")
    (tmp_path / "of several").mkdir()
    for name, text in (("good", f"web submit {FIRST}"), ("wide", f"ops admin {SECOND}".encode("utf-16"))):
        (tmp_path / "of several" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match="wide of DISTQ_KEYS_PATH is UTF-16 text"):
        read(tmp_path / "of several")


def test_a_pipe_as_a_file_of_keys_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A master reads the file several times, and the open of a pipe would wait for its other end."""
    pipe = tmp_path / "keys"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(SettingsError, match="no regular file"):
            read(path)


def test_a_master_needs_some_key(tmp_path: Path) -> None:
    """Without any key the master does not start; clients do not use the file of the master."""
    file = tmp_path / "keys"
    file.write_text(f"web submit {FIRST}")
    with pytest.raises(SettingsError, match="There is no key"):
        load({}, Role.MASTER)
    with pytest.raises(SettingsError, match="There is no key"):
        load({"DISTQ_KEYS_PATH": str(file)}, Role.CLIENT)


def test_a_changed_file_has_another_signature(tmp_path: Path) -> None:
    """A file that is written again or replaced, and a folder with one file more, are noticed."""
    file = tmp_path / "keys"
    file.write_text(f"web submit {FIRST}")
    files = KeyFiles(load({"DISTQ_KEYS_PATH": str(tmp_path)}, Role.MASTER).settings)
    seen = [files.signature()]
    assert files.signature() == seen[0]
    os.utime(file, ns=(1, 1))
    seen.append(files.signature())
    (tmp_path / "more").write_text(f"team work {SECOND}")
    seen.append(files.signature())
    file.unlink()
    seen.append(files.signature())
    assert len(set(seen)) == 4


def test_no_text_shows_a_key() -> None:
    """Reprs, formats and settings hide the key, which stays usable as bytes."""
    key = Authkey(FIRST.encode())
    for text in (repr(key), str(key), f"{key}", f"{key!r:>40}", f"{[key]}", f"{NamedKey(key, None)}"):  # type: ignore[arg-type]
        assert FIRST not in text
    loaded = load({"DISTQ_AUTHKEY": FIRST}, Role.WORKER)
    assert FIRST not in repr(loaded.settings)
    assert loaded.settings.authkeys == (FIRST.encode(),)
    assert FIRST not in repr(loaded.settings.authkeys)


def test_a_file_with_keys_by_the_thousand_is_refused_before_its_end_is_read(tmp_path: Path) -> None:
    """A running master reads a changed file too: a line that cannot be read far behind the limit is not reached."""
    lines = [f"k{number} submit {FIRST}-{number}" for number in range(10_000)]
    (tmp_path / "keys").write_text("\n".join([*lines, "cannot be read"]))
    with pytest.raises(SettingsError, match="holds more than 64 keys, and a master takes at most 64"):
        read_role_keys(str(tmp_path / "keys"))
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}").write_text("\n".join(lines[number * 10 : number * 10 + 10]))
    (folder / "9").write_text("cannot be read")
    with pytest.raises(SettingsError, match=r"folder, which holds more than 64 keys"):
        read_role_keys(str(folder))


@pytest.mark.parametrize("name", ["a", "0", "1.5", "a..b", "a__b", "x" * 63, "old", "current", "other", "null"])
def test_names_of_every_valid_form_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    """In the labels of metrics, in a task's head, and in a schedule's row."""
    (tmp_path / "keys").write_text(f"{name} submit {FIRST}")
    ((found, *_),) = read_role_keys(str(tmp_path / "keys"))
    assert found == name
