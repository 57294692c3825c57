"""The load of the operator's benchmark, a process: ``python -P bench/operator_load.py TASK`` with JSON on stdin.

Tasks create runs and watch what the operator makes of them; nothing here knows how it does so. Times are of this
process's monotonic clock, from one event it saw to another. The result is one JSON document on standard output.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

IN_FLIGHT = 32
"""Requests at once."""
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
Object = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What is applied, and what has to come of it."""

    runs: str
    """Path of the collection of runs."""
    children: str
    """Path of the collection of what is made for a run: its Jobs."""
    between: str
    """Path of the collection of what stands between a run and its Jobs, and owns them; empty if nothing does."""
    template: Object
    """A run. ``{n}`` in any string is its number."""


@dataclass
class Cluster:
    """The API server."""

    session: aiohttp.ClientSession
    url: str

    async def send(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        """The answer. Raises RuntimeError for 400 and more."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
            found: Object = json.loads(text)
            return found

    async def apply(self, target: Target, number: int) -> Object:
        """Server-side apply of a run."""
        body = numbered(target.template, number)
        path = f"{target.runs}/{body['metadata']['name']}?fieldManager=load&force=true"
        return await self.send("PATCH", path, body, APPLY)

    async def watch(self, path: str, seen: Callable[[str, Object, float], None], *, whole: bool = False) -> None:
        """Call ``seen`` with every event from now on. Never returns."""
        version = (await self.send("GET", f"{path}?limit=1"))["metadata"]["resourceVersion"]
        headers = {} if whole else {"Accept": METADATA}
        while True:  # the server ends a watch that it cannot serve fast enough
            url = f"{self.url}{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}"
            async with self.session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(None)) as answer:
                buffer = b""
                async for part in answer.content.iter_any():
                    now = time.monotonic()
                    *lines, buffer = (buffer + part).split(b"\n")
                    for line in filter(None, lines):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise RuntimeError(f"watch {path}: {event['object']}")
                        version = event["object"]["metadata"]["resourceVersion"]
                        seen(event["type"], event["object"], now)


def numbered(value: Any, number: int, uid: str = "") -> Any:
    """``value`` with ``{n}`` and ``{uid}`` replaced in every string."""
    if isinstance(value, dict):
        return {name: numbered(item, number, uid) for name, item in value.items()}
    if isinstance(value, list):
        return [numbered(item, number, uid) for item in value]
    return value.replace("{n}", str(number)).replace("{uid}", uid) if isinstance(value, str) else value


async def at_once(work: Iterator[Awaitable[Any]]) -> None:
    """Everything, ``IN_FLIGHT`` at a time."""

    async def worker() -> None:
        for each in work:
            await each

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())


@dataclass
class Firsts:
    """When the first child of each run was seen."""

    by_owner: dict[str, float] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    """Run of what stands between, both by UID. Its event may come after its child's: they are of two watches."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def watching(self, cluster: Cluster, target: Target) -> AsyncIterator[None]:
        """See everything from now on."""
        seen = {target.children: self.see} | ({target.between: self.see_between} if target.between else {})
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(cluster.watch(path, see)) for path, see in seen.items()]
            await asyncio.sleep(0.5)
            yield
            for watch in watches:
                watch.cancel()

    def see(self, kind: str, child: Object, now: float) -> None:
        """An event of the children's watch."""
        if kind == "ADDED":
            for owner in child["metadata"].get("ownerReferences", ()):
                self.by_owner.setdefault(self.runs.get(owner["uid"], owner["uid"]), now)
                self.changed.set()

    def see_between(self, kind: str, between: Object, _: float) -> None:
        """An event of the watch of what stands between."""
        if kind == "ADDED":
            uid = between["metadata"]["uid"]
            for owner in between["metadata"].get("ownerReferences", ()):
                self.runs[uid] = owner["uid"]
                if uid in self.by_owner:
                    self.by_owner.setdefault(owner["uid"], self.by_owner.pop(uid))
                    self.changed.set()

    async def until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for ``ready``. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not ready():
                self.changed.clear()
                await self.changed.wait()


async def burst(cluster: Cluster, target: Target, count: int, first: int = 0) -> Object:
    """``count`` runs applied at once: how long until each has its child, from the first request on."""
    firsts = Firsts()
    async with firsts.watching(cluster, target):
        applied: dict[str, float] = {}

        async def one(number: int) -> None:
            stored = await cluster.apply(target, number)
            applied[stored["metadata"]["uid"]] = time.monotonic()

        started = time.monotonic()
        await at_once(one(number) for number in range(first, first + count))
        all_applied = time.monotonic()
        await firsts.until(lambda: applied.keys() <= firsts.by_owner.keys(), 600)
    last = max(firsts.by_owner[uid] for uid in applied)
    waits = [firsts.by_owner[uid] - when for uid, when in applied.items()]
    return {
        "runs": count,
        "seconds_to_all_jobs": round(last - started, 3),
        "seconds_to_apply": round(all_applied - started, 3),
        **percentiles(waits),
    }


