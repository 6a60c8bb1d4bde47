"""The server's certificate, and how a renewed one comes into use."""

import logging
import ssl
from pathlib import Path

from simyard.settings import SettingsError

log = logging.getLogger(__name__)

# What OpenSSL calls two keys that differ, of the same kind and of two kinds.
_MISMATCH = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


class Certificate:
    """What connections are secured with, read from files at the start and when somebody asks.

    `context` is what a server listens with. Each handshake takes the newest certificate, in a
    context of its own: an OpenSSL context keeps one for each kind of key, and would go on showing
    an old RSA one beside a new one of another kind.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Raises SettingsError where the files are not a certificate and its key."""
        self._certificate, self._key = certificate, key
        self._newest = _read(certificate, key)
        self.context = _read(certificate, key)
        self.context.sni_callback = self._show_newest

    def _show_newest(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: object
    ) -> None:
        connection.context = self._newest

    def read_again(self) -> None:
        """Use the files as they are now for new connections; where they are no good, go on as
        before.
        """
        try:
            self._newest = _read(self._certificate, self._key)
        except SettingsError as error:
            log.error("The certificate stays as it was. %s", error)
        else:
            log.info("%s was read again; new connections use it", self._certificate)


def certificate(path: Path | None, key: Path | None) -> Certificate | None:
    """What two settings say: None for plain HTTP. Raises SettingsError."""
    if path is not None:
        return Certificate(path, key)
    if key is not None:
        raise SettingsError("tls_key: there is no tls_certificate that it could belong to")
    return None


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    raise _Encrypted  # OpenSSL would ask on the terminal


def _read(certificate: Path, key: Path | None) -> ssl.SSLContext:
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            if path is not None:
                path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{name}: {path}: {error.strerror}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    except ssl.SSLError:
        raise SettingsError(f"tls_certificate: {certificate}: no certificate in PEM form") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    named = f"tls_key: {key}" if key else f"tls_certificate: {certificate}"
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except _Encrypted:
        raise SettingsError(f"{named}: the key has a password; it must have none") from None
    except ssl.SSLError as error:
        reason = error.reason or ""
        if reason.endswith(("TOO_SMALL", "TOO_WEAK")):
            raise SettingsError(f"tls_certificate: {certificate}: {error}") from None
        what = "no private key in PEM form"
        if reason in _MISMATCH:
            whose = f"the first certificate in {certificate}" if key else "its first certificate"
            what = f"the key is not that of {whose}"
        elif not key:
            what = "no private key beside the certificate, and tls_key names none"
        raise SettingsError(f"{named}: {what}") from None
    return context
