"""Certificates and keys for tests, made here and good for a day."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key(kind: str = "ec") -> Key:
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


def key_pem(key: Key, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def certificate_pem(key: Key, serial: int = 1) -> bytes:
    """A certificate of 127.0.0.1, signed by itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simyard test")])
    address = x509.IPAddress(IPv4Address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


class Files:
    """What the settings of a test's server name."""

    def __init__(self, folder: Path, kind: str = "ec") -> None:
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.renew(1, kind)

    def renew(self, serial: int, kind: str = "ec") -> None:
        key = new_key(kind)
        self.certificate.write_bytes(certificate_pem(key, serial))
        self.key.write_bytes(key_pem(key))

    @property
    def config(self) -> str:
        return f'tls_certificate = "{self.certificate}"\ntls_key = "{self.key}"\n'

    def trust(self) -> ssl.SSLContext:
        """A client that believes this certificate and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certificate)
        return context


def anybody() -> ssl.SSLContext:
    """A client that believes everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def only(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks one version, old ones too."""
    context = anybody()
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # else this side would not even try
    context.minimum_version = context.maximum_version = version
    return context
