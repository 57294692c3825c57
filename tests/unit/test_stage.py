"""One stage: adoption, keys, inputs, publication, outcome, exit code. The recipe is a small one of the test's own."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from boresight_api.artifact import ArtifactKind
from boresight_api.enums import SftTarget, Task, Tuning
from boresight_api.execution import Execution, RunReference, Stage
from boresight_api.outcome import MAX_OUTCOME_BYTES, ExitCode, FailureClass, Metric, StageFailure
from boresight_api.stages import DataInput, ModelInput, SftConfig, Training, stage_key
from boresight_trainer import main, stage
from boresight_trainer.stage import StageContext, StageResult
from boresight_trainer.store.file import FileStore

DIGEST = "sha256:" + "a" * 64
Recipe = Callable[[StageContext, SftConfig], StageResult]


def a_config(**changes: object) -> SftConfig:
    values: dict[str, object] = {
        "task": Task.TEXT_TO_TEXT,
        "target": SftTarget.RESPONSE,
        "model": ModelInput(uri="embedded://tiny", digest=DIGEST),
        "data": (DataInput(uri="file:///rows.jsonl", digest=DIGEST, format="Jsonl"),),
        "training": Training(learning_rate="1e-4", tuning=Tuning.FULL),
        "seed": 1,
    }
    return SftConfig(**{**values, **changes})


def a_stage(folder: Path, config: SftConfig | None = None, **changes: object) -> Stage:
    config = config or a_config()
    values: dict[str, object] = {
        "run": RunReference(kind="AlignmentRun", name="first", uid="0123456789abcdef"),
        "name": "warm-start",
        "recipe_version": 1,
        "key": stage_key(config, 1),
        "config": config,
        "execution": Execution(
            storage=(folder / "store").as_uri(),
            outcome_file=str(folder / "outcome.json"),
            progress_file=str(folder / "progress.json"),
        ),
    }
    return Stage(**{**values, **changes})


def run(stage_: Stage, folder: Path) -> tuple[int, dict[str, object]]:
    """Exit code and outcome of the stage, from its file, as a process would."""
    path = folder / "stage.json"
    path.write_text(stage_.model_dump_json(by_alias=True, exclude_none=True))
    code = main.run_stage(path)
    outcome = (folder / "outcome.json").read_bytes()
    assert len(outcome) <= MAX_OUTCOME_BYTES
    return code, json.loads(outcome)


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StageContext]]:
    """A recipe that writes one file and remembers every context it was given."""
    calls: list[StageContext] = []

    def work(context: StageContext, config: SftConfig) -> StageResult:
        calls.append(context)
        (context.output / "model.bin").write_bytes(str(config.seed).encode())
        context.progress.phase("train", 1)
        context.progress.log({"step": 1, "loss": 0.5})
        return StageResult(ArtifactKind.MODEL, {"rows": 3}, (Metric(name="holdoutLoss", value="1.5"),))

    install(monkeypatch, work)
    yield calls


def install(monkeypatch: pytest.MonkeyPatch, work: Recipe) -> None:
    module = types.ModuleType("recipe_of_the_test")
    module.run = work  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(stage.RECIPES, "sft", module.__name__)


def test_a_stage_publishes_its_artifact_and_tells_the_outcome(tmp_path: Path, recipe: list[StageContext]) -> None:
    stage_ = a_stage(tmp_path)
    code, outcome = run(stage_, tmp_path)
    assert (code, outcome["status"], outcome["key"]) == (0, "Succeeded", stage_.key)
    assert outcome["metrics"] == [{"name": "holdoutLoss", "value": "1.5"}]
    store = FileStore(stage_.execution.storage)
    manifest = store.verify(stage_.key)
    assert [file.path for file in manifest.files] == ["metrics.jsonl", "model.bin"]
    assert manifest.digest() == outcome["artifact"]["digest"]
    assert manifest.recipe == "sft/1"
    assert manifest.config["seed"] == 1
    assert json.loads((tmp_path / "progress.json").read_text())["phase"] == "train"


def test_finished_work_is_adopted_and_not_done_again(tmp_path: Path, recipe: list[StageContext]) -> None:
    first = run(a_stage(tmp_path), tmp_path)
    second = run(a_stage(tmp_path), tmp_path)
    assert second == first
    assert len(recipe) == 1


def test_a_key_that_does_not_fit_the_configuration_is_refused(tmp_path: Path, recipe: list[StageContext]) -> None:
    code, outcome = run(a_stage(tmp_path, key="0" * 64), tmp_path)
    assert (code, outcome["failureClass"]) == (ExitCode.INVALID_CONFIG, "InvalidConfig")
    assert "plan the run again" in str(outcome["message"])
    assert not recipe


def test_a_missing_input_is_named_by_its_role(tmp_path: Path, recipe: list[StageContext]) -> None:
    config = a_config(model=ModelInput(uri="artifact://" + "b" * 64, key="b" * 64))
    code, outcome = run(a_stage(tmp_path, config), tmp_path)
    assert code == ExitCode.MISSING_INPUT
    assert str(outcome["message"]).startswith("model: artifact bbbb")


def test_parents_are_recorded_with_the_digest_that_was_there(tmp_path: Path, recipe: list[StageContext]) -> None:
    first = a_stage(tmp_path)
    _, parent = run(first, tmp_path)
    child = a_stage(tmp_path, a_config(seed=2, model=ModelInput(uri=f"artifact://{first.key}", key=first.key)))
    run(child, tmp_path)
    manifest = FileStore(child.execution.storage).verify(child.key)
    assert [(p.name, p.key, p.digest) for p in manifest.parents] == [("model", first.key, parent["artifact"]["digest"])]


def test_finished_work_with_another_parent_is_not_adopted(tmp_path: Path, recipe: list[StageContext]) -> None:
    first = a_stage(tmp_path)
    run(first, tmp_path)
    child = a_stage(tmp_path, a_config(seed=2, model=ModelInput(uri=f"artifact://{first.key}", key=first.key)))
    run(child, tmp_path)
    manifest = FileStore(child.execution.storage).path(first.key) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"holdoutLoss", b"trainingLoss"))
    code, outcome = run(child, tmp_path)
    assert code == ExitCode.MISSING_INPUT
    assert f"its model, artifact {first.key}: found sha256:" in str(outcome["message"])


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (StageFailure(FailureClass.INVALID_DATA, "row 3: no response"), ExitCode.INVALID_DATA, "row 3: no response"),
        (StageFailure(FailureClass.PREEMPTED, "stopped", step=7), ExitCode.PREEMPTED, "stopped"),
        (MemoryError(), ExitCode.OUT_OF_MEMORY, "MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ExitCode.OUT_OF_MEMORY, "allocate"),
        (OSError(28, "No space left on device"), ExitCode.INFRASTRUCTURE, "No space left on device"),
        (
            ZeroDivisionError("division by zero"),
            ExitCode.ERROR,
            "ZeroDivisionError: division by zero (in test_stage.py",
        ),
    ],
)
def test_every_end_has_its_exit_code_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: ExitCode, text: str
) -> None:
    def work(context: StageContext, config: SftConfig) -> StageResult:
        (context.output / "model.bin").write_bytes(b"half")
        raise error

    install(monkeypatch, work)
    stage_ = a_stage(tmp_path)
    found, outcome = run(stage_, tmp_path)
    assert (found, outcome["failureClass"]) == (code, code.failure_class)
    assert text in str(outcome["message"])
    store = FileStore(stage_.execution.storage)
    assert store.manifest(stage_.key) is None
    assert not list((tmp_path / "store").rglob("model.bin"))


def test_an_outcome_that_cannot_be_written_is_no_success(
    tmp_path: Path, recipe: list[StageContext], capsys: pytest.CaptureFixture[str]
) -> None:
    execution = Execution(storage=(tmp_path / "store").as_uri(), outcome_file="/proc/version/outcome.json")
    path = tmp_path / "stage.json"
    path.write_text(a_stage(tmp_path, execution=execution).model_dump_json(by_alias=True, exclude_none=True))
    assert main.run_stage(path) == ExitCode.INFRASTRUCTURE
    assert "the outcome could not be written" in capsys.readouterr().err


def test_the_loser_of_a_race_adopts_the_winners_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = iter([b"slow", b"fast"])

    def work(context: StageContext, config: SftConfig) -> StageResult:
        mine = next(contents)
        if mine == b"slow":  # another run of the same key starts later and publishes first
            run(a_stage(tmp_path), tmp_path)
        (context.output / "model.bin").write_bytes(mine)
        return StageResult(ArtifactKind.MODEL)

    install(monkeypatch, work)
    code, outcome = run(a_stage(tmp_path), tmp_path)
    store = FileStore((tmp_path / "store").as_uri())
    assert code == 0
    assert (store.open(a_stage(tmp_path).key) / "model.bin").read_bytes() == b"fast"
    assert outcome["artifact"]["digest"] == store.verify(a_stage(tmp_path).key).digest()


def test_earlier_attempts_checkpoints_are_offered_newest_first_and_removed_after_success(
    tmp_path: Path, recipe: list[StageContext]
) -> None:
    stage_ = a_stage(tmp_path)
    checkpoints = FileStore(stage_.execution.storage).checkpoints(stage_.key)
    mine, foreign = checkpoints / "01234567-3", checkpoints / "ffffffff-1"
    foreign.mkdir()
    mine.mkdir()
    code, _ = run(a_stage(tmp_path), tmp_path)
    assert code == 0
    assert set(recipe[0].previous_checkpoints) == {mine, foreign}
    assert recipe[0].checkpoint_folder == checkpoints / "01234567-1"
    assert foreign.exists()
    assert not mine.exists()


def test_a_stage_file_that_does_not_parse_is_an_invalid_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stage.json").write_text('{"kind": "Stage"}')
    assert main.run_stage(tmp_path / "stage.json") == ExitCode.INVALID_CONFIG
    assert "stage.json" in capsys.readouterr().err
