"""Where the API server is and who we are: a kubeconfig or the pod's own service account, read by the official package.

``KUBECONFIG`` wins if it is set; else the service account, if this is a pod; else ``~/.kube/config``. Importing
``kubernetes.config`` costs 0.4 s and 9 MiB (measured), and kopf imports it in any case.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field

from kubernetes.client.configuration import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config


class CredentialsError(ConnectionError):
    """There are none, or they cannot be used: nothing was sent."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One state of the credentials; tokens and certificates rotate. Its fields are those of kopf's."""

    server: str
    insecure: bool = False
    ca_path: str | None = None
    scheme: str | None = None
    token: str | None = field(default=None, repr=False)
    certificate_path: str | None = None
    private_key_path: str | None = None
    proxy_url: str | None = None
    """Only a kubeconfig sets it; the proxy variables of the environment are for users' tools, not for us."""


class Credentials:
    """Reads again what rotates."""

    def __init__(self) -> None:
        self._configuration = _load()
        self._ssl: ssl.SSLContext | None = None

    def reload(self) -> None:
        """Read everything anew: the API server did not accept what we sent. Raises CredentialsError."""
        self._configuration = _load()
        self._ssl = None

    def connection(self) -> Connection:
        """The present state. Raises CredentialsError.

        The package re-reads a service account's token once a minute (the kubelet rotates it within the hour) and renews
        tokens of exec plugins when they expire.
        """
        loaded = self._configuration
        try:
            header = loaded.get_api_key_with_prefix("BearerToken") or ""
        except (ConfigException, OSError) as error:
            raise CredentialsError(f"the token cannot be read: {error}") from error
        scheme, _, token = header.partition(" ")
        return Connection(
            server=loaded.host,
            insecure=not loaded.verify_ssl,
            ca_path=loaded.ssl_ca_cert or None,
            scheme=scheme.capitalize() or None,
            token=token.strip() or None,
            certificate_path=loaded.cert_file or None,
            private_key_path=loaded.key_file or None,
            proxy_url=loaded.proxy or None,
        )

    def ssl_context(self) -> ssl.SSLContext:
        """TLS with the cluster's CA and our certificate, if we have one. Raises CredentialsError."""
        if self._ssl is None:
            self._ssl = _context(self.connection())
        return self._ssl


def _load() -> Configuration:
    configuration = Configuration()
    configuration.proxy = None
    files = os.environ.get("KUBECONFIG")
    try:
        if not files and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(  # type: ignore[no-untyped-call]
                files or "~/.kube/config", client_configuration=configuration, persist_config=False
            )
    except ConfigException as error:
        raise CredentialsError(
            f"no way to the API server: {error}; set KUBECONFIG, or run in a pod with a service account"
        ) from error
    if configuration.tls_server_name:
        raise CredentialsError(
            f"the kubeconfig sets tls-server-name {configuration.tls_server_name!r}, which is not supported: "
            "use a server address that its certificate names"
        )
    return configuration


def _context(connection: Connection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=connection.ca_path)
        if connection.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if connection.certificate_path:
            context.load_cert_chain(connection.certificate_path, connection.private_key_path)
    except (OSError, ssl.SSLError) as error:
        raise CredentialsError(f"the CA or client certificate cannot be read: {error}") from error
    return context
