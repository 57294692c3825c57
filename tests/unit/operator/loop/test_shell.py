"""The whole process with the real kopf against a small HTTP API server: what it asks for, what it sees, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import kopf
import pytest
from aiohttp import ClientSession, web
from boresight_operator import lister, shell
from boresight_operator.api import JOBS, PODS, WATCHED
from boresight_operator.credentials import Credentials
from boresight_operator.lifetime import run_to_end
from boresight_operator.main import operate
from boresight_operator.names import SELECTOR
from boresight_operator.settings import NamespaceSettings, Settings
from builders_loop import STORE, Cluster
from builders_manifests import an_alignment_run

RESOURCES = [
    *WATCHED,
    *[
        shell.Resource(group, version, plural, kind, namespaced)
        for group, version, plural, kind, namespaced in [
            ("", "v1", "namespaces", "Namespace", False),
            ("", "v1", "events", "Event", True),
            ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False),
        ]
    ],
]


class Server:
    """A cluster behind HTTP, with discovery and watches."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.cluster.listeners.append(self)  # type: ignore[arg-type]
        self.watches: dict[str, list[asyncio.Queue[dict[str, Any] | None]]] = {}
        self.asked: list[tuple[str, str]] = []
        """Method and path with query."""
        self.refuse = 0
        """Code of the answer to every list and watch of runs."""
        self.removed: set[str] = set()
        """Plurals of CRDs that are not installed (any more)."""

    def on_event(self, resource: Any, change: str, obj: dict[str, Any]) -> None:
        meta = {"apiVersion": resource.api_version, "kind": resource.kind}
        for queue in self.watches.get(resource.plural, []):
            queue.put_nowait({"type": change, "object": {**meta, **obj}})

    def cut(self) -> None:
        """End every watch, and know nothing of where they were: 410."""
        gone = {"type": "ERROR", "object": {"code": 410, "kind": "Status", "reason": "Expired"}}
        for queues in self.watches.values():
            for queue in queues:
                queue.put_nowait(gone)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs))
        if request.path == "/api":
            return web.json_response({"versions": ["v1"]})
        parts = request.path.strip("/").split("/")
        if request.path == "/apis":
            groups = sorted({resource.group for resource in RESOURCES if resource.group})
            versions = {group: {"version": version_of(group)} for group in groups}
            return web.json_response(
                {"groups": [{"name": g, "versions": [v], "preferredVersion": v} for g, v in versions.items()]}
            )
        if len(parts) == (2 if parts[0] == "api" else 3):
            there = [resource for resource in resources_of(parts) if resource.plural not in self.removed]
            return web.json_response({"resources": list(map(discovered, there))})
        if parts[-1] in self.removed:
            return web.json_response({"code": 404, "reason": "NotFound", "message": "no such resource"}, status=404)
        if self.refuse and parts[-1] == "alignmentruns":
            return web.json_response({"code": self.refuse, "message": "not yet"}, status=self.refuse)
        if request.query.get("watch") == "true":
            return await self._watch(request, parts[-1])
        answer = await self.cluster.request(
            request.method,
            request.path,
            query=request.query,
            headers=request.headers,
            body=await request.read() or None,
            timeout_seconds=1,
        )
        headers = {**answer.headers, "content-type": "application/json"}
        return web.Response(body=answer.body, status=answer.code, headers=headers)

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.watches.setdefault(plural, []).append(queue)
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
                if event["type"] == "ERROR":
                    break
        finally:
            self.watches[plural].remove(queue)
        return response


def version_of(group: str) -> str:
    return next(resource.version for resource in RESOURCES if resource.group == group)


def resources_of(parts: list[str]) -> list[Any]:
    group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
    return [resource for resource in RESOURCES if (resource.group, resource.version) == (group, version)]


def discovered(resource: Any) -> dict[str, Any]:
    verbs = ["list", "watch", "patch", "get"]
    singular = resource.kind.lower()
    return {
        "name": resource.plural,
        "singularName": singular,
        "kind": resource.kind,
        "namespaced": resource.namespaced,
        "verbs": verbs,
    }


