"""The simulation's API server against the real one: one generated script of requests, the same answers.

Compared are codes and reasons, whether a write changed anything and in which order, generations, contents, and who owns
which field. What a controller or another admission plugin would do is not part of the script.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from apiserver.client import ApiError, Client
from boresight_operator import api
from boresight_operator.api import Resource
from builders_manifests import an_alignment_run
from simulation.fake_api import FakeApi
from simulation.fields import leaves
from simulation.registry import NAMESPACES, Registry

RUN = api.ALIGNMENT_RUNS
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
LENGTH = 120
"""Requests of a script."""


@dataclass(frozen=True)
class Sent:
    """A request. ``"<version>"`` and ``"<uid>"`` in ``body`` stand for the target's resourceVersion and UID."""

    method: str
    resource: Resource
    name: str | None
    body: Any = None
    kind: str = "application/json"
    query: Mapping[str, str] = field(default_factory=dict)
    subresource: str | None = None

    def __str__(self) -> str:
        place = "/".join(filter(None, (self.resource.plural, self.name, self.subresource)))
        return f"{self.method} {place} {dict(self.query)} {self.kind} {json.dumps(self.body)[:500]}"


class Fake:
    """The simulation's."""

    def __init__(self, namespace: str) -> None:
        numbers = itertools.count(1)
        self._registry = Registry(lambda: 1_800_000_000.0, lambda: f"00000000-0000-4000-8000-{next(numbers):012d}")
        self._registry.create(NAMESPACES, "", {"metadata": {"name": namespace, "finalizers": ["kubernetes"]}}, "user")
        self._api = FakeApi(self._registry, lambda: 1_800_000_000.0)

    def call(self, method: str, path: str, body: Any, query: Mapping[str, str], kind: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        answer = self._api.answer("tester", method, path, query, {"content-type": kind}, data)
        return answer.code, json.loads(answer.body)


class Real:
    """kube-apiserver."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def call(self, method: str, path: str, body: Any, query: Mapping[str, str], kind: str) -> tuple[int, Any]:
        try:
            return 200, self._client.call(method, path, body, query=query, content_type=kind)
        except ApiError as error:
            return error.code, {"reason": error.reason, "message": error.message}


class Told:
    """One server, asked in order; remembers versions and UIDs by name."""

    def __init__(self, server: Fake | Real, namespace: str) -> None:
        self._server = server
        self._namespace = namespace
        self._known: dict[tuple[str, str | None], tuple[str, str]] = {}
        self._highest = 0

    def ask(self, sent: Sent) -> dict[str, Any]:
        """What is to be equal of an answer."""
        path = sent.resource.path(self._namespace, sent.name, sent.subresource)
        version, uid = self._known.get((sent.resource.plural, _target(sent)), ("1", "none"))
        body = _filled(sent.body, {"<version>": version, "<uid>": uid})
        code, document = self._server.call(sent.method, path, body, sent.query, sent.kind)
        if code >= 400:
            return {"code": code, "reason": document.get("reason")}
        if sent.resource == api.JOBS:
            return {"taken": True}  # the Job controller works on it
        if sent.name is None and sent.method == "GET":
            names = [item["metadata"]["name"] for item in document["items"]]
            names = [name for name in names if name != "kube-root-ca.crt"]
            return {"names": names, "more": bool(document["metadata"].get("continue"))}
        if sent.method == "DELETE":
            return {"deleted": True}
        return self._stored(sent, document)

    def _stored(self, sent: Sent, document: dict[str, Any]) -> dict[str, Any]:
        metadata = document["metadata"]
        place = (sent.resource.plural, metadata["name"])
        before, version = int(self._known.get(place, ("0", ""))[0]), int(metadata["resourceVersion"])
        news = version > self._highest
        self._highest = max(self._highest, version)
        self._known[place] = (metadata["resourceVersion"], metadata["uid"])
        owners = {
            f"{entry['manager']} {entry['operation']} {entry.get('subresource', '')}": sorted(
                path for path in leaves(entry["fieldsV1"]) if path[0] in {"f:spec", "f:status"}
            )
            for entry in metadata.get("managedFields", ())
        }
        compared = sent.resource == RUN
        return {
            "changed": version != before,
            "latest": news or version == before,
            "generation": metadata.get("generation") if compared else None,
            "labels": metadata.get("labels", {}),
            "spec": document.get("spec") if compared else None,
            "status": document.get("status") if compared else None,
            "data": document.get("data"),
            "owners": {who: what for who, what in owners.items() if what} if compared else None,
        }


def _target(sent: Sent) -> str | None:
    return sent.name or ((sent.body or {}).get("metadata", {}).get("name") if isinstance(sent.body, dict) else None)


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, words) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    return words.get(value, value) if isinstance(value, str) else value


# -- the script ------------------------------------------------------------------------------------------------------


class Script:
    """Draws requests."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def requests(self, count: int) -> Iterator[Sent]:
        kinds: list[Callable[[], Sent]] = [
            *[self._status] * 8,
            *[self._create_run] * 2,
            *[self._merge_run] * 2,
            self._apply_run,
            self._put_run,
            self._put_status,
            self._get,
            self._delete,
            self._list,
            *[self._config_map] * 2,
            self._edit_config_map,
            self._lease,
            self._job,
        ]
        yield Sent("POST", RUN, None, an_alignment_run(), query={"fieldManager": "user"})
        for _ in range(count):
            yield self._random.choice(kinds)()

    def _name(self) -> str:
        return self._random.choice(("first", "first", "second"))

    def _metadata(self, name: str, *, stale: bool = True) -> dict[str, Any]:
        version: list[dict[str, Any]] = [{}, {"resourceVersion": "<version>"}]
        if stale:
            version.append({"resourceVersion": "1"})
        return {"name": name, **self._random.choice(version)}

    def _create_run(self) -> Sent:
        name, wrong = self._name(), self._random.choice(({}, {}, {"task": "TI2T"}, {"seed": "x"}, {"nonsense": 1}))
        document = an_alignment_run(**wrong)
        document["metadata"]["name"] = self._random.choice((name, name, "Not_A_Name"))
        return Sent("POST", RUN, None, document, query={"fieldManager": "user"})

    def _merge_run(self) -> Sent:
        change = self._random.choice(
            (
                {"spec": {"seed": self._random.randrange(3)}},
                {"spec": {"seed": None}},
                {"metadata": {"labels": {"team": self._random.choice(("a", "b", None))}}},
                {"spec": {"storage": {"uri": "s3://store/a", "readFrom": [{"uri": "s3://other/b"}]}}},
                {"status": {"stage": "policy"}},
                {"spec": {"task": "None"}},
            )
        )
        return Sent("PATCH", RUN, self._name(), change, MERGE, {"fieldManager": "user"})

    def _apply_run(self) -> Sent:
        name = self._name()
        spec = {**an_alignment_run()["spec"], **self._random.choice(({}, {"seed": 5}, {"suspend": True}))}
        labels = self._random.choice(({}, {"labels": {"team": "git"}}))
        body = {"apiVersion": RUN.api_version, "kind": RUN.kind, "metadata": {"name": name, **labels}, "spec": spec}
        force = self._random.choice(({}, {"force": "true"}))
        return Sent("PATCH", RUN, name, body, APPLY, {"fieldManager": "git", **force})

    def _put_run(self) -> Sent:
        name = self._name()
        document = an_alignment_run(seed=self._random.randrange(3))
        document["metadata"] = self._metadata(name)
        return Sent("PUT", RUN, name, document, query={"fieldManager": "user"})

    def _put_status(self) -> Sent:
        name = self._name()
        document = {**an_alignment_run(seed=9), "status": self._some_status(), "metadata": self._metadata(name)}
        return Sent("PUT", RUN, name, document, query={"fieldManager": "somebody"}, subresource="status")

    def _status(self) -> Sent:
        name, manager = self._name(), self._random.choice(("boresight", "boresight", "boresight-progress"))
        progress = {"percent": 3, "progress": [_a_progress(name) for name in self._some_stages()]}
        status = self._some_status() if manager == "boresight" else self._random.choice((progress, {"percent": 4}))
        body = {"apiVersion": RUN.api_version, "kind": RUN.kind, "metadata": self._metadata(name), "status": status}
        if self._random.random() < 0.1:
            body["spec"] = {"seed": 99}
        force = {"force": "true"} if self._random.random() < 0.9 else {}
        return Sent("PATCH", RUN, name, body, APPLY, {"fieldManager": manager, **force}, "status")

    def _some_stages(self) -> list[str]:
        names = ["prepare", "feedback-model", "synthesis", "policy"]
        return [name for name in names if self._random.random() < 0.6]

    def _some_status(self) -> dict[str, Any]:
        stages = []
        for name in self._some_stages():
            stage: dict[str, Any] = {"name": name, "state": self._random.choice(("Pending", "Running", "Succeeded"))}
            if self._random.random() < 0.4:
                stage |= {"attempt": self._random.randrange(3), "reason": "Because"}
            if self._random.random() < 0.3:
                stage["history"] = [{"attempt": 1, "reason": self._random.choice(("A", "B"))}]
            if self._random.random() < 0.3:
                stage["artifact"] = {"uri": "s3://store/a", "digest": "sha256:" + "ab" * 32}
            if self._random.random() < 0.03:
                stage["attempt"] = -1
            stages.append(stage)
        status: dict[str, Any] = {"stages": stages} if stages or self._random.random() < 0.5 else {}
        if not stages or self._random.random() < 0.4:  # an empty status is refused, but only if there was more before
            status["stage"] = self._random.choice(("policy", "synthesis"))
        if self._random.random() < 0.4:
            at = "2027-01-15T08:00:00Z"
            condition = {"type": "Succeeded", "status": "Unknown", "reason": "Running", "lastTransitionTime": at}
            status["conditions"] = [condition]
        return status

    def _get(self) -> Sent:
        return Sent("GET", RUN, self._random.choice(("first", "second", "nobody")))

    def _delete(self) -> Sent:
        name = self._name()
        uid = self._random.choice(({"uid": "<uid>"}, {"uid": "00000000-0000-4000-8000-999999999999"}))
        precondition = self._random.choice(({}, {"preconditions": uid}, {"preconditions": {"resourceVersion": "1"}}))
        resource = self._random.choice((RUN, api.CONFIG_MAPS))
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", **precondition}
        return Sent("DELETE", resource, name, body)

    def _list(self) -> Sent:
        query: Mapping[str, str] = self._random.choice(
            (
                {},
                {"labelSelector": "team=a"},
                {"labelSelector": "!team"},
                {"labelSelector": "=="},
                {"fieldSelector": "metadata.name=first"},
            )
        )
        return Sent("GET", RUN, None, query=query)

    def _config_map(self) -> Sent:
        body = {"metadata": {"name": self._name()}, "data": {"x": "1"}, "immutable": self._random.random() < 0.5}
        return Sent("POST", api.CONFIG_MAPS, None, body)

    def _edit_config_map(self) -> Sent:
        return Sent("PATCH", api.CONFIG_MAPS, self._name(), {"data": {"x": str(self._random.randrange(3))}}, MERGE)

    def _lease(self) -> Sent:
        spec = {"holderIdentity": self._random.choice("ab"), "leaseDurationSeconds": 10}
        if self._random.random() < 0.3:
            return Sent("POST", api.LEASES, None, {"metadata": {"name": "first"}, "spec": spec})
        return Sent("PUT", api.LEASES, "first", {"metadata": self._metadata("first"), "spec": spec})

    def _job(self) -> Sent:
        """Only whether it is taken; the Job controller works on what is."""
        change = self._random.choice(
            (
                {},
                {"name": "x" * 64},
                {"podReplacementPolicy": "TerminatingOrFailed"},
                {"restartPolicy": "OnFailure"},
                {"action": "FailIndex"},
            )
        )
        return Sent("POST", api.JOBS, None, _a_job(self._random.randrange(10**9), change), query={"dryRun": "All"})


def _a_progress(name: str) -> dict[str, Any]:
    at = "2027-01-15T08:00:00Z"
    return {"name": name, "attempt": 1, "podUID": "u", "step": 1, "totalSteps": 2, "updatedTime": at}


def _a_job(number: int, change: Mapping[str, str]) -> dict[str, Any]:
    codes = {"containerName": "stage", "operator": "In", "values": [64]}
    rule = {"action": change.get("action", "FailJob"), "onExitCodes": codes}
    pod = {"restartPolicy": change.get("restartPolicy", "Never"), "containers": [{"name": "stage", "image": "x"}]}
    spec = {
        "backoffLimit": 0,
        "suspend": True,
        "podReplacementPolicy": change.get("podReplacementPolicy", "Failed"),
        "podFailurePolicy": {"rules": [rule]},
        "template": {"spec": pod},
    }
    return {"metadata": {"name": change.get("name", f"job-{number}")}, "spec": spec}


@pytest.mark.usefixtures("no_operator")
@pytest.mark.parametrize("seed", range(6))
def test_one_script_of_requests_has_the_same_answers(client: Client, namespace: str, seed: int) -> None:
    real, fake = Told(Real(client), namespace), Told(Fake(namespace), namespace)
    past: list[str] = []
    for sent in Script(seed).requests(LENGTH):
        past.append(str(sent))
        expected, found = real.ask(copy.deepcopy(sent)), fake.ask(copy.deepcopy(sent))
        differs = {name for name in {*expected, *found} if expected.get(name) != found.get(name)}
        shown = [f"{name}:\n real {expected.get(name)}\n fake {found.get(name)}" for name in sorted(differs)]
        assert not differs, "\n".join([*shown, "after", *past[-3:]])
