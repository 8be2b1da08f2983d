"""Certificates for tests, which the program `openssl` makes when a test needs them."""

import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from distq.net.tls_files import TlsFiles

NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
CA_CONFIG: Final = """\
[ca]
default_ca = own
[own]
new_certs_dir = {folder}
database = {folder}/index.txt
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = leaf
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[req]
distinguished_name = dn
x509_extensions = ca_itself
[dn]
[ca_itself]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
"""Python 3.13 and later check by default that the identifiers and usages are there."""


class Certificate(NamedTuple):
    """The files of a certificate and its key."""

    cert: str
    key: str


class Authority:
    """A CA, in a folder of its own."""

    def __init__(self, folder: Path, name: str = "test-ca") -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.cert = str(self.folder / "ca.crt")
        self._key = str(self.folder / "ca.key")
        (self.folder / "index.txt").touch()
        self._config = ("-config", str(self.folder / "ca.cnf"))
        Path(self._config[1]).write_text(CA_CONFIG.format(folder=self.folder))
        wanted = ("-subj", f"/CN={name}", "-days", "30", "-keyout", self._key, "-out", self.cert)
        run("req", "-x509", *self._config, *NEW_KEY, *wanted)

    def signed_by(self, other: "Authority") -> "Authority":
        """Return this CA as an intermediate one of another CA, with the same key."""
        request, signed = f"{self.cert}.csr", f"{self.cert}.signed"
        run("req", "-new", *self._config, "-key", self._key, "-subj", f"/CN={self.folder.name}", "-out", request)
        by = ("-CA", other.cert, "-CAkey", other._key, "-CAcreateserial")
        extensions = ("-extfile", self._config[1], "-extensions", "ca_itself")
        run("x509", "-req", "-in", request, *by, *extensions, "-days", "30", "-out", signed)
        self.cert = signed
        return self

    def issue(self, name: str = "localhost", *others: str, expired: bool = False) -> Certificate:
        """Return a new certificate for host names and IP addresses; the first one is its common name."""
        stem = self.folder / f"{name.replace(':', '_')}{'-expired' if expired else ''}"
        cert, key, request = f"{stem}.crt", f"{stem}.key", f"{stem}.csr"
        names = ",".join(f"{'IP' if one.replace('.', '').isdigit() else 'DNS'}:{one}" for one in (name, *others))
        wanted = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
        run("req", *self._config, *NEW_KEY, "-keyout", key, "-out", request, *wanted)
        dates = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z") if expired else ("-days", "30")
        config = ("-batch", "-notext", *self._config)
        run("ca", *config, "-cert", self.cert, "-keyfile", self._key, "-in", request, "-out", cert, *dates)
        return Certificate(cert, key)

    def server(self, *names: str, expired: bool = False) -> TlsFiles:
        """Return the files of a master whose clients this CA verifies, too."""
        cert, key = self.issue(*(names or ("localhost", "127.0.0.1")), expired=expired)
        return TlsFiles(cert, key, self.cert)

    @property
    def client(self) -> TlsFiles:
        """The files of a client that has no certificate of its own."""
        return TlsFiles(None, None, self.cert)


def settings_of(files: TlsFiles) -> dict[str, str]:
    """Return the settings that name the files."""
    names = ("DISTQ_TLS_CERT", "DISTQ_TLS_KEY", "DISTQ_TLS_CA", "DISTQ_TLS_SERVER_NAME")
    return {name: value for name, value in zip(names, files, strict=True) if value is not None}


def run(*arguments: str) -> None:
    """Run `openssl`; its complaints become the test's."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}\n{done.stderr}"