def lived(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[Server, asyncio.Task[None]], Awaitable[None]],
    **more: Any,
) -> Server:
    """Run the process, and ``story`` beside it."""
    settings = Settings(
        defaults=NamespaceSettings(storage={"uri": STORE}),
        identity="a",
        pod_name="a",
        lease_namespace="default",
        metrics_port=0,
        workers=4,
        **more,
    )

    async def everything() -> Server:
        async with served(folder) as (server, config):
            monkeypatch.setenv("KUBECONFIG", str(config))
            process = asyncio.create_task(operate(settings, Credentials()))
            try:
                await story(server, process)
            finally:
                process.cancel()
                await asyncio.gather(process, return_exceptions=True)
        return server

    return run_to_end(everything())


def kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: here, user: me}}}}]
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: me, user: {{token: secret-token}}}}]
"""
    )
    return path


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Server, Path]]:
    """A server, and the kubeconfig that leads to it."""
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield server, kubeconfig(folder, runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def until(found: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not found():
            await asyncio.sleep(0.02)


def test_a_run_is_seen_by_watch_and_the_process_ends_by_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(server: Server, process: asyncio.Task[None]) -> None:
        await until(lambda: len([plural for plural, queues in server.watches.items() if queues]) == len(WATCHED))
        server.cluster.put("alignmentruns", an_alignment_run())
        await until(lambda: server.cluster.all(JOBS.plural))
        started = asyncio.get_running_loop().time()
        os.kill(os.getpid(), signal.SIGTERM)
        await process
        assert asyncio.get_running_loop().time() - started < 5
        assert server.cluster.all("leases")[0]["spec"]["holderIdentity"] == ""

    server = lived(tmp_path, monkeypatch, story)
    written = [path for method, path in server.asked if method in {"PATCH", "PUT", "POST", "DELETE"}]
    assert all("kopf" not in path for path in written)
    found = server.cluster.run()["metadata"]
    assert "finalizers" not in found
    assert "annotations" not in found
    assert "secret-token" not in caplog.text


def test_kopf_asks_for_nothing_but_watches_with_selectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: Server, process: asyncio.Task[None]) -> None:
        await until(lambda: len([plural for plural, queues in server.watches.items() if queues]) == len(WATCHED))

    server = lived(tmp_path, monkeypatch, story)
    watched = {path.split("?")[0]: path for _, path in server.asked if "watch=true" in path}
    assert set(watched) == {resource.path() for resource in WATCHED}
    for resource in (JOBS, PODS):
        assert SELECTOR.replace("/", "%2F").replace("=", "%3D") in watched[resource.path()].replace("/", "%2F")
    assert not any("customresourcedefinitions" in path or "/namespaces?" in path for _, path in server.asked)


NOBODY = ("unshare", "--user", "--map-user=65531", "--map-group=65531")
"""A user of whom no file knows, in a user namespace; the process is replaced, so a signal reaches the operator."""


@pytest.mark.skipif(
    not shutil.which("unshare") or bool(subprocess.run((*NOBODY, "true"), capture_output=True).returncode),
    reason="this machine allows no user namespaces",
)
def test_a_user_without_a_name_runs_it(tmp_path: Path) -> None:
    """As in a container whose user is a number: no entry in /etc/passwd, and neither USER nor LOGNAME."""

    async def life() -> tuple[int, str]:
        async with served(tmp_path) as (server, config):
            environment = {
                "PATH": os.environ["PATH"],
                "KUBECONFIG": str(config),
                "BORESIGHT_OPERATOR_METRICS_PORT": "0",
                "BORESIGHT_OPERATOR_DEFAULTS__STORAGE": json.dumps({"uri": STORE}),
            }
            command = (*NOBODY, sys.executable, "-m", "boresight_operator.main")
            process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=subprocess.PIPE)
            try:
                await until(lambda: len([queues for queues in server.watches.values() if queues]) == len(WATCHED), 30)
                process.send_signal(signal.SIGTERM)
                _, said = await asyncio.wait_for(process.communicate(), 15)
            finally:
                if process.returncode is None:
                    process.kill()
            return process.returncode or 0, said.decode()

    code, said = asyncio.run(life())
    assert code == 0, said
    assert "kopf has ended" not in said


def test_single_namespaces_are_watched_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: Server, process: asyncio.Task[None]) -> None:
        await until(lambda: sum(map(len, server.watches.values())) == 2 * len(WATCHED))

    server = lived(tmp_path, monkeypatch, story, watch_namespaces=("team", "other"))
    watched = {path.split("?")[0] for _, path in server.asked if "watch=true" in path}
    assert watched == {resource.path(namespace) for resource in WATCHED for namespace in ("team", "other")}
    assert not any("/namespaces?" in path for _, path in server.asked)


def test_what_was_deleted_while_the_watches_were_lost_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kopf lists again after 410 and says nothing of what is gone; our own LIST does."""

    async def story(server: Server, process: asyncio.Task[None]) -> None:
        await until(lambda: len([plural for plural, queues in server.watches.items() if queues]) == len(WATCHED))
        server.cluster.put("alignmentruns", an_alignment_run())
        server.cluster.put("alignmentruns", {**an_alignment_run(), "metadata": {"name": "second"}})
        await until(lambda: len(server.cluster.all(JOBS.plural)) == 2)
        server.cluster.listeners.clear()
        server.cluster.remove("alignmentruns", "first")
        server.cluster.listeners.append(server)  # type: ignore[arg-type]
        before = len([path for _, path in server.asked if path.startswith(JOBS.path() + "?")])
        server.cut()
        await until(lambda: len([p for _, p in server.asked if p.startswith(JOBS.path() + "?")]) > before + 2, 5)

    lived(tmp_path, monkeypatch, story)


