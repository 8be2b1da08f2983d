"""Loads the settings from the environment and `.env` into one frozen value."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distq.core.ranges import cut, shown
from distq.settings import kinds
from distq.settings.address import Address
from distq.settings.authkey import (
    HOW_TO_MAKE_ONE,
    KEY_LENGTH_MIN,
    Authkey,
    check_authkeys,
    create_authkey_file,
    is_there,
    parse_authkeys,
    parse_http_tokens,
    read_authkey_file,
)
from distq.settings.cpus import available_cpus
from distq.settings.dotenv_file import read_dotenv
from distq.settings.errors import SettingsError
from distq.settings.payload_keys import FIELDS, file_field, read_payload_keys
from distq.settings.role_keys import KeyFiles
from distq.settings.row import Role, Row
from distq.settings.store_url import split_secrets, without_values
from distq.settings.table import ROWS, Settings
from distq.settings.tls_check import check_tls

PREFIX = "DISTQ_"

# Kubernetes puts these into every pod, one set for each Service whose name begins with distq.
_KUBERNETES = re.compile(r"DISTQ_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")
# The project's tests read it; distq does not.
_NOT_SETTINGS = frozenset({"DISTQ_CI"})


class Text(NamedTuple):
    """The text of a setting, and its source: `environment`, `default`, or a file's path."""

    text: str | None
    source: str


class Loaded(NamedTuple):
    """The settings, warnings as sentences, and the text of each setting by its name."""

    settings: Settings
    warnings: tuple[str, ...]
    texts: Mapping[str, Text]


def load(
    environ: Mapping[str, str],
    role: Role,
    *,
    dotenv: str | Path | None = None,
    needs_authkey: bool = True,
) -> Loaded:
    """Read and check all settings; the environment takes precedence over the `.env` file, an empty text is no value.

    With `needs_authkey=False` keys are neither read nor required. With DISTQ_AUTHKEY_CREATE the master makes the key
    file here.

    Raises:
        SettingsError: the first problem that was found.
    """
    _check_texts(environ)
    layers = [("environment", environ)]
    warnings: list[str] = []
    if dotenv is not None:
        found = read_dotenv(dotenv, PREFIX)
        layers.append((str(dotenv), found.variables))
        warnings += found.warnings
    texts = {row.name: _find(row, layers, role) for row in ROWS}
    values = {row.field: _parse(row, texts[row.name]) for row in ROWS if not row.is_secret}
    values["store"], values["store_secrets"] = split_secrets(values["store"])
    texts["DISTQ_STORE"] = texts["DISTQ_STORE"]._replace(text=values["store"])
    _fill_in(values)
    reads_keys = needs_authkey and role is not Role.MASTER
    unknown = [sentence for _, layer in layers for sentence in _unknown(layer)]
    warnings += unknown
    try:
        values["authkeys"] = _authkeys(values, texts, role) if needs_authkey else ()
    except SettingsError as error:
        raise SettingsError(" ".join([str(error), *(one for one in unknown if "DISTQ_AUTHKEY" in one)])) from error
    values["http_tokens"] = parse_http_tokens(texts["DISTQ_HTTP_TOKEN"].text or "") if role is Role.MASTER else ()
    for field, name in FIELDS.items():
        values[field] = read_payload_keys(field, texts[name].text, values) if reads_keys else ()
    values["key_files"] = _key_files(values, texts)
    settings = Settings(**values)
    _cross_check(settings, role)
    if role is not Role.MASTER:
        check_dialled(settings.address)
    if needs_authkey:
        check_tls(settings, role)
    if needs_authkey and role is Role.MASTER:
        warnings += _check_key_length(settings)
    return Loaded(settings, tuple(warnings), texts)


def _check_texts(environ: Mapping[Any, Any]) -> None:
    """Raise SettingsError if a name or the value of a setting is no text, as in a mapping that a program has made."""
    for name, text in environ.items():
        if not isinstance(name, str):
            raise SettingsError(f"{shown(name)} is no name of a setting: names are texts, such as 'DISTQ_ADDRESS'.")
        if name.upper().startswith(PREFIX) and not isinstance(text, str):
            value = "a value" if "KEY" in name.upper() or "STORE" in name.upper() else shown(text)
            raise SettingsError(
                f"{name} is {value} of the type {type(text).__name__}. Settings are texts, such as '30s'."
            )


def _find(row: Row, layers: list[tuple[str, Mapping[str, str]]], role: Role) -> Text:
    for source, layer in layers:
        text = layer.get(row.name, "").strip()
        if text:
            return Text(text, source)
        if row.is_secret and layer.get(f"{row.name}_FILE", "").strip():
            break  # a key file in the environment takes precedence over a key in .env
    return Text(row.default_for(role), "default")


def _parse(row: Row, given: Text) -> Any:
    if given.text is None:
        return row.kind.parse("") if row.kind is kinds.PLAIN_QUEUES else None
    try:
        value = row.kind.parse(given.text)
    except ValueError as error:
        why = f": {error}" if str(error) else ""
        text = without_values(given.text) if row.kind is kinds.STORE else given.text
        raise SettingsError(
            f"{row.name} is {shown(text)}, which cannot be read{why}. It takes {row.kind.accepts}."
        ) from None
    if row.at_least is not None and isinstance(value, int | float) and value < row.at_least:
        unit = {kinds.BYTES.name: " bytes", kinds.DURATION.name: " s"}.get(row.kind.name.split(" or ")[0], "")
        raise SettingsError(f"{row.name} is {cut(given.text)}; it must be at least {row.at_least:g}{unit}.")
    if row.at_most is not None and isinstance(value, int | float) and value > row.at_most:
        raise SettingsError(f"{row.name} is {cut(given.text)}; it must be at most {row.at_most:g}.")
    return value


