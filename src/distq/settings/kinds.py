"""The kinds of a setting's value, and the parser of each.

A parser turns text into a value, or raises `ValueError` with a clause that says what is wrong, or with no message.
The loader adds the setting's name, the text, and what the kind accepts.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from distq.core.head import new_queue_name
from distq.core.policy import BadPolicy, Policy
from distq.core.ranges import NAME_SHAPE, cut, duration_of, number_of, shown, unit_of
from distq.settings.address import parse_address, parse_addresses
from distq.settings.store_url import parse_store

OFF = "off"
AUTO = "auto"

BYTES_PER_UNIT = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
WORDS_OF_FLAGS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]*)", re.ASCII)
_HANDLER = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:-]{0,252}")
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_GETTER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Kind(NamedTuple):
    """A kind of value: its name in the reference, its parser, and a phrase for what the parser accepts."""

    name: str
    parse: Callable[[str], object]
    accepts: str

    def or_word(self, word: str) -> "Kind":
        """Return this kind with one more accepted word (`off`, `auto`), which means None."""

        def parse(text: str) -> object:
            return None if text.lower() == word else self.parse(text)

        return Kind(f"{self.name} or `{word}`", parse, f"{self.accepts}, or {word}")


def parse_duration_s(text: str) -> float:
    """Read a duration in seconds: `500ms`, `30`, `30s`, `5m`, `1h`, `1d`, `1h30m`.

    Raises:
        ValueError: the text is no duration.
    """
    return float(duration_of(text))


def parse_bytes(text: str) -> int:
    """Read a size in bytes: `65536`, `64kB`, `64MB` (decimal), `16MiB` (binary).

    Raises:
        ValueError: the text is no size, or not a whole number of bytes.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError
    size = number_of(match[1]) * unit_of(match[2], BYTES_PER_UNIT)
    if size != int(size):
        raise ValueError("it is not a whole number of bytes")
    return int(size)


