"""The fake API server by itself. That the real one does the same is in tests/apiserver/test_fake_is_faithful.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from boresight_api.crd import UNSEEN
from boresight_operator import api
from builders_manifests import an_alignment_run
from simulation.fake_api import FakeApi, has_fields, matches
from simulation.registry import NAMESPACES, Failure, Registry, uid_of

RUN = api.ALIGNMENT_RUNS


class Server:
    """A fake with one namespace and a clock that stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.made = 0
        self.registry = Registry(lambda: self.now, self._uid)
        self.api = FakeApi(self.registry, lambda: self.now + 3600)
        self.registry.create(NAMESPACES, "", {"metadata": {"name": "team", "finalizers": ["kubernetes"]}}, "user")

    def _uid(self) -> str:
        self.made += 1
        return f"00000000-0000-0000-0000-{self.made:012d}"

    def send(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: str
    ) -> tuple[int, dict[str, Any]]:
        payload = None if body is None else json.dumps(body).encode()
        answer = self.api.answer("test", method, path, query, {"content-type": kind}, payload)
        return answer.code, json.loads(answer.body)

    def apply(
        self, body: Mapping[str, Any], manager: str, *, status: bool = True, force: bool = True
    ) -> tuple[int, Any]:
        document = {"apiVersion": RUN.api_version, "kind": RUN.kind, **body}
        document["metadata"] = {"name": "first", **body.get("metadata", {})}
        path = RUN.path("team", "first", "status" if status else None)
        query = {"fieldManager": manager, **({"force": "true"} if force else {})}
        return self.send("PATCH", path, document, kind="application/apply-patch+yaml", **query)


@pytest.fixture
def server() -> Server:
    return Server()


def a_config_map(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"x": "1"}, **fields}


def owned_by(owner: Mapping[str, Any], name: str) -> dict[str, Any]:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": uid_of(owner)}
    reference |= {"controller": True, "blockOwnerDeletion": True}
    return {"metadata": {"name": name, "ownerReferences": [reference]}, "data": {}}


