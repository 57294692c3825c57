"""The operator's client and elector on the real API server, with a line that loses requests and answers."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from apiserver.client import NAMESPACES
from apiserver.client import Client as Admin
from apiserver.control_plane import ADMIN, ControlPlane
from boresight_operator import client as client_module
from boresight_operator.api import ALIGNMENT_RUNS, CONFIG_MAPS, Answer
from boresight_operator.client import Client
from boresight_operator.credentials import Credentials
from boresight_operator.elector import Elector
from boresight_operator.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, LeaseOver
from boresight_operator.http import HttpTransport
from boresight_operator.settings import Settings

Act = Callable[[Client, "Line"], Awaitable[Any]]
pytestmark = pytest.mark.usefixtures("no_operator")

EXAMPLE = Path(__file__).parents[2] / "examples" / "smallest.yaml"
KEY = "a" * 64
TIME = "2026-11-22T12:00:00Z"
STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "stage": "policy",
    "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Valid", "lastTransitionTime": TIME},
        {"type": "Stalled", "status": "False", "reason": "Working", "lastTransitionTime": TIME},
    ],
    "stages": [
        {
            "name": "policy",
            "key": KEY,
            "state": "Running",
            "attempt": 2,
            "artifact": {"uri": "file:///x", "digest": "sha256:" + KEY},
            "metrics": [{"name": "loss", "value": "0.5"}],
            "history": [{"attempt": 1, "failureClass": "Preempted"}],
        }
    ],
    "sources": [],
}


class Line:
    """A transport that loses what ``faults`` says: "request" (never sent), "answer" (done, but nobody hears of it)."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport
        self.faults: list[str] = []
        self.meanwhile: Callable[[], object] | None = None
        self.methods: list[str] = []

    async def request(self, method: str, path: str, **rest: Any) -> Answer:
        self.methods.append(method)
        fault = self.faults.pop(0) if self.faults else ""
        if fault != "request":
            answer = await self._transport.request(method, path, **rest)
        if fault:
            if self.meanwhile is not None:
                await asyncio.to_thread(self.meanwhile)
            raise ConnectionResetError(f"{fault} lost")
        return answer


@pytest.fixture
def do(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], Any]:
    """Runs an act with a client of the operator's, as an administrator, and returns its result or its error."""
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig("wire", ADMIN)))

    def run(act: Act) -> Any:
        async def main() -> Any:
            async with HttpTransport(Credentials()) as transport:
                line = Line(transport)
                client = Client(line, Random(1), guard=lambda: None, metric=lambda *_: None, in_flight=8)
                try:
                    return await act(client, line)
                except ApiError as error:
                    return error

        return asyncio.run(main())

    return run


@pytest.fixture
def run(client: Admin, namespace: str) -> dict[str, Any]:
    """A run in a namespace of its own."""
    document = next(d for d in yaml.safe_load_all(EXAMPLE.read_text()) if d["kind"] == "AlignmentRun")
    document["metadata"] = {"name": "run", "namespace": namespace}
    return dict(client.create(ALIGNMENT_RUNS, namespace, document))


