"""Progress of running stages: who is asked, what is believed, what is written. The pods here are real HTTP servers."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from boresight_api.status import StageProgress
from boresight_operator import names
from boresight_operator.api import ALIGNMENT_RUNS, JOBS, PODS, Object, Resource
from boresight_operator.cache import Cache
from boresight_operator.errors import Unavailable
from boresight_operator.http import fetch_bounded
from boresight_operator.progress import MAX_BYTES, MAX_DOUBLINGS, ProgressPoller, is_pod_address
from boresight_operator.settings import NamespaceSettings
from boresight_operator.siblings import Siblings
from builders_manifests import an_alignment_run

KEY = "ab" * 32
HONEST = {
    "stage": "policy",
    "key": KEY,
    "podUID": "pod-1",
    "phase": "train",
    "step": 310,
    "totalSteps": 500,
    "loss": 0.4,
}
Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Api:
    """Keeps what is applied."""

    def __init__(self) -> None:
        self.applied: list[dict[str, Any]] = []
        self.down = False

    def server_now(self) -> float:
        return 1_800_000_000.0

    async def apply(self, resource: Resource, namespace: str, name: str, body: Object, **how: Any) -> Object:
        assert (how["manager"], how["subresource"]) == (names.PROGRESS_MANAGER, "status")
        assert "resourceVersion" not in body["metadata"]
        if self.down:
            raise Unavailable(503, "Down", "no")
        self.applied.append(dict(body["status"]))
        return {}

    @property
    def condition(self) -> tuple[str, str]:
        found = self.applied[-1]["conditions"][0]
        assert found["type"] == "ProgressAvailable"
        return found["status"], found["reason"]


class Stage:
    """A run whose policy runs in a pod at 127.0.0.1."""

    def __init__(self) -> None:
        self.cache, self.api, self.version = Cache(), Api(), 0
        self.siblings = Siblings(self.cache, lambda _: NamespaceSettings(), lambda uid, stages: 0, lambda uid: None)
        self.polls: list[str] = []
        self.running()
        self.job()
        self.pod()

    def see(self, resource: Resource, metadata: dict[str, Any], **content: Any) -> None:
        self.version += 1
        meta = {"namespace": "team", "resourceVersion": str(self.version), **metadata}
        self.cache.observe(resource, "MODIFIED", {"metadata": meta, **content})
        self.siblings.changed("run-1")

    def running(self, state: str = "Running", attempt: int = 1, **status: Any) -> None:
        stage = {"name": "policy", "key": KEY, "state": state, "attempt": attempt, "jobUID": "job-1"}
        spec = an_alignment_run()["spec"]
        self.see(ALIGNMENT_RUNS, {"name": "first", "uid": "run-1"}, spec=spec, status={"stages": [stage], **status})

    def job(self, owner: str = "run-1") -> None:
        owners = [{"kind": "AlignmentRun", "name": "first", "uid": owner, "controller": True}]
        self.see(JOBS, {"name": "j", "uid": "job-1", "ownerReferences": owners}, spec={}, status={})

    def pod(self, uid: str = "pod-1", *, owner: str = "job-1", index: str = "0", **changes: Any) -> None:
        metadata = {
            "name": uid,
            "uid": uid,
            "ownerReferences": [{"kind": "Job", "name": "j", "uid": owner, "controller": True}],
            "annotations": {"batch.kubernetes.io/job-completion-index": index},
            **changes.pop("metadata", {}),
        }
        status = {"phase": "Running", "podIP": "127.0.0.1", **changes.pop("status", {})}
        self.see(PODS, metadata, spec=changes, status=status)

    def poller(self, port: int) -> ProgressPoller:
        return ProgressPoller(
            self.api,  # type: ignore[arg-type]
            self.cache,
            self.siblings,
            fetch_bounded,
            interval_seconds=10,
            random=Random(1),
            took=lambda resource, obj: None,
            polled=self.polls.append,
            port=port,
        )


def http(body: bytes, code: int = 200, headers: str = "") -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {code} x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return serve


def document(**changes: Any) -> Serve:
    return http(json.dumps({**HONEST, **changes}).encode())


async def serving(serve: Serve, story: Callable[[int], Awaitable[None]]) -> int:
    """Run ``story`` with the port of a server that answers so; returns how often it was asked."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        await story(server.sockets[0].getsockname()[1])
    finally:
        server.close()
    return asked