def test_the_probes_and_the_metrics_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    async def story(server: Server, process: asyncio.Task[None]) -> None:
        await until(lambda: server.watches)
        line = next(r.getMessage() for r in caplog.records if "metrics on port" in r.getMessage())
        port = int(line.rsplit(" ", 1)[1])
        async with ClientSession() as session:
            for path, text in (("readyz", "ok"), ("healthz", "ok"), ("metrics", "boresight_operator_build_info")):
                async with session.get(f"http://127.0.0.1:{port}/{path}") as answer:
                    assert answer.status == 200
                    assert text in await answer.text()

    with caplog.at_level("INFO"):
        lived(tmp_path, monkeypatch, story)


@pytest.mark.parametrize("code", [403, 500, 503])
def test_an_api_server_that_refuses_watches_for_a_while_is_watched_anew(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(server: Server, process: asyncio.Task[None]) -> None:
        await until(lambda: len([plural for plural, queues in server.watches.items() if queues]) == len(WATCHED))
        server.refuse = code
        server.cut()
        await asyncio.sleep(4)
        assert not process.done()
        server.refuse = 0
        server.cluster.put("alignmentruns", an_alignment_run())
        await until(lambda: server.cluster.all(JOBS.plural), 5)

    lived(tmp_path, monkeypatch, story)


def test_a_crd_that_is_removed_is_told_and_its_kind_is_watched_again_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """kopf looks only at its start what there is to watch."""
    monkeypatch.setattr(lister, "LONGEST_BACK_OFF_SECONDS", 1.0)

    async def ready(port: int) -> str:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return await answer.text()

    async def story(server: Server, process: asyncio.Task[None]) -> None:
        watched = lambda: {plural for plural, queues in server.watches.items() if queues}  # noqa: E731
        await until(lambda: len(watched()) == len(WATCHED))
        port = int(caplog.records[0].getMessage().rsplit(" ", 1)[1])
        server.removed.add("alignmentruns")
        server.cut()
        await until(lambda: "listing alignmentruns failed" in caplog.text, 15)
        assert "CustomResourceDefinition alignmentruns.boresight.dev is missing" in await ready(port)
        await asyncio.sleep(2)
        assert "alignmentruns" not in watched()
        assert not process.done()
        server.removed.clear()
        await until(lambda: len(watched()) == len(WATCHED), 15)
        assert await ready(port) == "ok\n"
        server.cluster.put("alignmentruns", an_alignment_run())
        await until(lambda: server.cluster.all(JOBS.plural), 5)

    with caplog.at_level("INFO", logger="boresight_operator"):
        lived(tmp_path, monkeypatch, story)


def test_the_process_ends_with_an_error_when_kopf_ends_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "MAX_FAILURES", 1)

    async def story(server: Server, process: asyncio.Task[None]) -> None:
        await until(lambda: server.watches)
        server.refuse = 403
        server.cut()
        with pytest.raises(RuntimeError, match="kopf ended 2 times in a row"):
            await asyncio.wait_for(process, 15)

    lived(tmp_path, monkeypatch, story)


def test_the_handlers_are_of_the_one_kind_that_writes_nothing() -> None:
    registry = shell.registry_of(None, None)  # type: ignore[arg-type]
    assert len(registry._watching.get_all_handlers()) == len(WATCHED)
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert not registry._indexing.get_all_handlers()
    assert shell.kopf_settings().posting.enabled is False
    assert kopf.__name__ == "kopf"
