"""`distq tunnel`: gives programs of the standard library a local port into a cluster with TLS."""

import click

from distq.cli.environment import settings_of_command
from distq.settings import Address, Role, Settings, SettingsError, parse_address
from distq.settings.tls_check import check_tls

LISTEN = "127.0.0.1:9002"


@click.command("tunnel")
@click.option("--listen", metavar="HOST:PORT", default=LISTEN, show_default=True, help="Address on loopback.")
@click.pass_context
def command(context: click.Context, listen: str) -> int:
    """Listen on loopback without TLS, and pass each connection on to the master with TLS, until Ctrl-C.

    A program that uses `multiprocessing.managers` speaks no TLS: run the tunnel on its machine, and let the program
    connect to the tunnel's address. The program proves the key itself; the tunnel needs DISTQ_ADDRESS and DISTQ_TLS_CA.
    """
    settings = settings_of_command(context, Role.CLIENT, needs_authkey=False)
    check_tls(settings, Role.CLIENT)
    if settings.tls_ca is None:
        raise SettingsError(
            "DISTQ_TLS_CA is not set. Set it to the file of the CA that has signed the master's certificate. Without "
            "TLS no tunnel is needed: the program can connect to DISTQ_ADDRESS itself."
        )
    import asyncio

    return asyncio.run(_run(settings, _loopback(listen)))


def _loopback(listen: str) -> Address:
    try:
        address = parse_address(listen)
    except ValueError as error:
        raise click.BadParameter(f"{listen!r} cannot be read: {error}", param_hint="--listen") from None
    if not address.is_loopback:
        raise click.BadParameter(
            f"{address} is not on loopback, and its connections have no TLS. Give an address such as {LISTEN}",
            param_hint="--listen",
        )
    return address


async def _run(settings: Settings, listen: Address) -> int:
    import asyncio

    from distq.net.dial import CannotReach
    from distq.net.stop_signals import stop_signals
    from distq.net.tls_files import client_files
    from distq.net.tunnel import Tunnel

    files = client_files(settings)
    assert files is not None
    stopped = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tunnel = Tunnel(settings.address, files, lambda why: click.echo(f"distq: {why}", err=True))
    try:
        await tunnel.check()
    except CannotReach as error:
        click.echo(f"distq: warning: {error} The tunnel tries again for each connection.", err=True)
    bound = await tunnel.start(listen)
    master = ", ".join(map(str, settings.address))
    click.echo(f"Connect programs of the standard library to {bound}: the tunnel leads to {master}.")
    await stopped.wait()
    tunnel.close()
    return 0
