"""What a row of the table of settings is, and who reads settings."""

import dataclasses
from enum import StrEnum
from typing import Any

from distq.settings import kinds
from distq.settings.kinds import Kind


class Role(StrEnum):
    """Who reads the settings."""

    MASTER = "master"
    WORKER = "worker"
    CLIENT = "client"


MASTER, WORKER, CLIENT = frozenset({Role.MASTER}), frozenset({Role.WORKER}), frozenset({Role.CLIENT})
DIALLING = WORKER | CLIENT
ALL = MASTER | DIALLING


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One setting; `default` is text as it would be written, or None where there is no default."""

    name: str
    field: str
    kind: Kind
    default: str | None
    sentence: str
    group: str
    used_by: frozenset[Role]
    at_least: float | None = None
    at_most: float | None = None
    default_of_worker: str | None = None

    @property
    def is_secret(self) -> bool:
        """Whether the value is never shown."""
        return self.kind is kinds.SECRET

    def default_for(self, role: Role) -> str | None:
        """The default as text, for this reader."""
        if role is Role.WORKER and self.default_of_worker is not None:
            return self.default_of_worker
        return self.default


def row(kind: Kind, default: str | None, sentence: str, group: str, used_by: frozenset[Role], **more: Any) -> Any:
    """A field of `Settings`; `more` are the other fields of its `Row`."""
    rest = {
        "kind": kind,
        "default": default,
        "sentence": sentence,
        "group": group,
        "used_by": used_by,
        **more,
    }
    return dataclasses.field(repr=kind is not kinds.SECRET, metadata=rest)
