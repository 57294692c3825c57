"""Garbage collection: what is needed stays, by refs, tags, youth and descent; the rest goes, manifest first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from boresight_api.artifact import Parent
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.garbage import DAY, NOBODY, Living, Waste, take_inventory, waste
from boresight_trainer.store.references import renew_refs, write_refs, write_tag
from builders_store import a_store, publish, write_files

NOW = 1_767_225_600.0  # 2026-01-01
MODEL, PAIRS, POLICY, OTHER = (letter * 64 for letter in "abcd")


class Case:
    """A store in which POLICY was made from PAIRS and those from MODEL; OTHER stands alone. All 60 days old."""

    def __init__(self, folder: Path) -> None:
        self.store: FileStore = a_store(folder)
        before: str | None = None
        for key in (MODEL, PAIRS, POLICY, OTHER):
            parents = () if before is None or key == OTHER else (self.parent(before),)
            publish(self.store, key, {"weights.bin": key[0] * 10}, parents=parents)
            before = key
        self.age(60)

    def parent(self, key: str) -> Parent:
        return Parent(name="model", key=key, digest=str(self.store.digest(key)))

    def age(self, days: float, below: str = "") -> None:
        for file in self.store.files(below):
            os.utime(self.store.root / file.name, (NOW - days * DAY,) * 2)

    def ref(self, run: str, days: float, **stages: str) -> None:
        write_refs(self.store, cluster="c1", namespace="team", run=run, stages=stages, label="first")
        path = self.store.root / f"refs/c1/team/{run}.json"
        import json
        from datetime import UTC, datetime

        time = datetime.fromtimestamp(NOW - days * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path.write_text(json.dumps({**json.loads(path.read_text()), "time": time}))
        os.utime(path, (NOW - days * DAY,) * 2)

    def waste(self, keep_days: float = 30, living: Living = NOBODY) -> list[Waste]:
        return waste(take_inventory(self.store, NOW), keep_days=keep_days, living=living)

    def doomed(self, what: str = "artifacts", keep_days: float = 30, living: Living = NOBODY) -> str:
        """First letters of the keys."""
        return "".join(each.name[0] for each in self.waste(keep_days, living) if each.what == what)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_without_refs_and_tags_everything_old_goes_manifest_first(case: Case) -> None:
    assert case.doomed() == "abcd"
    for each in case.waste():
        assert [file.name.rpartition("/")[2] for file in each.files] == ["manifest.json", "weights.bin"]
        assert each.size == sum(file.size for file in each.files)
        case.store.remove(file.name for file in each.files)
    assert case.store.keys() == []
    assert list((case.store.root / "artifacts").iterdir()) == []


def test_a_ref_keeps_what_its_keys_were_made_from(case: Case) -> None:
    case.ref("uid-1", 1, policy=POLICY)
    assert case.doomed() == "d"


def test_a_tag_keeps_an_artifact_and_its_ancestors_for_ever(case: Case) -> None:
    write_tag(case.store, "judge", PAIRS)
    case.age(400, "tags")
    assert case.doomed() == "cd"


def test_what_is_young_is_kept_with_its_ancestors(case: Case) -> None:
    case.age(6.9, f"artifacts/{POLICY}")
    assert case.doomed() == "d"
    case.age(7.1, f"artifacts/{POLICY}")
    assert case.doomed() == "abcd"


@pytest.mark.parametrize(("days", "keep_days", "live", "doomed"), [
    (29, 30, False, "d"),
    (31, 30, False, "abcd"),
    (31, 40, False, "d"),
    (400, 30, True, "d"),
])  # fmt: skip
def test_a_ref_counts_while_its_run_exists_and_for_keep_days_after_it_was_renewed(
    case: Case, days: float, keep_days: float, live: bool, doomed: str
) -> None:
    case.ref("uid-1", days, policy=POLICY)
    assert case.doomed(keep_days=keep_days, living=Living(frozenset({"uid-1"} if live else ()))) == doomed
    gone = [
        each.name for each in case.waste(keep_days, Living(frozenset({"uid-1"} if live else ()))) if each.what == "refs"
    ]
    assert gone == (["c1/team/uid-1.json"] if doomed == "abcd" else [])


def test_what_a_living_run_names_is_kept_without_any_ref(case: Case) -> None:
    assert case.doomed(living=Living(keys=frozenset({PAIRS}))) == "cd"


def test_a_ref_of_a_namespace_whose_runs_are_not_known_counts_however_old(case: Case) -> None:
    case.ref("uid-1", 400, policy=POLICY)
    assert case.doomed(living=Living(namespaces=frozenset({"other"}))) == "d"
    assert case.doomed(living=Living(namespaces=frozenset({"team"}))) == "abcd"


def test_a_stage_that_begins_renews_its_runs_ref(case: Case) -> None:
    case.ref("uid-1", 400, policy=POLICY)
    renew_refs(case.store, cluster="c1", namespace="team", run="uid-1")
    (ref,) = take_inventory(case.store, NOW).refs
    assert (dict(ref.stages), ref.label, ref.run) == ({"policy": POLICY}, "team/first", "uid-1")
    assert ref.time > NOW - 400 * DAY + 1
    renew_refs(case.store, cluster="c1", namespace="team", run="uid-2")
    assert len(take_inventory(case.store, NOW).refs) == 1, "what prepare has not written is not invented"


def test_what_has_no_manifest_or_an_unreadable_one_is_kept(case: Case) -> None:
    (case.store.path(OTHER) / "manifest.json").write_text('{"apiVersion": "newer"}')
    write_files(case.store.path("e" * 64), {"weights.bin": "half"})
    case.age(60)
    assert case.doomed() == "abc"


@pytest.mark.parametrize("name", ["refs/c1/team/uid-1.json", "tags/judge.json"])
def test_a_ref_or_tag_that_cannot_be_read_stops_everything(case: Case, name: str) -> None:
    write_files(case.store.root, {name: "{"})
    with pytest.raises(StageFailure, match=f"{name}: cannot be read, so what it protects is not known") as caught:
        case.waste()
    assert caught.value.failure is FailureClass.INVALID_DATA


def test_checkpoints_go_when_their_stage_is_published_or_wanted_by_nobody(case: Case) -> None:
    running, dropped, fresh = "1" * 64, "2" * 64, "3" * 64
    case.ref("uid-1", 1, policy=running, pairs=PAIRS)
    for key in (PAIRS, running, dropped, fresh):
        write_files(case.store.root / "checkpoints" / key / "run-aaaa-1", {"step-00000001/state.json": "{}"})
    case.age(8, "checkpoints")
    case.age(6, f"checkpoints/{fresh}")
    assert case.doomed("checkpoints") == "2b"


def test_caches_logs_and_leftovers_go_by_age(case: Case) -> None:
    case.ref("uid-1", 1, policy=POLICY)
    write_files(
        case.store.root,
        {
            "cache/reference/old.safetensors": "x",
            "cache/reference/new.safetensors": "x",
            "staging/aaaa-1/model.bin": "x",
            "staging/probe-1": "x",
            "logs/uid-1/policy-1-0.log": "x",
            "logs/uid-2/policy-1-0.log": "x",
            "runs/default/first/run.json": "{}",
        },
    )
    for folder in ("cache", "staging", "logs", "runs"):
        case.age(40, folder)
    os.utime(case.store.root / "cache/reference/new.safetensors", (NOW - 29 * DAY,) * 2)
    found = {(each.what, file.name) for each in case.waste() for file in each.files if each.what != "artifacts"}
    assert found == {
        ("cache", "cache/reference/old.safetensors"),
        ("staging", "staging/aaaa-1/model.bin"),
        ("staging", "staging/probe-1"),
        ("logs", "logs/uid-2/policy-1-0.log"),
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list anything")
def test_what_may_not_be_listed_stops_everything(case: Case) -> None:
    (case.store.root / "refs").mkdir(mode=0o000)
    with pytest.raises(StageFailure, match="could not list"):
        case.waste()