def parse_count(text: str) -> int:
    """Read a whole number, at least 0; underscores may group its digits.

    Raises:
        ValueError: the text is no whole number.
    """
    digits = text.replace("_", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise ValueError
    return int(digits)


def parse_flag(text: str) -> bool:
    """Read yes or no.

    Raises:
        ValueError: the text is neither.
    """
    try:
        return WORDS_OF_FLAGS[text.lower()]
    except KeyError:
        raise ValueError from None


def parse_handler(text: str) -> str:
    """Check that the text is `module:function`; nothing is imported.

    Raises:
        ValueError: the text is not.
    """
    if not _HANDLER.fullmatch(text):
        raise ValueError
    return text


def parse_path(text: str) -> str:
    """Check that the text can be a path.

    Raises:
        ValueError: the text has a NUL character, which no path has.
    """
    if "\0" in text:
        raise ValueError("it has a NUL character")
    return text


def parse_name(text: str) -> str:
    """Check that the text can name a pool or a queue.

    Raises:
        ValueError: the text cannot.
    """
    if not NAME_SHAPE.fullmatch(text):
        raise ValueError
    return text


def parse_host(text: str) -> str:
    """Check that the text can be a DNS name or an IP address.

    Raises:
        ValueError: the text cannot.
    """
    if not _HOST.fullmatch(text):
        raise ValueError
    return text


def parse_plain_queues(text: str) -> Mapping[str, str]:
    """Read `get_jobs:work,get_answers:result` as a mapping of getters to queue names.

    Raises:
        ValueError: a part is not `getter:queue`, or a getter is named twice.
    """
    queues: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        getter, _, queue = (word.strip() for word in part.partition(":"))
        if not (_GETTER.fullmatch(getter) and NAME_SHAPE.fullmatch(queue)):
            raise ValueError(f"{shown(part)} is not getter:queue")
        if getter in queues:
            raise ValueError(f"{cut(getter)} is named twice")
        queues[getter] = queue
    return MappingProxyType(queues)


def parse_modules(text: str) -> tuple[str, ...]:
    """Read the names of modules, separated by commas; nothing is imported.

    Raises:
        ValueError: a part cannot name a module.
    """
    for part in map(str.strip, text.split(",")):
        if part.endswith(".py") and (module := _module_of(part)) is not None:
            raise ValueError(f"{shown(part)} is a file (did you mean {cut(module)}?)")
    return _parts(text, _MODULE.fullmatch, "module")


def _module_of(path: str) -> str | None:
    """Return the name by which the file of a module is imported, None if no module has such a file."""
    stem = path.removeprefix("./").removesuffix(".py").removesuffix("/__init__")
    module = stem.replace("/", ".")
    return module if _MODULE.fullmatch(module) else None


def parse_queues(text: str) -> tuple[str, ...]:
    """Read the names of queues, separated by commas.

    Raises:
        ValueError: a part cannot name a queue.
    """
    return _parts(text, _can_name_a_queue, "queue")


def parse_queue_limits(text: str) -> Mapping[str, Policy]:
    """Read `mail:rate=100/m,running=5;bulk:capacity=1000` as a mapping of queue names to policies.

    Raises:
        ValueError: a part is not `queue:limit=value,...`, or a queue is named twice.
    """
    queues: dict[str, Policy] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        queue, _, rest = part.rpartition(":")  # a name may contain a colon, a limit cannot
        limits = dict(limit.strip().split("=", 1) for limit in rest.split(",") if "=" in limit)
        if not _can_name_a_queue(queue) or not limits or limits.keys() - {"rate", "running", "capacity"}:
            raise ValueError(f"{shown(part)} is not queue:limit=value")
        if queue in queues:
            raise ValueError(f"{queue} is named twice")
        asked = {word: value if word == "rate" else int(value) for word, value in limits.items()}
        try:
            queues[queue] = Policy().changed(asked)
        except BadPolicy as error:
            raise ValueError(f"{shown(part)}: {error}") from error
    return MappingProxyType(queues)


def parse_labels(text: str) -> tuple[str, ...]:
    """Read labels of a worker, separated by commas.

    Raises:
        ValueError: a part is no label.
    """
    return _parts(text, NAME_SHAPE.fullmatch, "label")


def parse_devices(text: str) -> tuple[str, ...]:
    """Read numbers or names of devices, separated by commas; the same one may be there several times.

    Raises:
        ValueError: a part is neither.
    """
    devices = tuple(part.strip() for part in text.split(","))
    for device in devices:
        if not _DEVICE.fullmatch(device):
            raise ValueError(f"{shown(device)} is no device")
    return devices


def _can_name_a_queue(text: str) -> bool:
    try:
        new_queue_name(text)
    except ValueError:
        return False
    return True


def _parts(text: str, fits: Callable[[str], object], what: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    for part in parts:
        if not fits(part):
            raise ValueError(f"{shown(part)} cannot be the name of a {what}")
    return parts


def choice(*words: str) -> Kind:
    """Return the kind whose value is one of these words, in upper or lower case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Kind(" or ".join(f"`{word}`" for word in words), parse, ", ".join(words[:-1]) + f" or {words[-1]}")


DURATION = Kind(
    "duration", parse_duration_s, "seconds or a number with ms, s, m, h or d, such as 30, 500ms, 5m or 1h30m"
)
BYTES = Kind("size", parse_bytes, "bytes or a number with kB, MB, GB, KiB, MiB or GiB, such as 16MiB")
COUNT = Kind("count", parse_count, "a whole number, such as 1000")
FLAG = Kind("flag", parse_flag, "1, true, yes or on; 0, false, no or off")
ADDRESS = Kind("address", parse_address, "host:port, such as 127.0.0.1:9000 or [::1]:9000")
ADDRESSES = Kind("addresses", parse_addresses, "host:port, or several separated by commas")
HANDLER = Kind("function", parse_handler, "module:function, such as mytasks:square")
NAME = Kind(
    "name",
    parse_name,
    "1 to 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit",
)
HOST = Kind("host", parse_host, "a DNS name or an IP address, such as distq-master")
PLAIN_QUEUES = Kind("queues", parse_plain_queues, "getter:queue pairs, such as get_jobs:work,get_answers:result")
QUEUE_LIMITS = Kind(
    "limits of queues",
    parse_queue_limits,
    "queue:limit=value pairs, such as mail:rate=100/m,running=5;bulk:capacity=1000",
)
MODULES = Kind("modules", parse_modules, "importable modules separated by commas, such as mytasks,reports.tasks")
LABELS = Kind("labels", parse_labels, "names separated by commas, such as gpu,eu")
DEVICES = Kind(
    "devices", parse_devices, "numbers or names of devices separated by commas, such as 0,1 or GPU-8f6a,GPU-11c2"
)
QUEUES = Kind("queues", parse_queues, "names of queues separated by commas, such as default,mail")
STORE = Kind(
    "store",
    parse_store,
    "memory:, sqlite:///path, such as sqlite:///queue.db or sqlite:////var/lib/queue.db, or "
    "postgresql://user@host/database",
)
SECRET = Kind("secret", str, "text")
PATH = Kind("path", parse_path, "a path")
