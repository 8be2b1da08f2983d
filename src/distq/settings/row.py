"""The columns of the table of settings, and the roles that read settings."""

import dataclasses
from enum import StrEnum
from typing import Any

from distq.settings import kinds
from distq.settings.kinds import Kind


class Role(StrEnum):
    """The kind of process that reads the settings."""

    MASTER = "master"
    WORKER = "worker"
    CLIENT = "client"


MASTER, WORKER, CLIENT = frozenset({Role.MASTER}), frozenset({Role.WORKER}), frozenset({Role.CLIENT})
DIALLING = WORKER | CLIENT
ALL = MASTER | DIALLING


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One setting; `default` is the text of its default, None without one."""

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
        """Whether the value must never be shown."""
        return self.kind is kinds.SECRET

    def default_for(self, role: Role) -> str | None:
        """Return the text of the default for a role, None without one."""
        if role is Role.WORKER and self.default_of_worker is not None:
            return self.default_of_worker
        return self.default


def row(kind: Kind, default: str | None, sentence: str, group: str, used_by: frozenset[Role], **columns: Any) -> Any:
    """Declare a field of `Settings`; `columns` are the optional columns of its `Row`."""
    metadata = {
        "kind": kind,
        "default": default,
        "sentence": sentence,
        "group": group,
        "used_by": used_by,
        **columns,
    }
    return dataclasses.field(repr=kind is not kinds.SECRET, metadata=metadata)