async def replay(cluster: Cluster, target: Target, count: int, steps: list[Object]) -> Object:
    """Runs applied at once, each followed by the writes of a controller that needs no time to decide. ``{uid}`` in a
    string is that of the run."""

    async def one(number: int) -> None:
        uid = (await cluster.apply(target, number))["metadata"]["uid"]
        for step in steps:
            method, path, body = (numbered(step[part], number, uid) for part in ("method", "path", "body"))
            await cluster.send(method, path, body, APPLY if method == "PATCH" else "application/json")

    started = time.monotonic()
    await at_once(one(number) for number in range(count))
    return {"runs": count, "writes_per_run": 1 + len(steps), "seconds": round(time.monotonic() - started, 3)}


async def single(cluster: Cluster, target: Target, count: int, pause: float, first: int = 0) -> Object:
    """One run after the other: from the response of its apply to the watch event of its child."""
    firsts, waits = Firsts(), []
    async with firsts.watching(cluster, target):
        for number in range(first, first + count):
            uid = (await cluster.apply(target, number))["metadata"]["uid"]
            answered = time.monotonic()
            await firsts.until(lambda uid=uid: uid in firsts.by_owner, 120)  # type: ignore[misc]
            waits.append(firsts.by_owner[uid] - answered)
            await asyncio.sleep(pause)
    return {"runs": count, **percentiles(waits)}


async def poke(cluster: Cluster, paths: list[str], each_seconds: float) -> Object:
    """Change an annotation of every run in turn, for ever: each wakes the operator."""
    number = 0
    while True:
        for path in paths:
            number += 1
            body = {"metadata": {"annotations": {"load/poked": str(number)}}}
            await cluster.send("PATCH", path, body, MERGE)
            await asyncio.sleep(each_seconds / len(paths))


async def live(cluster: Cluster, target: Target, count: int, ends: Object, first: int = 0) -> Object:
    """Bring ``count`` runs to where most of a run's time is spent: one stage done, the next one's pod running.

    ``ends``: stage -> termination message with which its pods succeed; they are deleted when the next stage's pod is
    there, as by a node's garbage collection. The pods of any other stage run on. All runs have one message, since they
    differ in nothing that enters a key.
    """
    running: set[str] = set()
    ended: dict[str, str] = {}
    changed = asyncio.Event()
    names = target.runs.partition("/namespaces/")[2].partition("/")[0]
    pods = f"/api/v1/namespaces/{names}/pods"
    todo: asyncio.Queue[Object] = asyncio.Queue()

    def see(kind: str, pod: Object, _: float) -> None:
        if kind == "ADDED":
            todo.put_nowait(pod)

    async def play() -> None:
        while True:
            pod = await todo.get()
            meta, path = pod["metadata"], f"{pods}/{pod['metadata']['name']}"
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}}
            target_node = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
            await cluster.send("POST", f"{path}/binding", {**binding, "target": target_node})
            message, run = ends.get(meta["labels"]["boresight.dev/stage"]), meta["labels"]["boresight.dev/run-uid"]
            await cluster.send("PATCH", f"{path}/status", {"status": pod_status(pod, message)}, MERGE)
            if message is not None:
                ended[run] = path
                continue
            if run in ended:
                await cluster.send("DELETE", ended.pop(run), {"gracePeriodSeconds": 0})
            running.add(run)
            changed.set()

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(cluster.watch(pods, see, whole=True))]
        tasks += [group.create_task(play()) for _ in range(IN_FLIGHT)]
        await asyncio.sleep(0.5)
        await at_once(cluster.apply(target, number) for number in range(first, first + count))
        async with asyncio.timeout(1800):
            while len(running) < count:
                changed.clear()
                await changed.wait()
        for task in tasks:
            task.cancel()
    return {"runs": count, "seconds": round(time.monotonic() - started, 1)}


def pod_status(pod: Object, message: str | None) -> Object:
    """Of a pod that runs, or (with its termination message) has succeeded."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    container = {"name": pod["spec"]["containers"][0]["name"], "image": "", "imageID": "", "restartCount": 0}
    if message is None:
        state, phase = {"running": {"startedAt": now}}, "Running"
    else:
        ended = {"exitCode": 0, "reason": "Completed", "message": message, "startedAt": now, "finishedAt": now}
        state, phase = {"terminated": ended}, "Succeeded"
    status = {**container, "ready": message is None, "started": message is None, "state": state}
    return {"phase": phase, "podIP": "127.0.0.1", "startTime": now, "containerStatuses": [status]}


def percentiles(waits: list[float]) -> Object:
    """Median and 99th percentile, in seconds."""
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return {"p50_seconds": round(cuts[49], 4), "p99_seconds": round(cuts[98], 4), "max_seconds": round(max(waits), 4)}


TASKS: dict[str, Callable[..., Awaitable[Object]]] = {
    "burst": burst,
    "replay": replay,
    "single": single,
    "poke": poke,
    "live": live,
}


async def run(task: str, order: Object) -> Object:
    """Do what ``order`` says: ``url``, ``ca``, ``token``, and the task's own arguments."""
    context = ssl.create_default_context(cafile=order.pop("ca"))
    connector = aiohttp.TCPConnector(ssl=context, limit=2 * IN_FLIGHT)
    headers = {"Authorization": f"Bearer {order.pop('token')}"}
    if "target" in order:
        order["target"] = Target(**order["target"])
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        return await TASKS[task](Cluster(session, order.pop("url")), **order)


if __name__ == "__main__":
    json.dump(asyncio.run(run(sys.argv[1], json.load(sys.stdin))), sys.stdout)
