"""``boresight run``: what is done, what is skipped, what follows from each end of a stage. No process is started."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from boresight.errors import UserError
from boresight.local import lock
from boresight.local.attempt import AttemptFolder, Process
from boresight.local.display import LineDisplay
from boresight.local.run import Finished, run_manifest
from boresight.main import main
from boresight.manifests import Manifest, read_manifest
from boresight.records import State
from boresight_api.artifact import MANIFEST_NAME, ArtifactManifest, Parent
from boresight_api.outcome import FailureClass
from boresight_trainer.store.file import FileStore
from builders_cli import FakeLauncher, a_manifest, a_manifest_file, dies, fails, never_ends, publish

STAGES = ["feedback-model", "synthesis", "policy", "evaluation"]


class Bench:
    """Runs manifests against one store and remembers what was shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FileStore((folder / "store").as_uri())
        self.shown: list[str] = []

    def run(self, manifest: Manifest, launcher: FakeLauncher) -> Finished:
        return run_manifest(
            manifest,
            self.store,
            make_display=lambda width: LineDisplay(width, write=self.shown.append),
            make_launcher=lambda _: launcher,
        )

    @property
    def text(self) -> str:
        return "\n".join(self.shown)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Bench(tmp_path)


def states(finished: Finished) -> dict[str, State]:
    return {stage.name: stage.state for stage in finished.record.stages}


def test_a_run_prepares_and_then_does_every_stage_in_order(bench: Bench) -> None:
    launcher = FakeLauncher()
    finished = bench.run(a_manifest(bench.folder), launcher)
    assert finished.exit_code == 0
    assert launcher.started == ["prepare", *STAGES]
    assert finished.record.state is State.SUCCEEDED
    assert finished.folder.read() == finished.record
    assert "prepare and 4 stages: feedback-model, synthesis, policy, evaluation" in bench.text
    assert "time: unknown" in bench.text
    assert finished.record.sources[1].uri == (bench.folder / "feedback.jsonl").as_uri()


def test_the_second_run_finds_everything_cached_and_starts_no_stage(bench: Bench) -> None:
    manifest = a_manifest(bench.folder)
    bench.run(manifest, FakeLauncher())
    launcher = FakeLauncher()
    finished = bench.run(manifest, launcher)
    assert launcher.started == ["prepare"]
    assert not launcher.warmed, "nothing to run, so torch is not imported"
    assert finished.record.state is State.SUCCEEDED
    assert all(state is State.CACHED for name, state in states(finished).items() if name != "prepare")
    assert bench.text.count("cached") >= 4


def test_a_cached_stage_with_another_parent_is_a_clear_error(bench: Bench) -> None:
    manifest, launcher = a_manifest(bench.folder), FakeLauncher()
    bench.run(manifest, launcher)
    model, synthesis = launcher.stages[0], launcher.stages[1]
    path = bench.store.path(synthesis.key) / MANIFEST_NAME
    found = ArtifactManifest.model_validate_json(path.read_bytes())
    parent = Parent(name="feedbackModel", key=model.key, digest="sha256:" + "0" * 64)
    path.write_bytes(found.model_copy(update={"parents": (parent,)}).to_bytes())
    with pytest.raises(UserError, match=f"artifact {synthesis.key}: its feedbackModel.*remove the folder") as caught:
        bench.run(manifest, FakeLauncher())
    assert caught.value.exit_code == 77


def test_checkpoints_that_the_run_left_go_when_another_run_published_the_key(bench: Bench) -> None:
    manifest, launcher = a_manifest(bench.folder), FakeLauncher()
    uid = bench.run(manifest, launcher).record.uid
    folder = bench.store.checkpoints(launcher.stages[0].key)
    (folder / f"{uid[:8]}-1").mkdir()
    (folder / "ffffffff-1").mkdir()
    bench.run(manifest, FakeLauncher())
    assert [path.name for path in folder.iterdir()] == ["ffffffff-1"]


def test_prepare_gets_the_recipe_of_the_first_plan(bench: Bench) -> None:
    finished = bench.run(a_manifest(bench.folder), FakeLauncher())
    document = AttemptFolder(finished.folder.attempt_folder("prepare", None, 1)).document
    assert json.loads(document.read_text())["recipe"] == finished.record.recipe == "1"


