"""Two or more examples of every command, for its `--help`; a test runs each of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "master": ("master", "--env-file prod.env master"),
        "worker": ("worker shop.tasks", "worker shop.tasks --concurrency 4 --queues mail,reports"),
        "up": ("up shop.tasks", "up shop.tasks --workers 2 --reload"),
        "demo": ("demo", "demo > demo.log"),
        "submit": ("submit shop.tasks:add 1 2 --wait", """submit shop.tasks:send '"joe"' --queue mail"""),
        "result": ("result 1-2a", "result 1-2a --timeout 30s --json"),
        "list": ("list", "list --queue mail --state running --older 10m", "list --state ended --json"),
        "show": ("show 1-2a", "show 1-2a --json"),
        "why": ("why 1-2a", "--env-file prod.env why 1-2a"),
        "stack": ("stack 1-2a", "--env-file prod.env stack 1-2a"),
        "status": ("status", "status --json", "status --watch 5s"),
        "top": ("top", "top --every 2s"),
        "bench": ("bench", "bench shop.tasks:ping --duration 1s --json"),
        "cancel": ("cancel 1-2a 1-2b", "cancel --queue mail --name shop.tasks:send --running"),
        "pause": ("pause --queue mail", "pause --name shop.tasks:send"),
        "resume": ("resume --queue mail", "resume --name shop.tasks:send"),
        "purge": ("purge --queue mail", "purge --name shop.tasks:send --yes"),
        "queue": ("queue set mail --rate 100/m", "queue reset mail"),
        "queue set": ("queue set mail --rate 100/m --running 5", "queue set bulk --capacity 1000 --create"),
        "queue reset": ("queue reset mail", "--env-file prod.env queue reset mail"),
        "schedule": ("schedule list", "schedule pause nightly"),
        "schedule list": ("schedule list", "schedule list --json"),
        "schedule add": (
            "schedule add nightly shop.tasks:report --cron '0 3 * * *' --timezone Europe/Rome",
            "schedule add beat shop.tasks:ping --every 30s",
        ),
        "schedule pause": ("schedule pause nightly", "--env-file prod.env schedule pause nightly"),
        "schedule resume": ("schedule resume nightly", "--env-file prod.env schedule resume nightly"),
        "schedule run": ("schedule run nightly", "--env-file prod.env schedule run nightly"),
        "schedule remove": ("schedule remove nightly", "--env-file prod.env schedule remove nightly"),
        "dead": ("dead list --since 1d", "dead retry 1-2a"),
        "dead list": ("dead list", "dead list --queue mail --error ConnectionError"),
        "dead show": ("dead show 1-2a", "dead show 1-2a --json"),
        "dead retry": ("dead retry 1-2a", "dead retry --queue mail --dry-run"),
        "dead purge": ("dead purge 1-2a", "dead purge --all --until 30d --yes"),
        "store": ("store stat", "store backup copy.db"),
        "store backup": ("store backup copy.db", "store backup - > copy.db"),
        "store stat": ("store stat distq.db", "store stat --json"),
        "store check": ("store check distq.db", "store check --json"),
        "store salvage": ("store salvage distq.db mended.db", "store salvage old/distq.db new/distq.db"),
        "health": ("health", "--env-file prod.env health"),
        "key": ("key new > key", "key show"),
        "key new": ("key new", "key new > key"),
        "key show": ("key show", "--env-file prod.env key show"),
        "tls": ("tls init", "tls init --renew"),
        "tls init": ("tls init", "tls init certificates --host queue.example.com --days 90"),
        "tunnel": ("tunnel", "tunnel --listen 127.0.0.1:50000"),
        "settings": ("settings", "settings --for worker --json"),
        "completion": ("completion bash > distq.bash", "completion zsh", "completion fish"),
    }
)
