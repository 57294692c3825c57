"""Who is who in a cluster: the API server's certificate, everybody's token, keys for ServiceAccounts' tokens."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster import plan

ADMIN = "admin"
_IDENTITIES = {
    ADMIN: ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    **{f"kubelet-{node.name}": (f"system:node:{node.name}", "system:nodes") for node in plan.NODES},
}
"""User and groups."""
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


class Credentials:
    """Files in a folder that only root reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / "apiserver.crt"
        """Its own authority, and that of what the API server shows to kubelets."""
        self.serving_key = folder / "apiserver.key"
        self.kubelet_client = folder / "kubelet-client.crt"
        self.kubelet_client_key = folder / "kubelet-client.key"
        self.accounts_key = folder / "accounts.key"
        self.accounts_public = folder / "accounts.pub"
        self.tokens = folder / "tokens.csv"

    def make(self) -> None:
        """New ones. Raises RuntimeError with what openssl said."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = [f"DNS:{name}" for name in (*_NAMES, f"kubernetes.default.svc.{plan.DOMAIN}")]
        addresses = [f"IP:{address}" for address in ("127.0.0.1", plan.HOST, plan.API_SERVICE)]
        _openssl(
            *("req", "-x509", *_CURVE, "-subj", "/CN=boresight-cluster"),
            *("-addext", f"subjectAltName={','.join([*names, *addresses])}"),
            *("-addext", "keyUsage=critical,keyCertSign,digitalSignature"),
            *("-keyout", str(self.serving_key), "-out", str(self.ca)),
        )
        _openssl(
            *("req", "-x509", *_CURVE, "-subj", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
            *("-CA", str(self.ca), "-CAkey", str(self.serving_key)),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=clientAuth"),
            *("-keyout", str(self.kubelet_client_key), "-out", str(self.kubelet_client)),
        )
        _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", str(self.accounts_key))
        _openssl("ec", "-in", str(self.accounts_key), "-pubout", "-out", str(self.accounts_public))
        tokens = {name: secrets.token_urlsafe(24) for name in _IDENTITIES}
        self.tokens.write_text("".join(_line(name, token) for name, token in tokens.items()))
        for name, token in tokens.items():
            self.write_kubeconfig(name, token)

    def kubeconfig(self, name: str) -> Path:
        """Of one of the identities, or of who was given one by :meth:`write_kubeconfig`."""
        return self._folder / f"{name}.kubeconfig"

    def write_kubeconfig(self, name: str, token: str) -> Path:
        """For somebody who has a token."""
        cluster = {"server": plan.API_URL, "certificate-authority": str(self.ca)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "boresight", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "boresight", "context": {"cluster": "boresight", "user": name}}],
            "current-context": "boresight",
        }
        path = self.kubeconfig(name)
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        return path

    def token(self, name: str = ADMIN) -> str:
        """Of one of the identities."""
        found: str = json.loads(self.kubeconfig(name).read_text())["users"][0]["user"]["token"]
        return found


def _line(name: str, token: str) -> str:
    user, groups = _IDENTITIES[name]
    return f'{token},{user},{name},"{groups}"\n' if groups else f"{token},{user},{name}\n"


def _openssl(*arguments: str) -> None:
    command: Sequence[str] = ("openssl", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")
