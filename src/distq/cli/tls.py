"""`distq tls`: makes a CA and certificates for one machine, by the program `openssl`."""

import re
import shlex
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import click

from distq.cli.groups import group
from distq.core.errors import DistqError

CA_DAYS: Final = 3650
DAYS_MAX: Final = 825
"""Maximum days of a certificate that all systems accept."""
HOSTS: Final = ("localhost", "127.0.0.1", "::1")
NAMES: Final = ("master", "client")
_HOST: Final = re.compile(r"(?=.{1,253}$)(\*\.)?[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*")
_NAME_OF_CERTIFICATE: Final = re.compile(r"(?:DNS|IP Address):([^,\s]+)")
CA_CONFIG: Final = """\
[req]
prompt = no
distinguished_name = dn
x509_extensions = extensions
[dn]
CN = distq CA
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
CONFIG: Final = """\
[req]
prompt = no
distinguished_name = dn
[dn]
CN = {name}
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


class CannotMake(DistqError):
    """The certificates cannot be made."""

    code = "CANNOT_MAKE"


@group("tls")
def command() -> None:
    """Make certificates for TLS on one machine."""


@command.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="tls")
@click.option("--host", "hosts", metavar="NAME", multiple=True, help="Further name or IP address of the master.")
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    default=365,
    show_default=True,
    help="Days for which the certificates are valid.",
)
@click.option("--renew", is_flag=True, help="Replace the certificates by new ones of the CA that the folder has.")
def init(folder: Path, hosts: tuple[str, ...], days: int, renew: bool) -> None:
    """Make a CA, and certificates of a master and a client, in FOLDER (by default `tls`).

    It is for development and tests: the key of the CA stays in the folder. The certificates are valid for localhost,
    127.0.0.1, ::1 and each --host, and with --renew for the names that the master's certificate has. In production use
    the certificates of your organisation, or cert-manager.
    """
    import tempfile

    _check(folder, renew=renew)
    valid_for = _distinct((*HOSTS, *(_present_hosts(folder) if renew else ()), *hosts))
    names = ", ".join(f"{kind}:{host}" for host, kind in valid_for.items())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
            _make(Path(new), folder, names, days, renew=renew)
    except OSError as error:
        raise CannotMake(f"The folder {folder} cannot be written: {error.strerror}. Name another folder.") from None
    path = folder.resolve()
    click.echo(f"The certificates in {path} are valid for {', '.join(valid_for)}, for {days} days.")
    click.echo("# In the .env of this machine, for its master, workers and clients:")
    for setting, name in (("CERT", "master.crt"), ("KEY", "master.key"), ("CA", "ca.crt")):
        click.echo(f"DISTQ_TLS_{setting}={shlex.quote(f'{path}/{name}')}")


def _distinct(hosts: Sequence[str]) -> dict[str, str]:
    """Return each host once, with its kind of name in a certificate: IP or DNS."""
    found = {}
    for host in hosts:
        try:
            address = ip_address(host)
        except ValueError:
            if not _HOST.fullmatch(host):
                raise click.BadParameter(f"{host!r} is no host name and no IP address", param_hint="--host") from None
            found[host] = "DNS"
        else:
            if "%" in host:
                raise click.BadParameter(f"{host!r} has a zone, which no certificate can have", param_hint="--host")
            found[str(address)] = "IP"
    return found


def _present_hosts(folder: Path) -> list[str]:
    """Return the names for which the master's certificate in the folder is valid."""
    path = folder / "master.crt"
    if not path.is_file():
        return []
    return _NAME_OF_CERTIFICATE.findall(_openssl("x509", "-in", str(path), "-noout", "-ext", "subjectAltName"))


def _check(folder: Path, *, renew: bool) -> None:
    missing = [name for name in ("ca.crt", "ca.key") if not (folder / name).is_file()]
    if renew and missing:
        raise CannotMake(f"The folder {folder} has no {' and no '.join(missing)}. Leave out --renew to make a new CA.")
    files = [f"{stem}.{end}" for stem in ("ca", *NAMES) for end in ("crt", "key")]
    present = [name for name in files if (folder / name).exists()]
    if present and not renew:
        raise CannotMake(
            f"The folder {folder} has {', '.join(present)} already. Use --renew for new certificates of the same CA, "
            "or name another folder."
        )


def _make(new: Path, folder: Path, names: str, days: int, *, renew: bool) -> None:
    """Make the files in the folder `new`, and move them to their places when all are complete."""
    ca = folder if renew else new
    if not renew:
        (new / "config").write_text(CA_CONFIG)
        _new_key(new, "ca", ("-x509", "-days", str(CA_DAYS), "-out", f"{new}/ca.crt"))
    for name in NAMES:
        (new / "config").write_text(CONFIG.format(name=name, names=names))
        _new_key(new, name, ("-new", "-out", f"{new}/{name}.csr"))
        signed = ("-CA", f"{ca}/ca.crt", "-CAkey", f"{ca}/ca.key", "-CAcreateserial", "-CAserial", f"{new}/serial")
        extensions = ("-extfile", f"{new}/config", "-extensions", "extensions")
        out = ("-in", f"{new}/{name}.csr", "-out", f"{new}/{name}.crt", "-days", str(days), "-sha256")
        _openssl("x509", "-req", *out, *signed, *extensions)
    made = [f"{stem}.{end}" for stem in (() if renew else ("ca",)) + NAMES for end in ("key", "crt")]
    for name in made:
        (new / name).chmod(0o600 if name.endswith(".key") else 0o644)
        (new / name).replace(folder / name)


def _new_key(new: Path, name: str, arguments: Sequence[str]) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{new}/{name}.key")
    _openssl("req", "-config", f"{new}/config", *key, *arguments)


def _openssl(*arguments: str) -> str:
    """Run openssl, and return what it prints; raises CannotMake."""
    import subprocess

    try:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, umask=0o077)  # noqa: S603, S607 - the user's own
    except FileNotFoundError:
        raise CannotMake(
            "The program openssl is not installed, or not on the PATH. Install it, for example with "
            "`apt install openssl`."
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotMake(f"The command `openssl {arguments[0]}` failed: {last}.")
    return done.stdout
