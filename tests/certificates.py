"""A certificate authority for a test, and a a server certificate of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject, key, issuer, issuer_key, address=None) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not address, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not address:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    else:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def authority(folder: Path, address: str = "127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """A CA file in ``folder``, and what a server needs to be trusted by it."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("test authority", ca_key, "test authority", ca_key)
    leaf = _certificate("server", key, "test authority", ca_key, address)
    pem = serialization.Encoding.PEM
    ca_file, leaf_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    plain = serialization.NoEncryption()
    key_bytes = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    leaf_file.write_bytes(leaf.public_bytes(pem) + key_bytes)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf_file)
    return ca_file, context


def client_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that vouches for itself, for a client to show, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("client", key, "client", key)
    paths = folder / "client.pem", folder / "client.key"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


def hashed_folder(folder: Path, ca: Path) -> Path:
    """``ca`` in a folder, called as OpenSSL looks it up (what ``openssl rehash`` does)."""
    name = x509.load_pem_x509_certificate(ca.read_bytes()).subject.public_bytes()
    # X509_NAME_hash: SHA-1 of the lower-cased name without its outer header, little-endian.
    digest = hashlib.sha1(name[2:]).digest()[:4]
    folder.mkdir()
    (folder / f"{int.from_bytes(digest, 'little'):08x}.0").write_bytes(ca.read_bytes())
    return folder
