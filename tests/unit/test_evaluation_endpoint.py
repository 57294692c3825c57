"""The judge behind an endpoint, against a real HTTP server: grammar, cache, retries, refusals, the key."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.evaluation.judges.endpoint import KEY_VARIABLE, Endpoint, EndpointJudge, parse_reply
from boresight_trainer.evaluation.judges.judge import Duel

DUEL = Duel("1", "Q?", "good", "bad")
SECRET = "sk-not-a-real-key"


@dataclass
class Server:
    """Replies with what ``reply`` makes of a request body: text of the message, or (status, headers, body)."""

    reply: Callable[[dict[str, Any]], str | tuple[int, dict[str, str], bytes]]
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""


def chat(text: str | None) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[ThreadingHTTPServer] = []

    def start(reply: Callable[[dict[str, Any]], Any]) -> Server:
        server = Server(reply)
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.requests.append((self.path, dict(self.headers), body))
                    found = server.reply(body)
                status, headers, content = (200, {}, chat(found)) if isinstance(found, str) else found
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                server.requests.append((self.path, dict(self.headers), {}))
                self.send_error(404)

            def log_message(self, *args: object) -> None:
                pass

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(httpd)
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        server.url = f"http://127.0.0.1:{httpd.server_port}/v1/"
        return server

    yield start
    for httpd in running:
        httpd.shutdown()
        httpd.server_close()


def a_judge(server: Server, cache: Path, **changes: Any) -> EndpointJudge:
    pauses: list[float] = []
    endpoint = Endpoint(server.url, "judge-1", changes.pop("revision", "2026-11"), attempts=changes.pop("attempts", 3))
    judge = EndpointJudge(endpoint, cache, changes.pop("check_stop", lambda: None), sleep=pauses.append)
    judge.pauses = pauses  # type: ignore[attr-defined]
    return judge


def likes_good(body: dict[str, Any]) -> str:
    text = body["messages"][0]["content"]
    return "A" if "[Answer A]\ngood" in text else "B"


@pytest.mark.parametrize(
    ("reply", "first"),
    [
        ("A", 1.0),
        ("B", 0.0),
        (" B.\n", 0.0),
        ("**A**", 1.0),
        ("(B)", 0.0),
        ('"A"', 1.0),
        ("Answer B", 0.0),
        ("a", None),
        ("A or B", None),
        ("AB", None),
        ("A is better because B is wrong", None),
        ("Neither", None),
        ("C", None),
        ("", None),
    ],
)
def test_the_grammar_of_replies(reply: str, first: float | None) -> None:
    assert parse_reply(reply).first == first
    assert parse_reply(reply).raw == reply


def test_both_orders_are_asked_at_temperature_zero(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(likes_good)
    (verdict,) = a_judge(server, tmp_path).judge([DUEL], purpose="test")
    assert verdict.outcome == 1.0
    bodies = [body for _, _, body in server.requests]
    assert {path for path, _, _ in server.requests} == {"/v1/chat/completions"}
    assert len({body["messages"][0]["content"] for body in bodies}) == 2
    assert all(body["temperature"] == 0 and body["model"] == "judge-1" for body in bodies)


def test_a_reply_is_cached_by_request_and_revision(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(likes_good)
    first = a_judge(server, tmp_path).judge([DUEL], purpose="test")
    assert a_judge(server, tmp_path).judge([DUEL], purpose="other") == first
    assert len(server.requests) == 2
    a_judge(server, tmp_path, revision="2026-12").judge([DUEL], purpose="test")
    assert len(server.requests) == 4


def test_an_unparsed_reply_is_invalid_and_asked_again_next_time(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(lambda body: "I cannot decide")
    (verdict,) = a_judge(server, tmp_path).judge([DUEL], purpose="test")
    assert verdict.outcome is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    server.reply = likes_good
    (verdict,) = a_judge(server, tmp_path).judge([DUEL], purpose="test")
    assert verdict.outcome == 1.0


def test_the_key_is_sent_and_written_nowhere(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    server = serve(likes_good)
    judge = a_judge(server, tmp_path)
    judge.judge([DUEL], purpose="test")
    assert {headers["Authorization"] for _, headers, _ in server.requests} == {f"Bearer {SECRET}"}
    assert SECRET not in json.dumps(judge.identity)
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*.json"))


def test_without_a_key_none_is_sent(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    server = serve(likes_good)
    a_judge(server, tmp_path).judge([DUEL], purpose="test")
    assert all("Authorization" not in headers for _, headers, _ in server.requests)


def failing(times: int, status: int, headers: dict[str, str] | None = None) -> Callable[[dict[str, Any]], Any]:
    """Fails for the first ``times`` requests."""
    seen: list[int] = []

    def reply(body: dict[str, Any]) -> Any:
        seen.append(1)
        return (status, headers or {}, b'{"error": "busy"}') if len(seen) <= times else likes_good(body)

    return reply


@pytest.mark.parametrize(
    ("status", "headers", "pause"), [(429, {"Retry-After": "7"}, 7.0), (503, {}, 1.0), (500, {}, 1.0)]
)
def test_transient_failures_are_repeated(
    serve: Callable[..., Server], tmp_path: Path, status: int, headers: dict[str, str], pause: float
) -> None:
    judge = a_judge(serve(failing(1, status, headers)), tmp_path)
    (verdict,) = judge.judge([DUEL], purpose="test")
    assert verdict.outcome == 1.0
    assert judge.pauses == [pause]  # type: ignore[attr-defined]


def test_an_endpoint_that_stays_down_is_an_infrastructure_failure(serve: Callable[..., Server], tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match="no reply in 3 attempts, last problem: HTTP 503") as failure:
        a_judge(serve(failing(99, 503)), tmp_path).judge([DUEL], purpose="test")
    assert failure.value.failure is FailureClass.INFRASTRUCTURE


def test_nobody_listening_is_an_infrastructure_failure(tmp_path: Path) -> None:
    judge = a_judge(Server(likes_good, url="http://127.0.0.1:9/v1"), tmp_path)
    with pytest.raises(StageFailure, match="refused") as failure:
        judge.judge([DUEL], purpose="test")
    assert failure.value.failure is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"choices": []}'])
def test_what_is_no_chat_completion_is_repeated_then_reported(
    serve: Callable[..., Server], tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(StageFailure, match="expected a chat completion"):
        a_judge(serve(lambda body: (200, {}, content)), tmp_path).judge([DUEL], purpose="test")


def test_a_null_reply_is_an_invalid_judgment(serve: Callable[..., Server], tmp_path: Path) -> None:
    (verdict,) = a_judge(serve(lambda body: (200, {}, chat(None))), tmp_path).judge([DUEL], purpose="test")
    assert verdict.outcome is None


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_names_endpoint_model_and_remedy_and_is_not_repeated(
    serve: Callable[..., Server], tmp_path: Path, status: int
) -> None:
    server = serve(lambda body: (status, {}, b'{"error": "no such model"}'))
    with pytest.raises(StageFailure) as failure:
        a_judge(server, tmp_path).judge([DUEL], purpose="test")
    assert failure.value.failure is FailureClass.INVALID_CONFIG
    for part in (f"HTTP {status}", '"judge-1"', "no such model", KEY_VARIABLE):
        assert part in failure.value.message
    assert len(server.requests) <= 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_so_that_the_key_stays_with_its_host(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    other = serve(likes_good)
    server = serve(lambda body: (status, {"Location": other.url}, b""))
    with pytest.raises(StageFailure, match=f"HTTP {status}"):
        a_judge(server, tmp_path).judge([DUEL], purpose="test")
    assert not other.requests


def test_a_stop_is_honoured_between_replies(serve: Callable[..., Server], tmp_path: Path) -> None:
    looks: list[int] = []

    def check_stop() -> None:
        looks.append(1)
        if len(looks) > 3:
            raise StageFailure(FailureClass.PREEMPTED, "stopped")

    duels = [Duel(str(i), f"Q{i}?", "good", "bad") for i in range(40)]
    with pytest.raises(StageFailure, match="stopped"):
        a_judge(serve(likes_good), tmp_path, check_stop=check_stop).judge(duels, purpose="test")
    assert len(looks) == 4


@pytest.mark.parametrize("url", ["ftp://host/v1", "host/v1", "file:///etc/passwd", f"https://user:{SECRET}@host/v1"])
def test_an_endpoint_must_be_a_url_without_credentials(url: str) -> None:
    with pytest.raises(StageFailure, match="judgeEndpoint") as failure:
        Endpoint(url, "judge-1", None)
    assert failure.value.failure is FailureClass.INVALID_CONFIG
    assert SECRET not in failure.value.message


def test_equal_requests_at_once_write_one_cache_entry(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, write = threading.Barrier(8, timeout=10), Path.write_bytes

    def write_at_once(path: Path, content: bytes) -> int:
        written = write(path, content)
        together.wait()
        return written

    monkeypatch.setattr(Path, "write_bytes", write_at_once)
    same = Duel("1", "Q?", "good", "good")  # both orders are the same request
    verdicts = a_judge(serve(lambda body: "A"), tmp_path).judge([same] * 4, purpose="test")
    assert len(verdicts) == 4
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]
