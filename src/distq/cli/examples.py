"""Examples of every command, for its `--help`; a test parses each of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "master": ("master", "--env-file prod.env master"),
        "worker": ("worker shop.tasks", "worker shop.tasks --concurrency 4 --queues mail,reports"),
        "up": ("up shop.tasks", "up shop.tasks --workers 2 --reload"),
        "demo": ("demo",),
        "submit": ("submit shop.tasks:add 1 2 --wait", """submit shop.tasks:send '"joe"' --queue mail"""),
        "result": ("result 1-2a", "result 1-2a --timeout 30s --json"),
        "list": ("list", "list --queue mail --state running --older 10m", "list --state ended --json"),
        "show": ("show 1-2a",),
        "why": ("why 1-2a",),
        "stack": ("stack 1-2a",),
        "status": ("status", "status --json"),
        "cancel": ("cancel 1-2a 1-2b", "cancel --queue mail --name shop.tasks:send --running"),
        "pause": ("pause --queue mail", "pause --name shop.tasks:send"),
        "resume": ("resume --queue mail",),
        "purge": ("purge --queue mail", "purge --name shop.tasks:send --yes"),
        "queue": ("queue set mail --rate 100/m",),
        "queue set": ("queue set mail --rate 100/m --running 5", "queue set bulk --capacity 1000 --create"),
        "queue reset": ("queue reset mail",),
        "schedule": ("schedule list",),
        "schedule list": ("schedule list --json",),
        "schedule add": (
            "schedule add nightly shop.tasks:report --cron '0 3 * * *' --timezone Europe/Rome",
            "schedule add beat shop.tasks:ping --every 30s",
        ),
        "schedule pause": ("schedule pause nightly",),
        "schedule resume": ("schedule resume nightly",),
        "schedule run": ("schedule run nightly",),
        "schedule remove": ("schedule remove nightly",),
        "dead": ("dead list --since 1d",),
        "dead list": ("dead list", "dead list --queue mail --error ConnectionError"),
        "dead show": ("dead show 1-2a",),
        "dead retry": ("dead retry 1-2a", "dead retry --queue mail --dry-run"),
        "dead purge": ("dead purge 1-2a", "dead purge --all --until 30d --yes"),
        "store": ("store stat",),
        "store backup": ("store backup copy.db",),
        "store stat": ("store stat distq.db",),
        "store check": ("store check distq.db",),
        "store salvage": ("store salvage distq.db mended.db",),
        "health": ("health",),
        "key": ("key new > key",),
        "key new": ("key new > key",),
        "key show": ("key show",),
        "settings": ("settings", "settings --json"),
    }
)
