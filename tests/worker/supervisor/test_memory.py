"""Tests of the reading of memory and its limit from the kernel's files."""

from pathlib import Path

from distq.worker.supervisor.memory import Cgroup, Memory


def write(folder: Path, **files: str) -> None:
    """Write files of a control group; `__` in a name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_memory_of_a_version_2_group_is_read(tmp_path: Path) -> None:
    """The files are in the group's folder, which /proc/self/cgroup names."""
    write(tmp_path / "proc/self", cgroup="0::/pod/worker\n")
    write(
        tmp_path / "fs/pod/worker",
        memory__current="1000\n",
        memory__max="max\n",
        memory__events="low 0\noom 3\noom_kill 2\n",
    )
    group = Cgroup(tmp_path / "fs", tmp_path / "proc")
    assert group.memory == Memory(1000, None)
    assert group.out_of_memory_kills == 2
    write(tmp_path / "fs/pod/worker", memory__max="5000\n", memory__stat="anon 9\nactive_file 100\ninactive_file 200\n")
    assert group.memory == Memory(1000, 5000)
    assert group.cached_bytes == 300


def test_the_memory_of_a_version_1_group_is_read(tmp_path: Path) -> None:
    """A container shows only the root of the hierarchy; a huge limit counts as none."""
    write(tmp_path / "proc/self", cgroup="5:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    write(
        tmp_path / "fs/memory",
        memory__usage_in_bytes="7\n",
        memory__limit_in_bytes=f"{(1 << 63) - 4096}\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 3\ntotal_active_file 2\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    )
    group = Cgroup(tmp_path / "fs", tmp_path / "proc")
    assert group.memory == Memory(7, None)
    assert group.cached_bytes == 5
    assert group.out_of_memory_kills == 1


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    """An unknown limit is not zero."""
    group = Cgroup(tmp_path, tmp_path)
    assert group.memory == Memory(None, None)
    assert group.out_of_memory_kills == 0
