"""Schedules with intervals and cron lines, and commands for operators. Needs a worker of `again` with two executors."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import again
from commands import command

import distq


def schedules() -> dict[str, dict[str, Any]]:
    """Return the schedules by name, as the master lists them."""
    return {one["name"]: one for one in json.loads(command("schedule", "list", "--json"))}


def wait_for(folder: Path, pattern: str, count: int) -> None:
    """Wait until the folder contains this number of files."""
    while len(list(folder.glob(pattern))) < count:
        time.sleep(0.02)


def main() -> int:
    """Show schedules."""
    with distq.Client() as client, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ticks = folder / "ticks"
        ticks.touch()
        tick = client.schedule("tick", again.tick, str(ticks))
        client.schedule("slow", again.slow, str(folder))
        while len(ticks.read_text().splitlines()) < 5:
            time.sleep(0.02)
        intervals = (schedules()["tick"]["next_at"] - tick.next_at) / 0.5
        print("every half a second, without drift:", abs(intervals - round(intervals)) < 0.001)
        wait_for(folder, "done *", 2)
        print("two runs of the slow task were never under way at the same time")

        rome = client.options(cron="0 7 * * mon-fri", timezone="Europe/Rome").schedule("report", again.report, "daily")
        print("the next report comes by the clocks of Rome:", rome.next_at is not None)
        try:
            client.options(cron="0 25 * * *").schedule("never", again.report, "x")
        except distq.BadSchedule as error:
            print(f"refused: {error}")

        print(command("schedule", "pause", "tick"))
        client.result(schedules()["tick"]["last_id"], timeout=30)  # the last task from before the pause
        before = len(ticks.read_text().splitlines())
        time.sleep(1.2)  # two of its instants pass
        print("while it is paused none comes:", len(ticks.read_text().splitlines()) == before)
        client.result(command("schedule", "run", "tick"), timeout=30)
        print("run by hand:", len(ticks.read_text().splitlines()) == before + 1)
        listed = schedules()
        print("listed:", ", ".join(sorted(listed)), "| slow skipped some:", listed["slow"]["skipped"] > 0)
        print(command("schedule", "add", "by-hand", "again:report", '"hourly"', "--every", "1h").split(":")[0], "added")
        for schedule in ("tick", "slow", "report", "by-hand"):
            command("schedule", "remove", schedule)
        print(command("schedule", "list"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