def _fill_in(values: dict[str, Any]) -> None:
    """Set what depends on another setting or on the machine: `bind` and `concurrency`."""
    if values["bind"] is None:
        values["bind"] = values["address"][0]
    if values["concurrency"] is None:
        values["concurrency"] = available_cpus()


def _unknown(layer: Mapping[str, str]) -> list[str]:
    known = {row.name for row in ROWS} | _NOT_SETTINGS
    return [
        unknown_sentence(name)
        for name in sorted(layer)
        if name.upper().startswith(PREFIX) and name not in known and not _KUBERNETES.fullmatch(name)
    ]


def unknown_sentence(name: str) -> str:
    """Say that there is no setting of this name, and which one has the nearest name."""
    import difflib  # noqa: PLC0415 - only a mistyped name pays for the import

    meant = name.upper() if name.upper().startswith(PREFIX) else PREFIX + name.upper()
    near = difflib.get_close_matches(meant, sorted(row.name for row in ROWS), n=1, cutoff=0.6)
    end = f"did you mean {near[0]}?" if near else "`distq settings` lists the settings."
    return f"{name} is not a setting; {end}"


def _authkeys(values: Mapping[str, Any], texts: Mapping[str, Text], role: Role) -> tuple[Authkey, ...]:
    given = texts["DISTQ_AUTHKEY"].text
    if given is not None:
        keys = parse_authkeys(given)
        if keys:
            check_authkeys(keys, "DISTQ_AUTHKEY")
            return keys
    path = values["authkey_file"]
    if role is Role.MASTER and path is None and given is None and values["keys_path"] is not None:
        return ()
    if path is None or given is not None:
        raise SettingsError(f"There is no key: DISTQ_AUTHKEY is not set. {HOW_TO_MAKE_ONE}.")
    if role is Role.MASTER and values["authkey_create"] and not is_there(path):
        create_authkey_file(path)
    return read_authkey_file(path)


def _key_files(values: Mapping[str, Any], texts: Mapping[str, Text]) -> dict[str, str]:
    """The files from which keys were read, by the field of the keys, as paths that a change of the folder leaves."""
    files = {"authkeys": "authkey_file", **{field: file_field(field) for field in FIELDS}}
    names = {"authkeys": "DISTQ_AUTHKEY", **FIELDS}
    return {
        field: os.path.abspath(values[file])  # noqa: PTH100 - a mounted Secret's links must not be resolved
        for field, file in files.items()
        if values[field] and texts[names[field]].text is None and os.path.isfile(values[file] or "")  # noqa: PTH113
    }


def _check_key_length(settings: Settings) -> list[str]:
    named = KeyFiles(settings).read()
    if min(len(one.key) for one in named) >= KEY_LENGTH_MIN:
        return []
    problem = (
        f"The authkey has fewer than {KEY_LENGTH_MIN} characters: an attacker can guess it from one recorded handshake."
    )
    if not settings.bind.is_loopback:
        raise SettingsError(f"{problem} {HOW_TO_MAKE_ONE}.")
    return [f"{problem} The master accepts it because it listens only on {settings.bind}."]


def check_dialled(addresses: Iterable[Address]) -> None:
    """Raise SettingsError if no process can be reached at an address: port 0 is for listeners, which get a free one."""
    for address in addresses:
        if not address.port:
            raise SettingsError(
                f"DISTQ_ADDRESS is {address}, and no master can be reached at port 0. Name the port at which the "
                "master listens: its log has it, in the event master_listened."
            )


def _cross_check(settings: Settings, role: Role) -> None:
    if settings.heartbeat_s >= settings.lease_s / 2:
        raise SettingsError(
            f"DISTQ_HEARTBEAT_S is {settings.heartbeat_s:g} s and DISTQ_LEASE_S {settings.lease_s:g} s: "
            "one lost heartbeat would end the lease. Make the heartbeat less than half of the lease."
        )
    if settings.frame_bytes_max <= settings.payload_bytes_max:
        raise SettingsError(
            f"DISTQ_FRAME_BYTES_MAX is {settings.frame_bytes_max} bytes and must be larger than "
            f"DISTQ_PAYLOAD_BYTES_MAX, which is {settings.payload_bytes_max}: a frame holds a payload."
        )
    if settings.retry_max_s < settings.retry_base_s:
        raise SettingsError(
            f"DISTQ_RETRY_MAX_S is {settings.retry_max_s:g} s, less than DISTQ_RETRY_BASE_S, "
            f"{settings.retry_base_s:g} s. Raise DISTQ_RETRY_MAX_S or lower DISTQ_RETRY_BASE_S."
        )
    http = settings.http_address
    if role is Role.MASTER and http is not None and http.port and http == settings.bind:
        raise SettingsError(f"DISTQ_HTTP_ADDRESS and DISTQ_BIND are both {settings.bind}. Give them different ports.")