class TestObjects:
    def test_every_write_has_a_later_version_whatever_the_kind(self, server: Server) -> None:
        versions = [
            int(server.send("POST", api.CONFIG_MAPS.path("team"), a_config_map())[1]["metadata"]["resourceVersion"]),
            int(server.send("POST", RUN.path("team"), an_alignment_run())[1]["metadata"]["resourceVersion"]),
            int(server.send("DELETE", api.CONFIG_MAPS.path("team", "a"))[1]["metadata"]["resourceVersion"]),
        ]
        assert versions == sorted(set(versions))

    def test_a_name_is_given_once(self, server: Server) -> None:
        assert server.send("POST", api.CONFIG_MAPS.path("team"), a_config_map())[0] == 201
        code, status = server.send("POST", api.CONFIG_MAPS.path("team"), a_config_map())
        assert (code, status["reason"]) == (409, "AlreadyExists")

    def test_an_immutable_config_map_stays(self, server: Server) -> None:
        path = api.CONFIG_MAPS.path("team", "a")
        server.send("POST", api.CONFIG_MAPS.path("team"), a_config_map(immutable=True))
        assert server.send("PATCH", path, {"data": {"x": "2"}}, kind="application/merge-patch+json")[0] == 422

    def test_generation_counts_changes_of_the_spec_alone(self, server: Server) -> None:
        server.send("POST", RUN.path("team"), an_alignment_run())
        server.apply({"status": {"stage": "policy"}}, "boresight")
        merge = "application/merge-patch+json"
        server.send("PATCH", RUN.path("team", "first"), {"metadata": {"labels": {"a": "b"}}}, kind=merge)
        assert server.registry.get(RUN, "team", "first")["metadata"]["generation"] == 1
        server.send("PATCH", RUN.path("team", "first"), {"spec": {"seed": 7}}, kind=merge)
        assert server.registry.get(RUN, "team", "first")["metadata"]["generation"] == 2

    def test_unknown_fields_are_pruned_and_wrong_values_refused(self, server: Server) -> None:
        code, made = server.send("POST", RUN.path("team"), an_alignment_run(nonsense=1))
        assert code == 201
        assert "nonsense" not in made["spec"]
        code, status = server.send(
            "POST", RUN.path("team"), {**an_alignment_run(task="TI2T"), "metadata": {"name": "b"}}
        )
        assert (code, status["reason"]) == (422, "Invalid")

    def test_a_put_of_an_old_version_conflicts(self, server: Server) -> None:
        made = server.send("POST", RUN.path("team"), an_alignment_run())[1]
        server.apply({"status": {"stage": "policy"}}, "boresight")
        assert server.send("PUT", RUN.path("team", "first"), made)[1]["reason"] == "Conflict"
        del made["metadata"]["resourceVersion"]
        assert server.send("PUT", RUN.path("team", "first"), made)[0] == 422

    def test_the_date_is_the_servers_own(self, server: Server) -> None:
        answer = server.api.answer("test", "GET", RUN.path("team"), {}, {}, None)
        assert answer.headers["date"] == "Fri, 15 Jan 2027 09:00:00 GMT"

    def test_a_namespace_that_ends_takes_nothing_new(self, server: Server) -> None:
        server.registry.delete(NAMESPACES, "", "team", "user")
        code, status = server.send("POST", api.CONFIG_MAPS.path("team"), a_config_map())
        assert (code, status["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")


class TestApply:
    def test_a_field_that_is_left_out_goes_and_others_stay(self, server: Server) -> None:
        server.send("POST", RUN.path("team"), an_alignment_run())
        server.apply(
            {"status": {"stage": "policy", "stages": [a_stage("prepare", reason="A"), a_stage("policy")]}}, "boresight"
        )
        server.apply({"status": {"percent": 3}}, "boresight-progress")
        _, stored = server.apply({"status": {"stages": [a_stage("prepare")]}}, "boresight")
        assert stored["status"] == {**UNSEEN, "percent": 3, "stages": [a_stage("prepare")]}

    def test_applying_the_same_again_is_no_write(self, server: Server) -> None:
        server.send("POST", RUN.path("team"), an_alignment_run())
        versions = {
            server.apply({"status": {"stages": [a_stage("prepare")]}}, "boresight")[1]["metadata"]["resourceVersion"]
            for _ in range(3)
        }
        assert len(versions) == 1

    def test_an_old_version_conflicts(self, server: Server) -> None:
        server.send("POST", RUN.path("team"), an_alignment_run())
        body = {"metadata": {"resourceVersion": "1"}, "status": {"stage": "policy"}}
        assert server.apply(body, "boresight")[1]["reason"] == "Conflict"

    def test_what_somebody_edited_is_taken_back_by_force_alone(self, server: Server) -> None:
        server.send("POST", RUN.path("team"), an_alignment_run())
        server.apply({"status": {"stage": "policy"}}, "boresight")
        edit = {"status": {"stage": "lie"}}
        path = RUN.path("team", "first", "status")
        server.send("PATCH", path, edit, kind="application/merge-patch+json", fieldManager="somebody")
        assert server.apply({"status": {"stage": "policy"}}, "boresight", force=False)[0] == 409
        _, stored = server.apply({"status": {"stage": "policy"}}, "boresight")
        assert stored["status"] == {**UNSEEN, "stage": "policy"}
        assert "somebody" not in [entry["manager"] for entry in stored["metadata"]["managedFields"]]

    def test_status_and_spec_have_their_own_doors(self, server: Server) -> None:
        server.send("POST", RUN.path("team"), an_alignment_run())
        _, stored = server.apply({"spec": {"seed": 7}, "status": {"stage": "policy"}}, "boresight")
        assert "seed" not in stored["spec"]
        assert stored["status"] == {**UNSEEN, "stage": "policy"}

    def test_a_status_of_nobody_is_not_found(self, server: Server) -> None:
        assert server.apply({"status": {"stage": "policy"}}, "boresight")[0] == 404


class TestDeletion:
    def test_preconditions_hold(self, server: Server) -> None:
        server.send("POST", api.CONFIG_MAPS.path("team"), a_config_map())
        other = {"preconditions": {"uid": "another"}}
        assert server.send("DELETE", api.CONFIG_MAPS.path("team", "a"), other)[0] == 409
        assert server.send("DELETE", api.CONFIG_MAPS.path("team", "a"))[0] == 200
        assert server.send("DELETE", api.CONFIG_MAPS.path("team", "a"))[0] == 404

    def test_foreground_waits(self, server: Server) -> None:
        owner = server.registry.create(api.CONFIG_MAPS, "team", a_config_map(), "user")
        server.registry.create(api.CONFIG_MAPS, "team", owned_by(owner, "b"), "user")
        server.send("DELETE", api.CONFIG_MAPS.path("team", "a"), {"propagationPolicy": "Foreground"})
        metadata = server.registry.get(api.CONFIG_MAPS, "team", "a")["metadata"]
        assert metadata["finalizers"] == ["foregroundDeletion"]
        assert "deletionTimestamp" in metadata


class TestLists:
    def test_pages_are_of_one_moment_and_expire(self, server: Server) -> None:
        for name in "abcde":
            server.registry.create(api.CONFIG_MAPS, "team", a_config_map(name), "user")
        first = server.send("GET", api.CONFIG_MAPS.path("team"), limit="2")[1]
        server.registry.delete(api.CONFIG_MAPS, "team", "d", "user")
        token = first["metadata"]["continue"]
        second = server.send("GET", api.CONFIG_MAPS.path("team"), limit="2", **{"continue": token})[1]
        assert [item["metadata"]["name"] for item in second["items"]] == ["c", "d"]
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        server.now += 400
        assert server.send("GET", api.CONFIG_MAPS.path("team"), limit="2", **{"continue": token})[0] == 410

    @pytest.mark.parametrize(
        ("selector", "wanted"),
        [
            ("", True),
            ("a=1", True),
            ("a==1,b", True),
            ("a=2", False),
            ("!c", True),
            ("a in (1, 2)", True),
            ("b notin (x)", False),
        ],
    )
    def test_label_selectors(self, selector: str, wanted: bool) -> None:
        assert matches({"metadata": {"labels": {"a": "1", "b": "x"}}}, selector) is wanted

    def test_field_selectors(self) -> None:
        obj = {"metadata": {"name": "n"}, "involvedObject": {"uid": "u"}}
        assert has_fields(obj, "involvedObject.uid=u,metadata.name!=m")
        assert not has_fields(obj, "involvedObject.uid=v")

    def test_a_bad_selector_is_a_bad_request(self) -> None:
        with pytest.raises(Failure, match="unable to parse"):
            matches({"metadata": {}}, "=x")


def a_stage(name: str, **fields: str) -> dict[str, str]:
    return {"name": name, "state": "Pending", **fields}
