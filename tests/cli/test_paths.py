"""Folders and files that a process may not enter or read cause a sentence in every command."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distq.cli.paths import PathRefused, in_words

pytestmark = pytest.mark.root

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
PR_CAPBSET_DROP = 24
ANOTHER_USER = 1234
DARK = "{dark}"
"""Stands in arguments and settings for a folder that only its owner, another user, may enter."""


def obey_permissions() -> None:
    """Between fork and exec, drop the capabilities by which root ignores permissions."""
    libc = ctypes.CDLL(None)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "settings", "inside"),
    [
        (["worker", "tasks"], {}, True),
        (["master"], {}, True),
        (["up", "tasks"], {}, True),
        (["health"], {}, True),
        (["status"], {}, True),
        (["settings"], {}, True),
        (["master"], {"DISTQ_STORE": f"sqlite:///{DARK}/queue.db"}, False),
        (["master"], {"DISTQ_STORE": f"sqlite:///{DARK}/deep/queue.db"}, False),
        (["store", "stat", f"{DARK}/queue.db"], {}, False),
        (["store", "check", f"{DARK}/deep/queue.db"], {}, False),
        (["master"], {"DISTQ_AUTHKEY": "", "DISTQ_AUTHKEY_FILE": f"{DARK}/key"}, False),
        (
            ["master"],
            {"DISTQ_AUTHKEY": "", "DISTQ_AUTHKEY_FILE": f"{DARK}/deep/key", "DISTQ_AUTHKEY_CREATE": "1"},
            False,
        ),
        (["--env-file", f"{DARK}/.env", "worker"], {}, False),
    ],
    ids=str,
)
def test_a_folder_that_this_user_may_not_enter_is_named_in_a_sentence(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], *, inside: bool
) -> None:
    """The message is not that of a defect: it has the path, the user, the reason, and what to do."""
    dark = tmp_path / "dark"
    (dark / "deep").mkdir(parents=True)
    for folder in (dark / "deep", dark):
        folder.chmod(0o700)
        os.chown(folder, ANOTHER_USER, ANOTHER_USER)
    given = {"DISTQ_AUTHKEY": "k" * 32, "DISTQ_HTTP_ADDRESS": "off", **settings}
    ended = subprocess.run(
        [Path(sys.executable).with_name("distq"), *(argument.replace(DARK, str(dark)) for argument in arguments)],
        cwd=dark if inside else tmp_path,
        env={"PATH": os.environ["PATH"], **{name: text.replace(DARK, str(dark)) for name, text in given.items()}},
        preexec_fn=obey_permissions,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert "defect" not in output
    assert "Traceback" not in output
    assert f"by user {os.getuid()}: Permission denied" in output
    assert str(dark) in output
    assert ended.returncode in {2, 4}


def test_an_error_without_a_path_stays_as_it_is() -> None:
    """A defect of distq is still reported as one."""
    for error in (ValueError("x"), OSError(13, "Permission denied"), OSError(2, "No such file or directory", "x")):
        assert in_words(error) is error
    found = in_words(OSError(20, "Not a directory", b"/a/b"))
    assert isinstance(found, PathRefused)
    assert str(found).startswith("/a/b cannot be used by user")