def test_editing_beta_runs_policy_and_evaluation_again_and_nothing_else(bench: Bench) -> None:
    bench.run(a_manifest(bench.folder), FakeLauncher())
    launcher = FakeLauncher()
    finished = bench.run(a_manifest(bench.folder, more='  policy: {dpo: {beta: "0.3"}}\n'), launcher)
    assert launcher.started == ["prepare", "policy", "evaluation"]
    assert finished.record.state is State.SUCCEEDED


def test_editing_local_data_runs_what_depends_on_it(bench: Bench) -> None:
    manifest = a_manifest(bench.folder)
    bench.run(manifest, FakeLauncher())
    with (bench.folder / "feedback.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "More.", "response": "a", "critique": "b"}) + "\n")
    launcher = FakeLauncher()
    bench.run(manifest, launcher)
    assert launcher.started == ["prepare", *STAGES]


def test_the_time_of_the_last_run_is_the_estimate_of_the_next(bench: Bench) -> None:
    bench.run(a_manifest(bench.folder), FakeLauncher())
    bench.run(a_manifest(bench.folder, more="  seed: 7\n"), FakeLauncher())
    assert "as the last time on this machine" in bench.text


def test_stop_after_holds_the_rest(bench: Bench) -> None:
    launcher = FakeLauncher()
    finished = bench.run(a_manifest(bench.folder, more="  stopAfter: Synthesis\n"), launcher)
    assert launcher.started == ["prepare", "feedback-model", "synthesis"]
    assert (finished.exit_code, finished.record.state) == (0, State.HELD)
    assert "spec.stopAfter: policy, evaluation will not run" in bench.text


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (FailureClass.INVALID_DATA, 65),
        (FailureClass.ERROR, 70),
        (FailureClass.DIVERGED, 71),
        (FailureClass.MISSING_INPUT, 77),
    ],
)
def test_a_failed_stage_ends_the_run_with_its_exit_code_and_its_message(
    bench: Bench, failure: FailureClass, code: int
) -> None:
    launcher = FakeLauncher({"synthesis": fails(failure, "row 7: found nothing, expected a prompt")})
    finished = bench.run(a_manifest(bench.folder), launcher)
    assert finished.exit_code == code
    assert launcher.started == ["prepare", "feedback-model", "synthesis"]
    assert states(finished) == {
        "prepare": State.SUCCEEDED,
        "feedback-model": State.SUCCEEDED,
        "synthesis": State.FAILED,
        "policy": State.PENDING,
        "evaluation": State.PENDING,
    }
    assert f"{failure}: row 7: found nothing, expected a prompt" in bench.text


def test_after_a_failure_the_next_run_goes_on_with_the_failed_stage(bench: Bench) -> None:
    manifest = a_manifest(bench.folder)
    bench.run(manifest, FakeLauncher({"policy": fails(FailureClass.ERROR, "no")}))
    launcher = FakeLauncher()
    assert bench.run(manifest, launcher).exit_code == 0
    assert launcher.started == ["prepare", "policy", "evaluation"]
    assert launcher.stages[0].execution.attempt == 2, "attempt numbers are never used again"


def test_prepare_that_refuses_ends_the_run_before_any_stage(bench: Bench) -> None:
    launcher = FakeLauncher(
        prepare_failure=(FailureClass.INVALID_DATA, "feedback.jsonl row 3: response: found nothing")
    )
    finished = bench.run(a_manifest(bench.folder), launcher)
    assert (finished.exit_code, launcher.started) == (65, ["prepare"])
    assert "row 3: response: found nothing" in bench.text


def test_out_of_memory_is_tried_once_more_with_half_the_token_budget(bench: Bench) -> None:
    launcher = FakeLauncher({"policy": fails(FailureClass.OUT_OF_MEMORY, "no memory", times=1)})
    finished = bench.run(a_manifest(bench.folder), launcher)
    assert finished.exit_code == 0
    policies = [stage for stage in launcher.stages if stage.name == "policy"]
    assert [stage.execution.token_budget_halvings for stage in policies] == [0, 1]
    assert policies[0].key == policies[1].key
    record = finished.record.stage("policy")
    assert record is not None
    assert [attempt.failure_class for attempt in record.attempts] == ["OutOfMemory", None]


def test_out_of_memory_twice_is_a_failure(bench: Bench) -> None:
    launcher = FakeLauncher({"policy": fails(FailureClass.OUT_OF_MEMORY, "no memory")})
    assert bench.run(a_manifest(bench.folder), launcher).exit_code == 72
    assert launcher.started.count("policy") == 2


