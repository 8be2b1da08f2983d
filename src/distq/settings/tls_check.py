"""Checks the settings of TLS together: a process never connects or listens without TLS by mistake."""

from distq.settings.errors import SettingsError
from distq.settings.row import Role
from distq.settings.table import Settings


def check_tls(settings: Settings, role: Role) -> None:
    """Raise SettingsError if a setting of TLS lacks another one, or if DISTQ_LOOPBACK_BIND is not on loopback."""
    cert, key, ca = settings.tls_cert, settings.tls_key, settings.tls_ca
    if cert is not None and key is None:
        raise SettingsError(
            "DISTQ_TLS_CERT is set, but DISTQ_TLS_KEY is not. Set it to the file of the certificate's private key, "
            "which may be the same file."
        )
    if key is not None and cert is None:
        raise SettingsError("DISTQ_TLS_KEY is set, but DISTQ_TLS_CERT is not. Set it to the file of the certificate.")
    if role is not Role.MASTER:
        if cert is not None and ca is None:
            raise SettingsError(
                "DISTQ_TLS_CERT is set, but DISTQ_TLS_CA is not, so this process would connect without TLS. Set "
                "DISTQ_TLS_CA to the file of the CA that has signed the master's certificate."
            )
        if settings.tls_server_name is not None and ca is None:
            raise SettingsError(
                "DISTQ_TLS_SERVER_NAME is set, but DISTQ_TLS_CA is not, so this process would connect without TLS. Set "
                "DISTQ_TLS_CA to the file of the CA that has signed the master's certificate."
            )
        return
    if ca is not None and cert is None:
        raise SettingsError(
            "DISTQ_TLS_CA is set, but DISTQ_TLS_CERT is not, so the master would listen without TLS. Set "
            "DISTQ_TLS_CERT and DISTQ_TLS_KEY to the files of the master's certificate and key."
        )
    if settings.tls_verify_clients and ca is None:
        raise SettingsError(
            "DISTQ_TLS_VERIFY_CLIENTS is on, but DISTQ_TLS_CA is not set. Set it to the file of the CA that has signed "
            "the certificates of clients and workers."
        )
    _check_loopback_bind(settings)


def _check_loopback_bind(settings: Settings) -> None:
    bind = settings.loopback_bind
    if bind is None:
        return
    if not bind.is_loopback:
        raise SettingsError(
            f"DISTQ_LOOPBACK_BIND is {bind}, which other machines may reach. It must be on loopback, such as "
            f"127.0.0.1:{bind.port}; programs on other machines use `distq tunnel`."
        )
    for name, other in (("DISTQ_BIND", settings.bind), ("DISTQ_HTTP_ADDRESS", settings.http_address)):
        if bind.port and bind == other:
            raise SettingsError(f"DISTQ_LOOPBACK_BIND and {name} are both {bind}. Give them different ports.")
