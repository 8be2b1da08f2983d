"""The process that listens at a port is found for an error, and what cannot be seen is left out."""

import os
import socket
from pathlib import Path

from distq.net.port_holder import COMMAND_CHARS_MAX, held_by


def test_the_process_that_listens_is_named_with_its_command() -> None:
    """Over IPv4 and IPv6; a port at which nothing listens has no sentence."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as listener:
            listener.bind((host, 0))
            port = listener.getsockname()[1]
            assert held_by(port) == ""
            listener.listen()
            assert held_by(port).startswith(f"Process {os.getpid()} (this one) listens there: ")


def process(proc: Path, number: int, inode: int, command: bytes) -> None:
    """Write what /proc has of a process with one socket."""
    descriptors = proc / str(number) / "fd"
    descriptors.mkdir(parents=True)
    (descriptors / "3").symlink_to(f"socket:[{inode}]")
    (proc / str(number) / "cmdline").write_bytes(command)


def test_a_fact_that_the_system_does_not_show_is_left_out(tmp_path: Path) -> None:
    """There may be no /proc, and a process of another user hides its descriptors."""
    assert held_by(9001, tmp_path) == ""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:2329 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 11 1\n"
        "   1: 0100007F:2329 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1\n"
    )
    process(tmp_path, 7, 11, b"client\0")
    assert held_by(9001, tmp_path) == ""
    process(tmp_path, 8, 12, b"distq\0worker\0" + b"\x1b[2J" * 99)
    sentence = held_by(9001, tmp_path)
    assert sentence.startswith("Process 8 listens there: distq worker ?[2J")
    assert len(sentence) < COMMAND_CHARS_MAX + 40
    assert held_by(9000, tmp_path) == ""
