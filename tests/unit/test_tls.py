"""Certificates: which files are good, what is said of others, and what a handshake shows."""

import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from certificates import Files, anybody, certificate_pem, key_pem, new_key, only
from simyard.cli import tls
from simyard.settings import SettingsError


def meet(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """A handshake without a network. Returns the client's side. Raises what the server says."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


def serial_of(server: ssl.SSLContext, client: ssl.SSLContext | None = None) -> int:
    shown = meet(client or anybody(), server).getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def made(files: Files) -> tls.Certificate:
    found = tls.certificate(files.certificate, files.key)
    assert found is not None
    return found


# --- handshakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(tmp_path: Path, version: ssl.TLSVersion) -> None:
    shown = meet(only(version), made(Files(tmp_path)).context).version()
    assert shown == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.skipif(not ssl.HAS_TLSv1_1, reason="OpenSSL here cannot try TLS 1.1")
def test_older_versions_are_not(tmp_path: Path) -> None:
    """It is the server that says so: the client speaks it with another one."""
    files = Files(tmp_path, "rsa2048")
    old, context = only(ssl.TLSVersion.TLSv1_1), made(files).context
    with pytest.raises(ssl.SSLError) as caught:
        meet(old, context)
    assert caught.value.reason == "UNSUPPORTED_PROTOCOL"
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.set_ciphers("DEFAULT@SECLEVEL=0")
    other.minimum_version = ssl.TLSVersion.TLSv1_1
    other.load_cert_chain(files.certificate, files.key)
    assert meet(old, other).version() == "TLSv1.1"


def test_the_newest_certificate_is_shown_and_no_other(tmp_path: Path) -> None:
    """Also to a client that would rather see the kind of key that there was before."""
    files = Files(tmp_path, "rsa2048")
    certificate = made(files)
    rsa_only = anybody()
    rsa_only.maximum_version = ssl.TLSVersion.TLSv1_2
    rsa_only.set_ciphers("aRSA")
    assert serial_of(certificate.context, rsa_only) == 1
    files.renew(2, "ec")
    assert serial_of(certificate.context) == 1, "not before it is told"
    certificate.read_again()
    assert serial_of(certificate.context) == 2
    assert serial_of(certificate.context, files.trust()) == 2
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        serial_of(certificate.context, rsa_only)
    files.renew(3, "rsa2048")
    certificate.read_again()
    assert serial_of(certificate.context, rsa_only) == 3


def test_a_bad_renewal_leaves_things_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = Files(tmp_path)
    certificate = made(files)
    files.key.write_bytes(key_pem(new_key()))
    certificate.read_again()
    assert "The certificate stays as it was. tls_key: " in caplog.text
    assert serial_of(certificate.context, files.trust()) == 1
    files.certificate.unlink()
    certificate.read_again()
    assert serial_of(certificate.context) == 1
    files.renew(2)
    certificate.read_again()
    assert serial_of(certificate.context) == 2


# --- files ----------------------------------------------------------------------------------------


def test_without_settings_there_is_none() -> None:
    assert tls.certificate(None, None) is None


def test_a_key_in_the_file_of_the_certificate(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for parts in ((files.key, files.certificate), (files.certificate, files.key)):
        both = tmp_path / "both.pem"
        both.write_bytes(b"".join(path.read_bytes() for path in parts))
        found = tls.certificate(both, None)
        assert found and serial_of(found.context, files.trust()) == 1


GOOD, OTHER, WEAK = new_key(), new_key("rsa2048"), new_key("rsa1024")
CONTENTS = {
    "certificate": certificate_pem(GOOD),
    "key": key_pem(GOOD),
    "other": key_pem(OTHER),
    "same-kind": key_pem(new_key()),
    "both": certificate_pem(GOOD) + key_pem(OTHER),
    "chain": certificate_pem(OTHER) + certificate_pem(GOOD),
    "locked": key_pem(GOOD, b"secret"),
    "both-locked": certificate_pem(GOOD) + key_pem(GOOD, b"secret"),
    "weak": certificate_pem(WEAK),
    "weak-key": key_pem(WEAK),
    "cut": certificate_pem(GOOD)[:200],
    "cut-key": key_pem(OTHER)[:200],
    "nonsense": os.urandom(1000),
    "empty": b"",
}


@pytest.mark.parametrize(
    ("certificate", "key", "told"),
    [
        (None, "key", "tls_key: there is no tls_certificate that it could belong to"),
        ("missing", "key", "tls_certificate: F/missing: No such file or directory"),
        ("folder", "key", "tls_certificate: F/folder: Is a directory"),
        ("nonsense", "key", "tls_certificate: F/nonsense: no certificate in PEM form"),
        ("empty", "key", "tls_certificate: F/empty: no certificate in PEM form"),
        ("cut", "key", "tls_certificate: F/cut: no certificate in PEM form"),
        ("key", "key", "tls_certificate: F/key: no certificate in PEM form"),
        ("key", None, "tls_certificate: F/key: no certificate in PEM form"),
        ("certificate", "missing", "tls_key: F/missing: No such file or directory"),
        ("certificate", "folder", "tls_key: F/folder: Is a directory"),
        ("certificate", "nonsense", "tls_key: F/nonsense: no private key in PEM form"),
        ("certificate", "empty", "tls_key: F/empty: no private key in PEM form"),
        ("certificate", "cut-key", "tls_key: F/cut-key: no private key in PEM form"),
        ("certificate", "certificate", "tls_key: F/certificate: no private key in PEM form"),
        (
            "certificate",
            "other",
            "tls_key: F/other: the key is not that of the first certificate in F/certificate",
        ),
        (
            "certificate",
            "same-kind",
            "tls_key: F/same-kind: the key is not that of the first certificate in F/certificate",
        ),
        (
            "chain",
            "key",
            "tls_key: F/key: the key is not that of the first certificate in F/chain",
        ),
        ("certificate", "locked", "tls_key: F/locked: the key has a password; it must have none"),
        (
            "both-locked",
            None,
            "tls_certificate: F/both-locked: the key has a password; it must have none",
        ),
        (
            "certificate",
            None,
            "tls_certificate: F/certificate: no private key beside the certificate",
        ),
        (
            "both",
            None,
            "tls_certificate: F/both: the key is not that of its first certificate",
        ),
        ("weak", "weak-key", "tls_certificate: F/weak: [SSL: EE_KEY_TOO_SMALL] ee key too small"),
    ],
)
def test_files_that_are_no_good(
    tmp_path: Path, certificate: str | None, key: str | None, told: str
) -> None:
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError) as caught:
        tls.certificate(certificate and tmp_path / certificate, key and tmp_path / key)  # type: ignore[arg-type]
    assert str(caught.value).replace(str(tmp_path), "F").startswith(told)
