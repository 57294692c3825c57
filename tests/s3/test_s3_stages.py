"""Stages on a bucket: checkpoints of any attempt are found, prepare sees what is there, one artifact comes out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boresight_api.artifact import ArtifactKind
from boresight_api.execution import Execution, Prepare, RunReference, StagePart
from boresight_api.manifest import parse_manifest
from boresight_api.outcome import FailureClass, Metric, StageFailure, StageState
from boresight_api.plan import plan
from boresight_trainer.recipes.prepare import prepare
from boresight_trainer.stage import StageContext, StageResult
from boresight_trainer.store.open import open_library
from boresight_trainer.store.s3.store import S3Store
from builders_data import a_feedback_row, write_jsonl
from builders_store import KEY, publish, write_files
from s3.builders_s3 import a_bucket_store, opened
from s3.minio_server import MinioServer
from unit.test_stage import a_config, a_stage, install, run

RUN = "run-aaaa"


@pytest.fixture
def store(minio: MinioServer, bucket: str, tmp_path: Path) -> S3Store:
    return opened(minio.environment(), f"s3://{bucket}/team", tmp_path / "near")


def save(folder: Path, step: int, *, tensors: str = "tensors") -> None:
    """A checkpoint as the engine leaves one: whole under a temporary name, then renamed."""
    temporary = folder / f".step-{step:08d}.tmp"
    write_files(temporary, {"parameters.safetensors": tensors, "state.json": json.dumps({"step": step})})
    temporary.rename(folder / f"step-{step:08d}")


def kept(store: S3Store) -> set[str]:
    return {file.name.split("/", 2)[2] for file in store.checkpoint_files(KEY)}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- checkpoints -----------------------------------------------------------------------------------------------------


def test_what_is_whole_goes_to_the_store_while_the_stage_works_and_what_it_drops_goes_too(store: S3Store) -> None:
    with store.attempt(KEY, RUN, 1) as attempt:
        save(attempt.own, 1)
        write_files(attempt.own, {"response-1.jsonl": "{}\n", "half.tmp": "half", ".step-00000009.tmp/x": "half"})
        until(lambda: f"{RUN}-1/step-00000001/state.json" in kept(store))
        save(attempt.own, 2)
        shutil.rmtree(attempt.own / "step-00000001")
    assert kept(store) == {
        f"{RUN}-1/response-1.jsonl",
        f"{RUN}-1/step-00000002/parameters.safetensors",
        f"{RUN}-1/step-00000002/state.json",
    }


def test_a_stage_that_is_stopped_leaves_its_last_checkpoint(store: S3Store) -> None:
    with pytest.raises(StageFailure, match="stopped"), store.attempt(KEY, RUN, 1) as attempt:
        save(attempt.own, 7)
        raise StageFailure(FailureClass.PREEMPTED, "stopped", step=7)
    assert f"{RUN}-1/step-00000007/state.json" in kept(store)


def test_the_newest_checkpoint_of_any_attempt_is_read_and_only_ones_own_written(
    minio: MinioServer, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    for run_name, number, step in (("run-bbbb", 4, 30), (RUN, 1, 10), (RUN, 2, 20)):
        with store.attempt(KEY, run_name, number) as attempt:
            save(attempt.own, step)
            write_files(attempt.own, {f"batch-{step}.jsonl": str(step)})
    before = kept(store)
    elsewhere = opened(minio.environment(), store.uri, tmp_path / "another-node")
    with elsewhere.attempt(KEY, RUN, 3) as attempt:
        found = {p.relative_to(folder).as_posix() for folder in attempt.previous for p in folder.rglob("*.json*")}
        assert found == {"step-00000030/state.json", "batch-10.jsonl", "batch-20.jsonl", "batch-30.jsonl"}
        assert [folder.name for folder in attempt.previous] == [f"{RUN}-2", f"{RUN}-1", "run-bbbb-4"]
        save(attempt.own, 31)
    assert kept(store) - before == {
        f"{RUN}-3/step-00000031/{name}" for name in ("parameters.safetensors", "state.json")
    }
    with elsewhere.attempt(KEY, RUN, 4) as attempt:
        attempt.discard()
    assert {name.split("/")[0] for name in kept(store)} == {"run-bbbb-4"}


@pytest.mark.parametrize("damage", ["tampered", "cut", "without state"])
def test_a_damaged_checkpoint_is_passed_over(
    minio: MinioServer, bucket: str, store: S3Store, tmp_path: Path, damage: str
) -> None:
    with store.attempt(KEY, RUN, 1) as attempt:
        save(attempt.own, 1)
        save(attempt.own, 2)
    newest = f"team/checkpoints/{KEY}/{RUN}-1/step-00000002"
    if damage == "without state":
        minio.client().remove_object(bucket, f"{newest}/state.json")
    else:
        headers = {"x-amz-meta-sha256": "sha256:" + "0" * 64} if damage == "tampered" else {}
        minio.client()._execute("PUT", bucket, f"{newest}/parameters.safetensors", body=b"other", headers=headers)
    with store.attempt(KEY, RUN, 2) as attempt:
        (folder,) = attempt.previous
        assert [path.name for path in folder.iterdir()] == ["step-00000001"]


def test_an_attempt_whose_process_starts_again_finds_what_it_had(store: S3Store) -> None:
    for step in (1, 2):
        with store.attempt(KEY, RUN, 1) as attempt:
            save(attempt.own, step)
            write_files(attempt.own, {f"batch-{step}.jsonl": ""})
    with store.attempt(KEY, RUN, 1) as attempt:
        assert {path.name for path in attempt.own.iterdir()} == {"batch-1.jsonl", "batch-2.jsonl"}
        assert [path.name for folder in attempt.previous for path in folder.iterdir()] == ["step-00000002"]


def test_processes_that_share_an_attempt_see_each_others_batches(
    minio: MinioServer, store: S3Store, tmp_path: Path
) -> None:
    other = opened(minio.environment(), store.uri, tmp_path / "another-node")
    with store.attempt(KEY, RUN, 1, shared=True) as mine, other.attempt(KEY, RUN, 1, shared=True) as theirs:
        write_files(mine.own, {"response-a.jsonl": "a"})
        write_files(theirs.own, {"response-b.jsonl": "b"})
        until(lambda: all((each.own / f"response-{x}.jsonl").exists() for each in (mine, theirs) for x in "ab"))
        assert (mine.own / "response-b.jsonl").read_text() == "b"
    with store.attempt(KEY, RUN, 1) as merge:
        assert {path.name for path in merge.own.iterdir()} == {"response-a.jsonl", "response-b.jsonl"}


def test_a_store_that_is_away_for_a_while_does_not_stop_the_stage(minio_program: Path, tmp_path: Path) -> None:
    with MinioServer(minio_program, tmp_path / "server") as server:
        store = a_bucket_store(server.environment(), f"s3://{server.bucket()}", tmp_path / "near", seconds=0.5)
        with store.attempt(KEY, RUN, 1) as attempt:
            server.stop()
            save(attempt.own, 1)
            time.sleep(2)
            server.start()
        assert f"{RUN}-1/step-00000001/state.json" in kept(store)
        server.stop()
        with pytest.raises(StageFailure, match="could not list"), store.attempt(KEY, RUN, 2):
            raise AssertionError("no attempt begins without knowing what was done before")
        server.start()
        with pytest.raises(StageFailure, match="could not write"), store.attempt(KEY, RUN, 2) as attempt:
            save(attempt.own, 2)
            server.stop()


# -- stages ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_a_pod(minio: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that the operator renders."""
    for name, value in minio.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def an_execution(tmp_path: Path, uri: str, **changes: object) -> Execution:
    return Execution.model_validate(
        {
            "storage": uri,
            "outcome_file": str(tmp_path / "outcome.json"),
            "progress_file": str(tmp_path / "progress.json"),
            **changes,
        }
    )