def an_apply(run: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    version = run["metadata"]["resourceVersion"]
    return {
        "apiVersion": ALIGNMENT_RUNS.api_version,
        "kind": ALIGNMENT_RUNS.kind,
        "metadata": {"name": "run", "namespace": run["metadata"]["namespace"], "resourceVersion": version},
        "status": status,
    }


def applying(
    run: dict[str, Any], status: dict[str, Any], *faults: str, meanwhile: Callable[[], object] | None = None
) -> Act:
    async def act(client: Client, line: Line) -> Any:
        line.faults[:], line.meanwhile = faults, meanwhile
        namespace = run["metadata"]["namespace"]
        return await client.apply(
            ALIGNMENT_RUNS, namespace, "run", an_apply(run, status), manager="boresight", subresource="status"
        )

    return act


@pytest.mark.parametrize("faults", [(), ("answer",), ("request",), ("request", "request"), ("answer", "request")])
def test_an_apply_arrives_once_whatever_is_lost(do: Any, run: dict[str, Any], faults: tuple[str, ...]) -> None:
    first = do(applying(run, STATUS, *faults))
    assert first["status"].items() >= {k: v for k, v in STATUS.items() if k != "sources"}.items()
    smaller = copy.deepcopy(STATUS)
    del smaller["stages"][0]["artifact"]
    smaller["stages"][0]["history"] = []
    smaller["conditions"].pop()
    second = do(applying(first, smaller, *faults))
    assert "artifact" not in second["status"]["stages"][0]
    assert [condition["type"] for condition in second["status"]["conditions"]] == ["Accepted"]


def test_an_apply_that_was_lost_while_another_one_wrote_is_a_conflict(do: Any, run: dict[str, Any]) -> None:
    progress = {"percent": 3, "conditions": [{**STATUS["conditions"][0], "type": "ProgressAvailable"}]}

    def meanwhile() -> None:
        async def act(client: Client, line: Line) -> Any:
            body = an_apply(run, progress)
            del body["metadata"]["resourceVersion"]
            namespace = run["metadata"]["namespace"]
            return await client.apply(
                ALIGNMENT_RUNS, namespace, "run", body, manager="boresight-progress", subresource="status"
            )

        assert do(act)["status"]["percent"] == 3

    assert type(do(applying(run, STATUS, "request", meanwhile=meanwhile))) is Conflict


def test_an_apply_whose_answer_was_lost_is_recognised_beside_anothers_progress(do: Any, run: dict[str, Any]) -> None:
    def meanwhile() -> None:
        async def act(client: Client, line: Line) -> Any:
            body = an_apply(run, {"percent": 3, "progress": []})
            del body["metadata"]["resourceVersion"]
            namespace = run["metadata"]["namespace"]
            return await client.apply(
                ALIGNMENT_RUNS, namespace, "run", body, manager="boresight-progress", subresource="status"
            )

        assert do(act)["status"]["stage"] == "policy"

    found = do(applying(run, STATUS, "answer", meanwhile=meanwhile))
    assert (found["status"]["percent"], found["status"]["stage"]) == (3, "policy")


def test_an_apply_decided_on_an_older_version_is_a_conflict(do: Any, run: dict[str, Any]) -> None:
    do(applying(run, STATUS))
    assert type(do(applying(run, {**STATUS, "stage": "synthesis"}))) is Conflict


def test_a_field_that_the_crd_lacks_is_invalid_and_not_retried(do: Any, run: dict[str, Any]) -> None:
    error = do(applying(run, {**STATUS, "fromTheFuture": 1}))
    assert (type(error), error.reason) == (Invalid, "SchemaTooOld")
    assert "fromTheFuture" in error.message


def a_config_map(name: str = "made", spec_hash: str = "h1", controller: str = "u-1") -> dict[str, Any]:
    owner = {
        "apiVersion": ALIGNMENT_RUNS.api_version,
        "kind": "AlignmentRun",
        "name": "run",
        "uid": controller,
        "controller": True,
    }
    metadata = {"name": name, "annotations": {"boresight.dev/spec-hash": spec_hash}, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


@pytest.mark.parametrize("faults", [(), ("answer",), ("request",), ("request", "answer"), ("answer", "request")])
def test_a_create_happens_once_whatever_is_lost(do: Any, run: dict[str, Any], faults: tuple[str, ...]) -> None:
    namespace = run["metadata"]["namespace"]
    body = a_config_map(controller=run["metadata"]["uid"])

    async def act(client: Client, line: Line) -> Any:
        line.faults[:] = faults
        made = await client.create(CONFIG_MAPS, namespace, body)
        again = await client.create(CONFIG_MAPS, namespace, body)
        return made["metadata"]["uid"], again["metadata"]["uid"]

    first, second = do(act)
    assert first == second


def test_a_foreign_object_under_our_name_is_not_taken_for_ours(do: Any, client: Admin, run: dict[str, Any]) -> None:
    namespace, uid = run["metadata"]["namespace"], run["metadata"]["uid"]
    client.create(CONFIG_MAPS, namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made"}})

    async def act(client: Client, line: Line) -> Any:
        return await client.create(CONFIG_MAPS, namespace, a_config_map(controller=uid))

    error = do(act)
    assert type(error) is AlreadyExists
    assert "found controller UID None" in error.message


def test_a_delete_of_another_uid_deletes_nothing(do: Any, run: dict[str, Any]) -> None:
    namespace, uid = run["metadata"]["namespace"], run["metadata"]["uid"]

    async def act(client: Client, line: Line) -> Any:
        made = await client.create(CONFIG_MAPS, namespace, a_config_map(controller=uid))
        await client.delete(CONFIG_MAPS, namespace, "made", "00000000-0000-0000-0000-000000000000")
        kept = await client.get(CONFIG_MAPS, namespace, "made")
        line.faults[:] = ["answer"]
        await client.delete(CONFIG_MAPS, namespace, "made", made["metadata"]["uid"])
        return kept["metadata"]["uid"] == made["metadata"]["uid"], line.methods[-2:]

    assert do(act) == (True, ["DELETE", "DELETE"])


def test_a_namespace_that_ends_is_told_from_other_refusals(do: Any, client: Admin, namespace: str) -> None:
    stays = a_config_map("stays")
    del stays["metadata"]["ownerReferences"]
    stays["metadata"]["finalizers"] = ["boresight.dev/test"]
    client.create(CONFIG_MAPS, namespace, stays)
    client.call("DELETE", NAMESPACES.path(None, namespace))

    async def act(client: Client, line: Line) -> Any:
        return await client.create(CONFIG_MAPS, namespace, a_config_map())

    try:
        error = do(act)
        assert (type(error), error.reason) == (Forbidden, "NamespaceTerminating")
    finally:
        body = {**client.get(CONFIG_MAPS, namespace, "stays")}
        body["metadata"] = {**body["metadata"], "finalizers": []}
        client.call("PUT", CONFIG_MAPS.path(namespace, "stays"), body)


def test_a_list_comes_in_pages_of_one_moment(
    do: Any, client: Admin, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE_ITEMS", 3)

    async def act(client: Client, line: Line) -> Any:
        for n in range(7):
            body = a_config_map(f"m{n}")
            del body["metadata"]["ownerReferences"]
            await client.create(CONFIG_MAPS, namespace, body)
        pages = [page async for page in client.pages(CONFIG_MAPS, namespace, fields="metadata.name!=kube-root-ca.crt")]
        return [len(page.items) for page in pages], len({page.resource_version for page in pages})

    sizes, moments = do(act)
    assert sum(sizes) == 7
    assert len(sizes) >= 3
    assert moments == 1


def test_the_servers_clock_is_this_machines(do: Any, namespace: str) -> None:
    async def act(client: Client, line: Line) -> Any:
        for _ in range(20):
            await client.list(CONFIG_MAPS, namespace)
            await asyncio.sleep(0.07)
        return client.server_now() - time.time()

    assert abs(do(act)) < 0.2


def test_a_released_lease_is_taken_within_half_a_second(
    plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig("wire", ADMIN)))

    async def main() -> float:
        async with HttpTransport(Credentials()) as transport:
            electors = [
                Elector(
                    transport,
                    Settings(identity=who, pod_name=who, lease_namespace=namespace),
                    wall=time.time,
                    random=Random(who),
                    metric=lambda *_: None,
                )
                for who in ("first", "second")
            ]
            tasks = [asyncio.create_task(elector.run()) for elector in electors]
            await asyncio.wait(
                [asyncio.create_task(e.wait_until_leading()) for e in electors], return_when="FIRST_COMPLETED"
            )
            leader, standby = sorted(electors, key=lambda elector: not elector.leading)
            leader.check()
            with pytest.raises(LeaseOver):
                standby.check()
            await asyncio.sleep(3)
            begun = time.monotonic()
            await leader.release()
            await asyncio.wait_for(standby.wait_until_leading(), 1)
            took = time.monotonic() - begun
            await standby.release()
            await asyncio.gather(*tasks)
            return took

    assert asyncio.run(main()) < 0.5
