"""The part of a node that serves logs, played by the test: the API server asks it for what a container has written."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from boresight_operator.api import NODES

from .client import Client, Object
from .kubelet import NODE_NAMES

PATIENCE_SECONDS = 60


@dataclass
class _Log:
    content: bytes = b""
    over: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class KubeletLogs:
    """``/containerLogs`` of all nodes. Use as a context manager."""

    def __init__(self, client: Client, certificate: Path, key: Path) -> None:
        self._client = client
        self._logs: dict[str, _Log] = {}
        logs = self._log_at

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                root, _, place = url.path.removeprefix("/").partition("/")
                found = logs(place) if root == "containerLogs" else None
                self.send_response(200 if found else 404)
                self.end_headers()
                if found is not None:
                    self._stream(found, follow=parse_qs(url.query).get("follow") == ["true"])

            def _stream(self, log: _Log, *, follow: bool) -> None:
                sent = 0
                while True:
                    with log.changed:
                        if follow and sent == len(log.content) and not log.over:
                            log.changed.wait(PATIENCE_SECONDS)
                        part, over = log.content[sent:], log.over or not follow
                    self.wfile.write(part)
                    self.wfile.flush()
                    sent += len(part)
                    if over:
                        return

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="kubelet-logs", daemon=True).start()
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.server_address[1]}},
        }
        for name in NODE_NAMES:
            self._client.merge(NODES, None, name, {"status": status}, "status")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write(self, pod: Object, text: str) -> None:
        """What its container writes."""
        log = self._logs.setdefault(_place(pod), _Log())
        with log.changed:
            log.content += text.encode()
            log.changed.notify_all()

    def end(self, pod: Object) -> None:
        """It writes no more."""
        log = self._logs.setdefault(_place(pod), _Log())
        with log.changed:
            log.over = True
            log.changed.notify_all()

    def forget(self, pod: Object) -> None:
        """As if its node had lost it."""
        self._logs.pop(_place(pod))

    def _log_at(self, place: str) -> _Log | None:
        return self._logs.get(place)


def _place(pod: Object) -> str:
    meta = pod["metadata"]
    return f"{meta['namespace']}/{meta['name']}/{pod['spec']['containers'][0]['name']}"