@pytest.mark.usefixtures("in_a_pod")
def test_a_stage_resumes_on_another_node_publishes_and_cleans_up(
    bucket: str, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def work(context: StageContext, config: object) -> StageResult:
        calls.append([str(p.relative_to(f)) for f in context.previous_checkpoints for p in f.glob("step-*/state.json")])
        context.progress.log({"step": 1, "loss": 0.5})
        if len(calls) == 1:
            save(context.checkpoint_folder, 3)
            raise StageFailure(FailureClass.PREEMPTED, "stopped", step=3)
        (context.output / "model.bin").write_bytes(b"model")
        return StageResult(ArtifactKind.MODEL, {}, (Metric(name="holdoutLoss", value="1.5"),))

    install(monkeypatch, work)
    first = a_stage(tmp_path, execution=an_execution(tmp_path, store.uri))
    code, outcome = run(first, tmp_path)
    assert (code, outcome["failureClass"]) == (76, "Preempted")
    shutil.rmtree(tmp_path / "home")
    second = a_stage(tmp_path, execution=an_execution(tmp_path, store.uri, attempt=2))
    code, outcome = run(second, tmp_path)
    assert (code, calls) == (0, [[], ["step-00000003/state.json"]])
    assert outcome["artifact"] == {"uri": store.artifact_uri(first.key), "digest": store.digest(first.key)}
    assert [file.path for file in store.verify(first.key).files] == ["metrics.jsonl", "model.bin"]
    assert {file.name.split("/")[0] for file in store.files("")} == {"artifacts"}
    shutil.rmtree(tmp_path / "home")
    assert run(second, tmp_path)[1] == outcome
    assert len(calls) == 2, "what is finished is not done again"


@pytest.mark.usefixtures("in_a_pod")
def test_a_shard_leaves_its_batches_and_no_artifact(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boresight_trainer import stage as stages

    def work(context: StageContext, config: object) -> StageResult:
        write_files(context.checkpoint_folder, {"response-1.jsonl": "{}"})
        return StageResult(ArtifactKind.PAIRS)

    install(monkeypatch, work)
    monkeypatch.setattr(stages, "SHARED", frozenset({"sft"}))
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    execution = an_execution(tmp_path, store.uri, shards=2, part=StagePart.SHARD)
    stage = a_stage(tmp_path, a_config(), execution=execution)
    assert run(stage, tmp_path)[0] == 0
    assert [file.name for file in store.files("")] == [f"checkpoints/{stage.key}/01234567-1/response-1.jsonl"]


@pytest.mark.usefixtures("in_a_pod")
def test_prepare_probes_the_bucket_and_finds_what_is_there(store: S3Store, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "feedback.jsonl", [a_feedback_row(number) for number in range(100)])
    manifest = {
        "apiVersion": "boresight.dev/v1alpha1",
        "kind": "AlignmentRun",
        "metadata": {"name": "first"},
        "spec": {
            "task": "TextToText",
            "model": {"uri": "embedded://tiny"},
            "data": {"feedback": [{"uri": data.as_uri(), "format": "Jsonl"}]},
        },
    }
    document = Prepare(
        run=RunReference(kind="AlignmentRun", name="first", uid="0f9e8d7c-local"),
        manifest=manifest,
        execution=an_execution(tmp_path, store.uri),
    )
    report = prepare(document)
    assert {stage.state for stage in report.stages} == {StageState.MISSING}
    made = plan(parse_manifest(manifest), {found.id: found for found in report.pins})
    keys = {stage.name: str(stage.key) for stage in made.stages}
    published = publish(store, keys["feedback-model"])
    for number, step in ((2, 10), (3, 12)):
        with store.attempt(keys["policy"], "0f9e8d7c", number) as attempt:
            save(attempt.own, step)
    with store.attempt(keys["evaluation"], "0f9e8d7c", 1) as attempt:
        write_files(attempt.own, {"a.jsonl": "", "b.jsonl": ""})
    found = {stage.name: stage for stage in prepare(document).stages}
    assert (found["feedback-model"].state, found["feedback-model"].digest) == (
        StageState.PRESENT,
        published.artifact.digest,
    )
    assert (found["policy"].state, found["policy"].step, found["policy"].attempt) == (StageState.CHECKPOINT, 12, 3)
    assert (found["evaluation"].step, found["evaluation"].attempt) == (2, 1)
    refs = json.loads(store.read("refs/local/default/0f9e8d7c-local.json") or b"")
    assert refs["keys"] == sorted(keys.values())


@pytest.mark.usefixtures("in_a_pod")
def test_the_environment_of_a_pod_is_all_that_a_store_needs(store: S3Store, tmp_path: Path) -> None:
    library = open_library(an_execution(tmp_path, store.uri))
    assert (library.uri, library.own.keys()) == (store.uri, [])
