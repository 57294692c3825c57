"""Kubeconfigs as kubectl reads them, and the credentials that come of them."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from boresight.cluster.credentials import Credentials, run_program
from boresight.cluster.kubeconfig import Access, User, find_access
from boresight.errors import UserError


def a_kubeconfig(path: Path, user: dict[str, Any] | None = None, *, name: str = "one", **cluster: Any) -> Path:
    """One context called ``name``, of a cluster and a user of that name."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"of-{name}"}}],
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443", **cluster}}],
        "users": [{"name": name, "user": user or {"token": f"{name}-token"}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def found(config: Path | None = None, context: str | None = None, namespace: str | None = None, **env: str) -> Access:
    return find_access(str(config) if config else None, context, namespace, environment=env, account=Path("/nowhere"))


def headers(access: Access) -> list[tuple[str, str]]:
    return list(Credentials(access).headers())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A certificate and its key."""
    folder = tmp_path_factory.mktemp("pair")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-x509", "-days", "2", "-subj", "/CN=me"]
    made = ["openssl", "req", *names, *curve, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    return certificate.read_bytes(), key.read_bytes()


def test_flag_then_variable_then_home(tmp_path: Path) -> None:
    home = a_kubeconfig(tmp_path / "home/.kube/config", name="home").parents[1]
    variable = a_kubeconfig(tmp_path / "variable", name="variable")
    flag = a_kubeconfig(tmp_path / "flag", name="flag")
    assert found(HOME=str(home)).context == "home"
    assert found(HOME=str(home), KUBECONFIG=str(variable)).context == "variable"
    assert found(flag, HOME=str(home), KUBECONFIG=str(variable)).context == "flag"


def test_namespace_of_the_flag_then_of_the_context(tmp_path: Path) -> None:
    config = a_kubeconfig(tmp_path / "config")
    assert found(config).namespace == "of-one"
    assert found(config, namespace="team").namespace == "team"
    bare = tmp_path / "bare"
    bare.write_text(config.read_text().replace("namespace: of-one", "cluster: one"))
    assert found(bare).namespace == "default"


def test_of_several_files_the_first_counts_and_all_are_there(tmp_path: Path) -> None:
    one = a_kubeconfig(tmp_path / "a/one", name="one", **{"certificate-authority": "ca.crt"})
    (tmp_path / "a/ca.crt").write_text("authority")
    two = a_kubeconfig(tmp_path / "two", name="two")
    again = a_kubeconfig(tmp_path / "again", {"token": "other"}, name="one")
    (tmp_path / "empty").touch()
    both = f"{tmp_path}/empty:{one}:{tmp_path}/missing:{two}:{again}"
    assert found(KUBECONFIG=both).context == "one"
    assert found(KUBECONFIG=both).authorities == b"authority", "paths are relative to their file"
    assert found(KUBECONFIG=both).user.token == "one-token"
    assert found(context="two", KUBECONFIG=both).server == "https://two.example:6443"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"context": "prod"}, 'context prod: found no context "prod" (there: one)'),
        ({"cluster": {"server": "one.example"}}, 'found server "one.example", expected http:// or https://'),
        ({"cluster": {"certificate-authority": "gone.crt"}}, "gone.crt: No such file"),
        ({"cluster": {"certificate-authority-data": "?"}}, "certificate-authority-data: found no base64"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "found auth-provider, which Kubernetes dropped; use exec"),
        ({"user": {"username": "me", "password": "x"}}, "found username, which Kubernetes dropped"),
        ({"user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1"}}}, "exec.apiVersion: found"),
        ({"user": {"exec": "aws"}}, "config: found another form than a kubeconfig's"),
        ({"user": {"as": "ann", "as-user-extra": ["why"]}}, "config: found another form than a kubeconfig's"),
    ],
)
def test_faults_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    config = a_kubeconfig(tmp_path / "config", change.get("user"), **change.get("cluster", {}))
    with pytest.raises(UserError) as caught:
        found(config, context=change.get("context"))
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "found list"),
        ("a: [", "found no YAML"),
        ("kind: Config", "no current context"),
        ("users: {me: 1}", "config: found another form than a kubeconfig's"),
    ],
)
def test_files_that_are_no_kubeconfig(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(UserError, match=words):
        found(tmp_path / "config")


def test_no_kubeconfig_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no kubeconfig at .*/\.kube/config; set KUBECONFIG"):
        found(HOME=str(tmp_path))
    with pytest.raises(UserError, match="--kubeconfig: found no file"):
        found(tmp_path / "gone")


def test_in_a_pod_its_own_account_counts_if_there_is_no_kubeconfig(tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name, text in (("token", "first\n"), ("namespace", "team\n"), ("ca.crt", "authority")):
        (account / name).write_text(text)
    env = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = find_access(None, None, None, environment=env, account=account)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "team")
    credentials = Credentials(access)
    assert list(credentials.headers()) == [("authorization", "Bearer first")]
    (account / "token").write_text("second")
    assert list(credentials.headers()) == [("authorization", "Bearer second")], "it rotates"
    a_kubeconfig(tmp_path / ".kube/config", name="home")
    assert find_access(None, None, None, environment=env, account=account).context == "home"


def test_tokens_and_impersonation(tmp_path: Path) -> None:
    extra = {"why": ["test"], "example.com/Team": ["a"]}
    acting = {"token": "t", "as": "ann", "as-groups": ["a", "b"], "as-user-extra": extra}
    assert headers(found(a_kubeconfig(tmp_path / "config", acting))) == [
        ("authorization", "Bearer t"),
        ("Impersonate-User", "ann"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-example.com%2Fteam", "a"),
        ("Impersonate-Extra-why", "test"),
    ]
    (tmp_path / "token").write_text("from a file\n")
    config = a_kubeconfig(tmp_path / "config", {"token": "t", "tokenFile": "token"})
    assert headers(found(config)) == [("authorization", "Bearer from a file")]
    (tmp_path / "token").unlink()
    with pytest.raises(UserError, match="tokenFile"):
        headers(found(config))


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    user = {"token": "very-secret", "client-key-data": base64.b64encode(b"very-secret").decode()}
    assert "very-secret" not in repr(found(a_kubeconfig(tmp_path / "config", user)))
    proxied = a_kubeconfig(tmp_path / "proxied", **{"proxy-url": "http://me:very-secret@proxy:3128"})
    assert "very-secret" not in repr(found(proxied))
    access = found(a_program(tmp_path, f"echo '{credential(token='very-secret')}'", args=["very-secret"]))
    assert access.user.exec is not None
    assert "very-secret" not in repr(access) + repr(run_program(access.user.exec, access))


def test_certificates_of_files_and_of_data(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    certificate, key = pair
    (tmp_path / "me.crt").write_bytes(certificate)
    (tmp_path / "me.key").write_bytes(key)
    files = a_kubeconfig(tmp_path / "files", {"client-certificate": "me.crt", "client-key": "me.key"})
    data = {"client-certificate-data": base64.b64encode(certificate).decode()}
    data["client-key-data"] = base64.b64encode(key).decode()
    trusted = {"certificate-authority-data": base64.b64encode(certificate).decode()}
    for config in (files, a_kubeconfig(tmp_path / "data", data, **trusted)):
        access = found(config)
        assert (access.user.certificate, access.user.key) == pair
        Credentials(access).context()
    assert Credentials(access).context().cert_store_stats()["x509"] == 1, "the cluster's authority, and no other"
    unsafe = Credentials(found(a_kubeconfig(tmp_path / "unsafe", **{"insecure-skip-tls-verify": True}))).context()
    assert unsafe.verify_mode is ssl.CERT_NONE
    mismatch = Access("x", "https://x", "default", User("x", certificate=certificate, key=b"no key"))
    with pytest.raises(UserError, match="client certificate cannot be read"):
        Credentials(mismatch).context()


def test_authorities_of_clusters_need_not_have_what_python_3_13_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ssl.create_default_context

    def as_of_3_13(**options: Any) -> ssl.SSLContext:
        context = made(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_of_3_13)
    context = Credentials(Access("x", "https://x", "default", User("x"))).context()
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


# -- programs that give credentials ----------------------------------------------------------------------------------


def a_program(folder: Path, script: str, **more: Any) -> Path:
    """A kubeconfig whose user is a program; ``script`` is its text."""
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    asked = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "args": ["get"], **more}
    asked["env"] = [{"name": "WHO", "value": "ann"}]
    return a_kubeconfig(folder / "config", {"exec": asked}, **{"proxy-url": "http://proxy:3128"})


def credential(**status: Any) -> str:
    document = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return json.dumps(document)


def test_a_program_is_asked_once_and_again_when_its_token_expires(tmp_path: Path) -> None:
    answer = credential(token="t-$WHO-$1", expirationTimestamp="2026-11-29T10:00:00Z").replace('"', '\\"')
    config = a_program(tmp_path, f'echo asked >> {tmp_path}/count\necho "{answer}"')
    now = [datetime(2026, 11, 29, 9, 45, tzinfo=UTC).timestamp()]
    credentials = Credentials(found(config), clock=lambda: now[0])
    for _ in range(3):
        assert list(credentials.headers()) == [("authorization", "Bearer t-ann-get")]
    assert (tmp_path / "count").read_text().count("asked") == 1
    now[0] += 3600
    list(credentials.headers())
    assert (tmp_path / "count").read_text().count("asked") == 2
    assert credentials.renew()
    list(credentials.headers())
    assert (tmp_path / "count").read_text().count("asked") == 3


def test_a_program_learns_the_cluster_if_it_asks(tmp_path: Path) -> None:
    script = f"echo \"$KUBERNETES_EXEC_INFO\" > {tmp_path}/info\necho '{credential(token='t')}'"
    headers(found(a_program(tmp_path, script, provideClusterInfo=True)))
    info = json.loads((tmp_path / "info").read_text())
    assert info["spec"]["cluster"] == {"server": "https://one.example:6443", "proxy-url": "http://proxy:3128"}
    assert info["spec"]["interactive"] is False
    headers(found(a_program(tmp_path, script)))
    assert "cluster" not in json.loads((tmp_path / "info").read_text())["spec"]


def test_what_a_program_says_is_seen_while_it_waits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    headers(found(a_program(tmp_path, f"echo 'open https://login.example' >&2\necho '{credential(token='t')}'")))
    assert capfd.readouterr() == ("", "open https://login.example\n")


def test_a_program_may_give_a_certificate(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    (tmp_path / "answer").write_text(credential(clientCertificateData=pair[0].decode(), clientKeyData=pair[1].decode()))
    access = found(a_program(tmp_path, f"cat {tmp_path}/answer"))
    assert headers(access) == []
    Credentials(access).context()


@pytest.mark.parametrize(
    ("script", "more", "words"),
    [
        ("exit 3", {}, "gave no credentials, exit code 3; log in anew"),
        ("echo nothing", {}, "found no ExecCredential in what it printed"),
        (f"echo '{credential()}'", {}, "found neither token nor certificate"),
        (f"echo '{credential(token='t')}' | sed s,/v1,/v1beta1,", {}, "found apiVersion .*v1beta1, expected .*/v1"),
        ("true", {"command": "no-such-program", "installHint": "brew install it"}, "cannot be started.*brew install"),
        ("true", {"interactiveMode": "Always"}, "needs a terminal"),
    ],
)
def test_a_program_that_gives_nothing(tmp_path: Path, script: str, more: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        headers(found(a_program(tmp_path, script, **more)))
