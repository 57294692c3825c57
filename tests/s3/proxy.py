"""A proxy before MinIO that does to requests and answers what networks and other people's stores do."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from minio.credentials import Credentials
from minio.signer import sign_v4_s3
from minio.time import from_iso8601utc, utcnow
from s3.minio_server import ACCESS_KEY, SECRET_KEY, MinioServer

_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass
class Request:
    """What arrived, and what is sent on."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes

    def sign_again(self) -> None:
        """As a store that knows the key and ignores some headers would see it."""
        del self.headers["authorization"]
        signed = sign_v4_s3(
            method=self.method,
            url=urlsplit(f"http://{self.headers['host']}{self.path}"),
            region="us-east-1",
            headers={k: v for k, v in self.headers.items() if k.startswith("x-amz-") or k in {"host"}},
            credentials=Credentials(ACCESS_KEY, SECRET_KEY),
            content_sha256=self.headers["x-amz-content-sha256"],
            date=_date(self.headers["x-amz-date"]),
        )
        self.headers["authorization"] = str(signed["Authorization"])


@dataclass
class Proxy:
    """Forwards to ``server``. ``before`` may change a request; ``cut`` says whose connection breaks before the answer
    (the request has been carried out); ``halve`` whose breaks in the middle of it; ``refuse`` whose breaks before the
    request arrives."""

    server: MinioServer
    before: Callable[[Request], None] = lambda _: None
    cut: Callable[[Request], bool] = lambda _: False
    halve: Callable[[Request], bool] = lambda _: False
    refuse: Callable[[Request], bool] = lambda _: False
    seen: list[Request] = field(default_factory=list)
    _http: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def _forward(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                proxy._pass(self, Request(self.command, self.path, headers, body))

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._http is not None
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """As the server's, but through the proxy."""
        return {**self.server.environment(), "AWS_ENDPOINT_URL_S3": self.url}

    def _pass(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        self.seen.append(Request(request.method, request.path, dict(request.headers), request.body))
        if self.refuse(request):
            _break(handler)
            return
        self.before(request)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        connection.request(
            request.method,
            request.path,
            request.body or None,
            {k: v for k, v in request.headers.items() if k not in _HOP},
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if self.cut(request):
            _break(handler)
            return
        handler.send_response(answer.status)
        length = answer.headers.get("Content-Length") if request.method == "HEAD" else str(len(content))
        for name, value in answer.headers.items():
            if name.lower() not in {*_HOP, "content-length", "date", "server"}:
                handler.send_header(name, value)
        handler.send_header("Content-Length", length or "0")
        handler.end_headers()
        if self.halve(request):
            handler.wfile.write(content[: len(content) // 2])
            _break(handler)
            return
        handler.wfile.write(content)


def _break(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def _date(text: str) -> Any:
    return from_iso8601utc(f"{text[:4]}-{text[4:6]}-{text[6:11]}:{text[11:13]}:{text[13:15]}.000Z") or utcnow()
