"""A judge behind an OpenAI-compatible endpoint: standard-library HTTP, a disk cache, a strict grammar for replies.

The key comes from the environment only and is sent to the configured host only (redirects are refused). Replies are
cached under the SHA-256 of the whole request and the judge's revision; a reply outside the grammar is counted as
invalid and never cached, so that the next run asks again instead of inheriting it.
"""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message as Headers
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.outcome import FailureClass, StageFailure

from .judge import TEMPLATE_DIGEST, Ballot, Duel, Verdict, judge_messages

KEY_VARIABLE = "BORESIGHT_JUDGE_API_KEY"
_REPLY = re.compile(r"[\s\"'`*(\[]*(?:Answer\s+)?([AB])[\s\"'`*)\].]*")
_LARGEST_REPLY = 1 << 20
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True)
class Endpoint:
    """Where the judge is and how patient we are with it."""

    url: str
    """Base URL, as ``https://host/v1``; ``/chat/completions`` is added."""
    model: str
    revision: str | None
    timeout_seconds: float = 60
    attempts: int = 6
    parallel: int = 8

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f'judgeEndpoint: found "{_without_credentials(self.url)}", expected http(s)://host/path; '
                f"a key belongs into the environment variable {KEY_VARIABLE}",
            )


@dataclass
class EndpointJudge:
    """Judges by the letter that a chat model replies."""

    endpoint: Endpoint
    cache: Path
    check_stop: Callable[[], None]
    """Raises when the stage has to stop; called between replies."""
    max_tokens: int = 8
    sleep: Callable[[float], None] | None = None
    """Passes the time between attempts; by default a sleep that ends as soon as judging fails."""
    has_probabilities: bool = field(default=False, init=False)
    _halted: threading.Event = field(default_factory=threading.Event, init=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Kind, URL, model, revision and template digest. Weights behind an endpoint cannot be pinned."""
        return {
            "kind": "Endpoint",
            "endpoint": self.endpoint.url,
            "model": self.endpoint.model,
            "revision": self.endpoint.revision or "unpinned",
            "pinned": False,
            "templateDigest": TEMPLATE_DIGEST,
        }

    def judge(self, duels: Sequence[Duel], *, purpose: str) -> list[Verdict]:
        """Both orders of every duel, several requests at a time.

        Raises StageFailure: InvalidConfig if the endpoint refuses the request, Infrastructure if it cannot be reached.
        """
        del purpose  # the request alone identifies the reply
        prompts = [order for duel in duels for order in _orders(duel)]
        self._halted.clear()
        pool = ThreadPoolExecutor(self.endpoint.parallel)
        try:
            ballots = list(self._watched(pool.map(self._ask, prompts)))
        except BaseException:
            self._halted.set()
            raise
        finally:  # a stop has a grace period: requests under way are not waited for
            pool.shutdown(wait=False, cancel_futures=True)
        return [Verdict(ballots[i], ballots[i + 1]) for i in range(0, len(ballots), 2)]

    def _watched(self, ballots: Iterator[Ballot]) -> Iterator[Ballot]:
        for ballot in ballots:
            self.check_stop()
            yield ballot

    def _ask(self, prompt: str) -> Ballot:
        body = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        request = {"url": self._url, "revision": self.endpoint.revision or "", "body": body}
        digest = sha256_hex(canonical_json(request))
        path = self.cache / digest[:2] / f"{digest}.json"
        if path.is_file():
            return parse_reply(json.loads(path.read_text(encoding="utf-8"))["reply"])
        reply = self._post(canonical_json(body))
        ballot = parse_reply(reply)
        if ballot.first is not None:
            _write_atomically(path, json.dumps({"request": request, "reply": reply}).encode())
        return ballot

    @property
    def _url(self) -> str:
        return self.endpoint.url.rstrip("/") + "/chat/completions"

    def _post(self, body: bytes) -> str:
        """The text of the reply; transient failures are repeated with growing pauses."""
        problem = ""
        for attempt in range(self.endpoint.attempts):
            try:
                return self._post_once(body)
            except urllib.error.HTTPError as error:
                detail = error.read(300).decode("utf-8", "replace")
                if error.code not in _TRANSIENT:
                    raise StageFailure(
                        FailureClass.INVALID_CONFIG,
                        f"judgeEndpoint {self._url}: found HTTP {error.code} for judgeModel "
                        f'"{self.endpoint.model}": {detail!r}; check judgeEndpoint, judgeModel and {KEY_VARIABLE}',
                    ) from error
                problem, pause = f"HTTP {error.code}", _retry_after(error.headers)
            except (urllib.error.URLError, HTTPException, OSError, _UnreadableReplyError) as error:
                problem, pause = str(error), None
            if attempt + 1 < self.endpoint.attempts and not self._halted.is_set():
                (self.sleep or self._halted.wait)(min(60.0, 2.0**attempt if pause is None else pause))
            if self._halted.is_set():
                break
        raise StageFailure(
            FailureClass.INFRASTRUCTURE,
            f"judgeEndpoint {self._url}: no reply in {self.endpoint.attempts} attempts, last problem: {problem}; "
            "replies so far are kept, run the stage again when the endpoint answers",
        )

    def _post_once(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json", "User-Agent": "boresight"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 checked
        with _OPENER.open(request, timeout=self.endpoint.timeout_seconds) as response:
            content = response.read(_LARGEST_REPLY + 1)
        return _reply_text(content)


class _UnreadableReplyError(Exception):
    """The endpoint answered 200 with something that is no chat completion."""


class _RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host, and turn the POST into a GET."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Headers, newurl: str
    ) -> None:
        """None lets urllib raise HTTPError with the redirect's code."""


_OPENER = urllib.request.build_opener(_RefuseRedirects)


def parse_reply(reply: str) -> Ballot:
    """The letter, alone but for quotes, brackets, emphasis or a full stop; anything else is not a verdict."""
    match = _REPLY.fullmatch(reply)
    return Ballot(None if match is None else float(match[1] == "A"), reply)


def _orders(duel: Duel) -> tuple[str, str]:
    return (
        judge_messages(duel.question, duel.candidate, duel.baseline)[0].content,
        judge_messages(duel.question, duel.baseline, duel.candidate)[0].content,
    )


def _reply_text(content: bytes) -> str:
    if len(content) > _LARGEST_REPLY:
        raise _UnreadableReplyError(f"found a reply of more than {_LARGEST_REPLY} bytes")
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _UnreadableReplyError(f"found {content[:120]!r}, expected a chat completion") from error
    return text if isinstance(text, str) else ""  # null: a refusal or a reply cut before its first word


def _retry_after(headers: Headers) -> float | None:
    """Seconds of a Retry-After header; its date form is rare and falls back to growing pauses."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(parts.netloc, parts.netloc.rpartition("@")[2]) if "@" in parts.netloc else url


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
