"""``/metrics`` (Prometheus) and ``/progress`` (JSON) on one port, from a daemon thread."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from boresight_api.outcome import FailureClass, StageFailure
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .progress import Progress


@contextmanager
def serve(progress: Progress, port: int, host: str = "0.0.0.0") -> Iterator[int]:  # noqa: S104 scraped from other pods
    """Serve while the context lasts; yields the port (another one if ``port`` is 0).

    Raises :class:`StageFailure` (InvalidConfig) if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            elif self.path == "/progress":
                self._answer(200, "application/json", json.dumps(progress.document).encode())
            elif self.path == "/healthz":
                self._answer(200, "text/plain", b"ok\n")
            else:
                self._answer(404, "text/plain", b"not found: try /metrics, /progress or /healthz\n")

        def _answer(self, code: int, content_type: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Scrapes are not worth a log line each."""

    class Server(ThreadingHTTPServer):
        allow_reuse_address = False
        daemon_threads = True

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"execution.progressPort: port {port} cannot be used ({error.strerror}); stop the process that holds it, "
            "or set another port (0 takes any free one)",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="progress-server", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