def test_generation_has_no_token_budget_to_halve(bench: Bench) -> None:
    launcher = FakeLauncher({"synthesis": fails(FailureClass.OUT_OF_MEMORY, "no memory")})
    assert bench.run(a_manifest(bench.folder), launcher).exit_code == 72
    assert launcher.started.count("synthesis") == 1


@pytest.mark.parametrize(
    ("exit_code", "log", "code", "words"),
    [
        (-9, "", 72, "killed the process, most likely for memory"),
        (-11, "", 70, "died of SIGSEGV"),
        (3, "", 70, "exit code 3 and without an outcome"),
        (70, '{"message": "boom", "traceback": "Traceback:\\n  File x\\nValueError: seven"}', 70, "ValueError: seven"),
        (64, "error: stage.json: wrong\x1b[31m", 64, "stage.json: wrong\ufffd[31m"),
    ],
)
def test_a_process_that_dies_without_a_word_is_classified(
    bench: Bench, exit_code: int, log: str, code: int, words: str
) -> None:
    finished = bench.run(a_manifest(bench.folder), FakeLauncher({"synthesis": dies(exit_code, log)}))
    assert finished.exit_code == code
    assert words in bench.text


def interrupts(times: int) -> Callable[[], None]:
    left = [times]

    def poll() -> None:
        if left[0] > 0:
            left[0] -= 1
            os.kill(os.getpid(), signal.SIGINT)

    return poll


def test_ctrl_c_lets_the_stage_leave_its_checkpoint_and_the_next_run_goes_on(bench: Bench) -> None:
    manifest = a_manifest(bench.folder)
    launcher = FakeLauncher({"policy": never_ends(interrupts(1))})
    finished = bench.run(manifest, launcher)
    assert finished.exit_code == 130
    assert finished.record.state is State.INTERRUPTED
    record = finished.record.stage("policy")
    assert record is not None
    assert (record.state, record.attempts[0].step) == (State.INTERRUPTED, 3)
    assert "waiting for the stage's checkpoint" in bench.text
    assert f"`boresight run {manifest.path}` goes on from here" in bench.text
    again = FakeLauncher()
    assert bench.run(manifest, again).exit_code == 0
    assert again.started == ["prepare", "policy", "evaluation"]


def test_a_second_ctrl_c_stops_a_stage_that_does_not_answer(bench: Bench) -> None:
    launcher = FakeLauncher({"policy": never_ends(interrupts(2), listens=False)})
    finished = bench.run(a_manifest(bench.folder), launcher)
    assert (finished.exit_code, finished.record.state) == (130, State.INTERRUPTED)


def test_signals_are_ours_only_while_a_run_lasts(bench: Bench) -> None:
    before = signal.getsignal(signal.SIGINT)
    bench.run(a_manifest(bench.folder), FakeLauncher())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_that_is_being_worked_on_is_not_started_twice(bench: Bench) -> None:
    manifest = a_manifest(bench.folder)
    with (
        lock.hold(bench.store.root / "runs/default/first/lock", "default/first (process 4711)"),
        pytest.raises(UserError, match=r"worked on already: default/first \(process 4711\)"),
    ):
        bench.run(manifest, FakeLauncher())


def test_a_stage_at_work_holds_the_lock_of_its_key_under_the_name_of_its_run(bench: Bench) -> None:
    holders = []

    class Looking(FakeLauncher):
        def stage(self, folder: AttemptFolder) -> Process:
            process = super().stage(folder)
            path = bench.store.root / "locks" / f"{self.stages[-1].key}.lock"
            holders.append((lock.is_held(path), lock.holder_of(path).split()[0]))
            return process

    bench.run(a_manifest(bench.folder), Looking())
    assert holders == [(True, "default/first")] * 4


def test_two_runs_that_differ_in_beta_make_one_feedback_model(bench: Bench) -> None:
    launcher = FakeLauncher()
    bench.run(a_manifest(bench.folder, "one"), launcher)
    bench.run(a_manifest(bench.folder, "two", "  policy: {dpo: {beta: '0.3'}}\n"), launcher)
    assert launcher.started.count("feedback-model") == 1
    assert launcher.started.count("policy") == 2


