"""A run's own authorities are trusted beside the system's; what is no certificate is named."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.store.trust import BUNDLE_VARIABLE, trust_own_authorities

CERTIFICATE = Path(certifi.where()).read_text().partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
PEM = f"-----BEGIN CERTIFICATE-----{CERTIFICATE}-----END CERTIFICATE-----\n"


def test_without_a_bundle_nothing_changes() -> None:
    environment: dict[str, str] = {}
    trust_own_authorities(environment)
    assert environment == {}


def test_both_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    system, own = tmp_path / "system.pem", tmp_path / "own.pem"
    certificates = Path(certifi.where()).read_text().split("-----END CERTIFICATE-----")
    system.write_text("-----END CERTIFICATE-----".join(certificates[1:3]) + "-----END CERTIFICATE-----\n")
    own.write_text(PEM)
    environment = {BUNDLE_VARIABLE: str(own), "SSL_CERT_FILE": str(system)}
    trust_own_authorities(environment)
    context = ssl.create_default_context(cafile=environment["SSL_CERT_FILE"])
    assert context.cert_store_stats()["x509_ca"] == 3
    assert environment["REQUESTS_CA_BUNDLE"] == environment["SSL_CERT_FILE"] != str(system)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe", PEM[:200].encode()])
def test_what_is_no_certificate_is_named(content: bytes | None, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(StageFailure, match=rf"BORESIGHT_CA_BUNDLE: found no certificates in {bundle}") as caught:
        trust_own_authorities({BUNDLE_VARIABLE: str(bundle)})
    assert caught.value.failure is FailureClass.INVALID_CONFIG
