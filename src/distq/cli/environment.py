"""Loads the settings of a command from the environment and `.env`."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import click

from distq.settings import Loaded, Role, Settings, SettingsError, load

DOTENV = ".env"
PREFIX = "DISTQ_"


def read_settings(
    context: click.Context,
    role: Role,
    *,
    needs_authkey: bool = True,
    options: Mapping[str, str | None] | None = None,
) -> Loaded:
    """Return the settings of this process; `options`, by setting name, take precedence where they are not None.

    Raises:
        SettingsError: a setting is wrong.
    """
    given = {name: text for name, text in (options or {}).items() if text is not None}
    dotenv = context.find_root().obj
    if dotenv is None and _is_file(DOTENV):
        dotenv = DOTENV
    try:
        return load({**os.environ, **given}, role, dotenv=dotenv, needs_authkey=needs_authkey)
    except SettingsError as error:
        raise SettingsError(_in_options(str(error), context, given)) from error


def _in_options(sentence: str, context: click.Context, given: Mapping[str, str]) -> str:
    """Return a sentence about a setting with the option by which the command has set it."""
    name, space, rest = sentence.partition(" ")
    option = f"--{name.removeprefix(PREFIX).lower().replace('_', '-')}"
    is_option = name in given and any(option in param.opts for param in context.command.params)
    return f"{option}{space}{rest}" if is_option else sentence


def _is_file(path: str) -> bool:
    """Whether a file exists; raises OSError where this user may not look, which `Path.is_file` hides from 3.14 on."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def settings_of_command(context: click.Context, role: Role, *, needs_authkey: bool = True) -> Settings:
    """Return the settings of a short command, and print their warnings on standard error."""
    loaded = read_settings(context, role, needs_authkey=needs_authkey)
    for warning in loaded.warnings:
        click.echo(f"distq: warning: {warning}", err=True)
    return loaded.settings


def settings_of_service(
    context: click.Context, role: Role, options: Mapping[str, str | None] | None = None
) -> Settings:
    """Return the settings of a master or worker; set up its log and write their warnings to it."""
    loaded = read_settings(context, role, options=options)
    from distq.logs import configure, get_logger, log_unhandled

    configure(loaded.settings.log_level, loaded.settings.log_format)
    log_unhandled()
    for warning in loaded.warnings:
        get_logger().warning("settings_doubted", reason=warning)
    return loaded.settings
