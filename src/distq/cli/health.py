"""`distq health`: checks whether the master or worker of this container is ready."""

import http.client

import click

from distq.cli.environment import read_settings
from distq.settings import Address, Role

TIMEOUT_S = 3.0
REASON_LENGTH_MAX = 500


@click.command("health")
@click.pass_context
def command(context: click.Context) -> int:
    """Ask the process at DISTQ_HTTP_ADDRESS whether it is ready: exit 0, or 1 with the reason.

    Works for masters and for workers that have an HTTP address.
    """
    settings, warnings, _ = read_settings(context, Role.MASTER, needs_authkey=False)
    if settings.http_address is None:
        raise click.ClickException("DISTQ_HTTP_ADDRESS is off, so no process can answer. Set it to host:port.")
    uses_tls = settings.tls_cert is not None and settings.http_tls
    reason = unhealthy(settings.http_address.dialled(), uses_tls=uses_tls)
    click.echo(reason or "ready", err=reason is not None)
    for warning in warnings if reason else ():  # a healthy container's log has them from its master or worker
        click.echo(f"distq: warning: {warning}", err=True)
    return 0 if reason is None else 1


def unhealthy(address: Address, *, uses_tls: bool = False) -> str | None:
    """Return why the process at an address is not ready, None if it is."""
    connection = http_connection(address, uses_tls=uses_tls)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        text = response.read(REASON_LENGTH_MAX).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"{address} does not answer: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}."
    finally:
        connection.close()
    return None if response.status == http.client.OK else f"not ready: {text or response.reason}"


def http_connection(address: Address, *, uses_tls: bool, timeout_s: float = TIMEOUT_S) -> http.client.HTTPConnection:
    """Return an unconnected connection to an HTTP port, which does not check its certificate."""
    if not uses_tls:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    import ssl

    # The process of this container is asked, by its address and not by a name of its certificate. Kubernetes' probes do
    # not check the certificate either.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(address.host, address.port, timeout=timeout_s, context=context)
