"""`python -m distq.contrib.sqlalchemy URL`: submits the rows of an outbox."""

from __future__ import annotations

import sys

import click
from sqlalchemy import MetaData, create_engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from distq.contrib.outbox.command import DOUBTFUL, DOUBTFUL_HELP, run_relay, settle_doubtful
from distq.contrib.outbox.relay import INTERVAL_S, checked_interval_s, relay_client
from distq.contrib.sqlalchemy.outbox import TABLE, table_of
from distq.contrib.sqlalchemy.store import SqlOutboxStore
from distq.core.errors import DistqError


@click.command("python -m distq.contrib.sqlalchemy")
@click.argument("url", envvar="DATABASE_URL")
@click.option("--table", default=TABLE, show_default=True, help="Name of the table.")
@click.option("--schema", default=None, help="Schema of the table.")
@click.option("--interval", type=float, default=INTERVAL_S, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="End when no row is due.")
@click.option("--doubtful", type=click.Choice(DOUBTFUL), help=DOUBTFUL_HELP)
def main(url: str, table: str, schema: str | None, interval: float, once: bool, doubtful: str | None) -> None:
    """Submit the rows of the outbox in the database at URL to the master at DISTQ_ADDRESS.

    URL is as SQLAlchemy takes it, or the environment variable DATABASE_URL.
    """
    try:
        checked_interval_s("--interval", interval)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    try:
        engine = create_engine(url.strip())  # as settings of distq: a file may end its lines with CR and LF
    except ArgumentError as error:
        raise click.UsageError(f"URL cannot be read: {error}") from error
    except ValueError as error:  # its text may have a part of a password that the URL does not quote
        raise click.UsageError("URL cannot be read: its port, or the value of a parameter, is no number.") from error
    except ModuleNotFoundError as error:
        raise click.ClickException(f"The driver of the database is not installed: {error}.") from error
    try:
        store = SqlOutboxStore(engine, table_of(MetaData(), table, schema))
        if not store.has_table():
            raise click.ClickException(f"The database has no table {table!r}. Create it with metadata.create_all.")
        if doubtful is not None:
            settle_doubtful(store, doubtful, click.echo)
        else:
            run_relay(store, relay_client, interval, once=once, say=click.echo)
    except SQLAlchemyError as error:
        raise click.ClickException(str(error)) from error
    except DistqError as error:
        click.echo(f"distq: {error} {error.hint}".rstrip(), err=True)
        sys.exit(error.exit_code)
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