def poll(stage: Stage, serve: Serve, rounds: int = 1) -> int:
    async def story(port: int) -> None:
        poller = stage.poller(port)
        for _ in range(rounds):
            await poller.poll()

    return asyncio.run(serving(serve, story))


def test_rank_0_of_a_running_stage_says_how_far_it_is() -> None:
    stage = Stage()
    poll(stage, document(remainingSeconds=840.4))
    assert stage.api.condition == ("True", "Polled")
    assert stage.api.applied[0] | {"conditions": []} == {
        "conditions": [],
        "percent": 62,
        "remainingSeconds": 840,
        "progress": [
            {
                "name": "policy",
                "attempt": 1,
                "podUID": "pod-1",
                "phase": "train",
                "step": 310,
                "totalSteps": 500,
                "updatedTime": "2027-01-15T08:00:00Z",
            }
        ],
    }


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("reference", "reference"),
        ("generate\n answers\x1b[31m", "generate answers [31m"),
        ("x" * 200, "x" * 30 + " ... " + "x" * 29),
        (" ", None),
    ],
)
def test_the_phase_is_told_beside_its_steps_and_is_only_words(said: str, shown: str | None) -> None:
    stage = Stage()
    poll(stage, document(phase=said))
    (progress,) = stage.api.applied[0]["progress"]
    assert progress.get("phase") == shown
    StageProgress.model_validate_json(json.dumps(progress), strict=True)


def test_another_phase_is_news_even_at_the_same_step() -> None:
    stage = Stage()
    poll(stage, document(phase="reference"))
    poll(stage, document(phase="train"))
    assert [shown["progress"][0]["phase"] for shown in stage.api.applied] == ["reference", "train"]


def test_nothing_is_written_while_nothing_changes() -> None:
    stage = Stage()
    assert poll(stage, document(), rounds=5) == 5
    assert len(stage.api.applied) == 1


def test_a_step_beyond_the_last_is_the_last() -> None:
    stage = Stage()
    poll(stage, document(step=900))
    assert (stage.api.applied[0]["percent"], stage.api.applied[0]["progress"][0]["step"]) == (100, 500)


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 x\r\n")
    while not writer.is_closing():
        writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
        await writer.drain()


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" " * 65536)
        await writer.drain()


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


async def rubbish(writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(range(256)) * 10)


BOMB = gzip.compress(b" " * 10_000_000)
LIARS: dict[str, tuple[Serve, str]] = {
    "another pod": (document(podUID="pod-2"), "Mismatch"),
    "another key": (document(key="cd" * 32), "Mismatch"),
    "no phase": (document(phase=None), "Unreadable"),
    "an endless phase": (document(phase="x" * 1000), "Unreadable"),
    "no pod": (document(podUID=None), "Unreadable"),
    "a negative step": (document(step=-1), "Unreadable"),
    "a huge step": (document(step=10**30), "Unreadable"),
    "a step that is text": (document(step="310"), "Unreadable"),
    "a step that is a fraction": (document(step=0.5), "Unreadable"),
    "NaN": (document(remainingSeconds=float("nan")), "Unreadable"),
    "infinity": (document(remainingSeconds=float("inf")), "Unreadable"),
    "deep JSON": (http(b"[" * 60_000), "Unreadable"),
    "deep JSON in a field": (http(json.dumps(HONEST).encode()[:-1] + b', "x": ' + b"[" * 50_000), "Unreadable"),
    "no JSON": (http(b"\xff\xfe"), "Unreadable"),
    "nothing": (http(b""), "Unreadable"),
    "a list": (http(b"[]"), "Unreadable"),
    "a gzip bomb": (http(BOMB, headers="Content-Encoding: gzip\r\n"), "Unreadable"),
    "a redirect": (http(b"", 302, "Location: http://127.0.0.1:1/\r\n"), "Unreachable"),
    "an error": (http(b"{}", 500), "Unreachable"),
    "a large body": (http(b" " * (MAX_BYTES + 1)), "Unreachable"),
    "a large body without length": (flood, "Unreachable"),
    "headers without end": (endless_head, "Unreachable"),
    "a slow drip": (drip, "Unreachable"),
    "silence": (silence, "Unreachable"),
    "no HTTP": (rubbish, "Unreachable"),
}