def test_waiting_for_another_run_says_whose_it_is_and_ends_when_it_has_published(bench: Bench) -> None:
    manifest = a_manifest(bench.folder)
    probe = FakeLauncher({"feedback-model": dies(1)})
    bench.run(manifest, probe)
    stage = probe.stages[0]
    holder = lock.hold(bench.store.root / "locks" / f"{stage.key}.lock", "default/other (process 4711)")
    holder.__enter__()
    waiting = "feedback-model: waiting for default/other (process 4711), which works on the same key"

    class Shown(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if line == waiting:
                publish(bench.store, stage)
                holder.__exit__(None, None, None)

    bench.shown = Shown()
    launcher = FakeLauncher()
    assert bench.run(manifest, launcher).exit_code == 0
    assert launcher.started == ["prepare", "synthesis", "policy", "evaluation"]
    assert waiting in bench.shown
    assert "made by another run meanwhile" in bench.text


def test_operational_settings_reach_the_stage_and_change_no_key(bench: Bench) -> None:
    plain, tuned = FakeLauncher(), FakeLauncher()
    bench.run(a_manifest(bench.folder / "a"), plain)
    other = Bench(bench.folder / "other")
    more = "  compute: {tokenBudget: 512}\n  policy: {checkpoint: {everySeconds: 33, keep: 5}}\n"
    other.run(a_manifest(bench.folder / "a", more=more), tuned)
    assert [s.key for s in plain.stages] == [s.key for s in tuned.stages]
    policy = next(stage for stage in tuned.stages if stage.name == "policy")
    assert (policy.execution.token_budget, policy.execution.checkpoint_every_seconds) == (512, 33)
    assert policy.execution.checkpoints_keep == 5


def test_a_store_that_cannot_be_written_is_an_error_that_names_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.folder / "store").write_text("a file, not a folder")
    with pytest.raises(OSError, match="store"):
        bench.run(a_manifest(bench.folder), FakeLauncher())


EVAL_RUN = """\
apiVersion: boresight.dev/v1alpha1
kind: EvalRun
metadata: {name: eval}
spec:
  task: TextToText
  candidate: {uri: embedded://tiny, systemPrompt: Be brief.}
  baselines: [{uri: embedded://tiny}]
  suites: [{name: Verifiable, data: [{uri: file:feedback.jsonl, format: Jsonl}]}]
"""
SYNTHESIS = """\
apiVersion: boresight.dev/v1alpha1
kind: FeedbackSynthesis
metadata: {name: synthesis, namespace: team}
spec:
  task: TextToText
  model: {uri: embedded://tiny}
  feedbackModel: {uri: embedded://tiny}
  prompts: [{uri: file:feedback.jsonl, format: Jsonl}]
"""


@pytest.mark.parametrize(("text", "stage"), [(EVAL_RUN, "evaluation"), (SYNTHESIS, "synthesis")])
def test_the_other_kinds_run_as_the_same_stages(bench: Bench, text: str, stage: str) -> None:
    path = a_manifest_file(bench.folder).with_name("other.yaml")
    path.write_text(text)
    launcher = FakeLauncher()
    manifest = read_manifest(path)
    finished = bench.run(manifest, launcher)
    assert finished.exit_code == 0
    assert launcher.started == ["prepare", stage]
    assert finished.folder.path == bench.store.root / "runs" / manifest.namespace / manifest.name


def test_status_shows_how_far_a_running_stage_is(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    class Watched(FakeLauncher):
        def stage(self, folder: AttemptFolder) -> Process:
            process = super().stage(folder)
            for document in ({}, {"phase": "train", "step": 3, "totalSteps": 9, "remainingSeconds": 75}):
                folder.progress.write_text(json.dumps(document))
                assert main(["status", "--store", str(bench.store.root)]) == 0
                seen.append(capsys.readouterr().out)
            return process

    bench.run(a_manifest(bench.folder, more="  stopAfter: FeedbackModel\n"), Watched())
    assert "Running" in seen[0]
    assert "starting" in seen[0]
    assert "train 3/9, 1 min 15 s left" in seen[1]


def test_a_record_that_cannot_be_read_is_no_reason_to_lose_it(bench: Bench) -> None:
    manifest = a_manifest(bench.folder)
    finished = bench.run(manifest, FakeLauncher())
    finished.folder.record_path.write_text("{")
    with pytest.raises(UserError, match="delete the file"):
        bench.run(manifest, FakeLauncher())
