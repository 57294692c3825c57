"""An HTTPS server on the loopback that asks for a client certificate."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.crt, server.{crt,key} (for 127.0.0.1), client.{crt,key}, and other.crt that signed none."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other"):
        key, crt = str(folder / f"{name}.key"), str(folder / f"{name}.crt")
        _openssl("req", "-x509", *_CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", crt)
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        key, crt = str(folder / f"{name}.key"), str(folder / f"{name}.crt")
        signer = ("-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"))
        _openssl(
            "req", "-x509", *_CURVE, *signer, "-subj", f"/CN={name}", "-addext", extension, "-keyout", key, "-out", crt
        )
    return folder


@pytest.fixture
def server_tls(certificates: Path) -> ssl.SSLContext:
    """Of the server: it trusts the CA's clients and takes a client without a certificate, too."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