@pytest.mark.parametrize("lie", LIARS)
def test_a_pod_that_lies_or_hangs_has_no_progress_and_hurts_nobody(lie: str) -> None:
    serve, reason = LIARS[lie]
    stage = Stage()
    poll(stage, serve)
    assert stage.api.condition == ("False", reason)
    assert "progress" not in stage.api.applied[0]
    assert stage.polls == [reason.lower()]


def test_a_port_that_nobody_listens_on_is_unreachable() -> None:
    stage = Stage()

    async def nobody_listens() -> None:
        await stage.poller(1).poll()

    asyncio.run(nobody_listens())
    assert stage.api.condition == ("False", "Unreachable")
    assert "network policy" in stage.api.applied[0]["conditions"][0]["message"]


def test_a_pod_that_does_not_answer_is_asked_less_and_less_often() -> None:
    stage = Stage()
    rounds = 2 ** (MAX_DOUBLINGS + 2)
    assert poll(stage, http(b"", 500), rounds=rounds) <= MAX_DOUBLINGS + 4
    assert len(stage.api.applied) == 1


NOT_ASKED: dict[str, Callable[[Stage], None]] = {
    "a pod of the host's network": lambda stage: stage.pod(hostNetwork=True),
    "a pod that is pending": lambda stage: stage.pod(status={"phase": "Pending"}),
    "a pod that has ended": lambda stage: stage.pod(status={"phase": "Succeeded"}),
    "a pod without an address": lambda stage: stage.pod(status={"podIP": ""}),
    "a pod that is being deleted": lambda stage: stage.pod(metadata={"deletionTimestamp": "2027-01-15T08:00:00Z"}),
    "another rank": lambda stage: stage.pod(index="1"),
    "a pod of another Job": lambda stage: stage.pod(owner="job-2"),
    "a Job of another run": lambda stage: stage.job(owner="run-2"),
    "a stage that has ended": lambda stage: stage.running("Succeeded"),
    "a stage that waits": lambda stage: stage.running("Waiting"),
}


@pytest.mark.parametrize("case", NOT_ASKED)
def test_only_rank_0_of_a_running_stage_is_asked(case: str) -> None:
    stage = Stage()
    NOT_ASKED[case](stage)
    assert poll(stage, document()) == 0
    assert stage.api.applied == []


def test_progress_is_taken_back_when_the_stage_has_ended() -> None:
    stage = Stage()

    async def story(port: int) -> None:
        poller = stage.poller(port)
        await poller.poll()
        stage.running("Succeeded")
        for _ in range(3):
            await poller.poll()

    assert asyncio.run(serving(document(), story)) == 1
    assert len(stage.api.applied) == 2
    assert set(stage.api.applied[1]) == {"conditions"}
    assert stage.api.condition == ("False", "NotRunning")


def test_progress_that_another_process_has_shown_is_taken_back_too() -> None:
    stage = Stage()
    stage.running("Succeeded", progress=[{"name": "policy"}])
    poll(stage, document(), rounds=2)
    assert [set(status) for status in stage.api.applied] == [{"conditions"}]


def test_what_could_not_be_written_is_written_in_the_next_round() -> None:
    stage = Stage()

    async def story(port: int) -> None:
        poller = stage.poller(port)
        stage.api.down = True
        await poller.poll()
        stage.api.down = False
        await poller.poll()

    asyncio.run(serving(document(), story))
    assert len(stage.api.applied) == 1


@pytest.mark.parametrize(
    ("ip", "pods"),
    [
        ("10.0.3.7", True),
        ("fd00::7", True),
        ("169.254.169.254", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("metadata.internal", False),
        ("10.0.3.7:443/admin?", False),
        ("", False),
        (None, False),
    ],
)
def test_only_an_address_that_a_pod_can_have_is_asked(ip: str | None, pods: bool) -> None:
    assert is_pod_address(ip) is pods
