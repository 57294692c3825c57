"""Who we are and where the API server is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from boresight_operator.credentials import Credentials, CredentialsError
from builders_kubeconfig import write_kubeconfig
from kubernetes.config import incluster_config

SERVER = "https://127.0.0.1:6443"


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: Path) -> Path:
    """The folder of a pod's service account."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("first")
    (tmp_path / "ca.crt").write_bytes((certificates / "ca.crt").read_bytes())
    # The package's constants are absolute paths of a pod; nothing else of it is replaced.
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    return tmp_path


def test_a_pod_uses_its_service_account(pod: Path) -> None:
    credentials = Credentials()
    found = credentials.connection()
    assert (found.server, found.scheme, found.token) == ("https://10.96.0.1:443", "Bearer", "first")
    assert not found.insecure
    credentials.ssl_context()


def test_a_token_that_was_rotated_is_read_again(pod: Path) -> None:
    credentials = Credentials()
    (pod / "token").write_text("second")
    credentials.reload()
    assert credentials.connection().token == "second"


def test_a_token_that_is_empty_for_a_moment_is_no_crash_but_a_lost_connection(pod: Path) -> None:
    (pod / "token").write_text("")
    with pytest.raises(ConnectionError, match="empty"):
        Credentials()


def test_kubeconfig_wins_over_the_service_account(pod: Path, kubeconfig: Path) -> None:
    write_kubeconfig(kubeconfig, SERVER, {"token": "abc"}, **{"insecure-skip-tls-verify": True})
    found = Credentials().connection()
    assert (found.server, found.token, found.insecure) == (SERVER, "abc", True)


def test_a_token_file_is_read(kubeconfig: Path) -> None:
    (kubeconfig.parent / "token").write_text("from a file\n")
    write_kubeconfig(kubeconfig, SERVER, {"tokenFile": "token"})
    assert Credentials().connection().token == "from a file"


def test_client_certificates_are_used(kubeconfig: Path, certificates: Path) -> None:
    files = {"client-certificate": str(certificates / "client.crt"), "client-key": str(certificates / "client.key")}
    write_kubeconfig(kubeconfig, SERVER, files, **{"certificate-authority": str(certificates / "ca.crt")})
    credentials = Credentials()
    assert credentials.connection().certificate_path == str(certificates / "client.crt")
    assert credentials.connection().token is None
    credentials.ssl_context()


def test_a_certificate_that_cannot_be_read_is_said(kubeconfig: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.crt").write_text("no certificate")
    write_kubeconfig(kubeconfig, SERVER, {"token": "x"}, **{"certificate-authority": str(tmp_path / "bad.crt")})
    with pytest.raises(CredentialsError, match="CA or client certificate"):
        Credentials().ssl_context()


def test_proxies_come_from_the_kubeconfig_and_never_from_the_environment(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    write_kubeconfig(kubeconfig, SERVER, {"token": "x"})
    assert Credentials().connection().proxy_url is None
    write_kubeconfig(kubeconfig, SERVER, {"token": "x"}, **{"proxy-url": "http://127.0.0.1:2"})
    assert Credentials().connection().proxy_url == "http://127.0.0.1:2"


def test_a_server_name_for_tls_is_refused_rather_than_ignored(kubeconfig: Path) -> None:
    write_kubeconfig(kubeconfig, SERVER, {"token": "x"}, **{"tls-server-name": "kubernetes"})
    with pytest.raises(CredentialsError, match="tls-server-name"):
        Credentials()


def test_without_any_the_message_says_what_to_do(kubeconfig: Path) -> None:
    with pytest.raises(CredentialsError, match="set KUBECONFIG"):
        Credentials()


def test_no_secret_is_shown(kubeconfig: Path) -> None:
    write_kubeconfig(kubeconfig, SERVER, {"token": "very-secret"})
    credentials = Credentials()
    assert "very-secret" not in repr(credentials.connection())
    assert "very-secret" not in repr(credentials)


def test_the_models_of_the_official_package_are_not_imported() -> None:
    code = (
        "import boresight_operator.credentials, sys; print(sum('kubernetes.client.models' in m for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10
