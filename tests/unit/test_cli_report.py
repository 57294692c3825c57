"""The report: what it says, what it must not hide, and that nothing in it can escape."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from boresight.local.display import LineDisplay
from boresight.local.run import Finished, run_manifest
from boresight.main import main
from boresight.report.examples import chosen, final_examples, synthesis_examples
from boresight.report.headline import Refinement, Share, headline, percent, points
from boresight.report.write import Report, make_report
from boresight.results import parse_results
from boresight_api.execution import Stage
from boresight_api.outcome import FailureClass, Outcome, OutcomeStatus
from boresight_trainer.store.file import FileStore
from builders_cli import AttemptFolder, FakeLauncher, FakeProcess, Process, a_manifest, a_results_document, fails, leave
from builders_cli import publish as publish_artifact

EVIL = "</div><script>alert('x')</script><img src=x onerror=alert(1)>"


def shares(response: float, refined: float, low: float, high: float) -> dict[str, Any]:
    """``metrics.refinement`` of a synthesis artifact."""

    def share(value: float, low: float, high: float) -> dict[str, Any]:
        return {"value": value, "low": low, "high": high, "n": 160}

    return {
        "response": share(response, response - 0.08, response + 0.08),
        "refined": share(refined, refined - 0.08, refined + 0.08),
        "difference": share(refined - response, low, high),
    }


def a_record(name: str, verdict: str = "kept", text: str = "the Nile") -> dict[str, Any]:
    return {
        "id": name,
        "prompt": [{"role": "user", "content": f"Name rivers. {text}"}],
        "response": text,
        "critique": f"##Critique: {text}",
        "refinedResponse": f"{text} and the Rhine",
        "verdict": verdict,
        "responseSatisfied": [True, False],
        "refinedSatisfied": [True, True],
    }


def a_sample(name: str, model: str, text: str) -> dict[str, Any]:
    return {
        "doc_id": 0,
        "doc": {"id": name, "messages": [{"role": "user", "content": f"Describe rain. {text}"}]},
        "filter": model,
        "resps": [[text]],
        "satisfied": [True],
    }


def publishing(refinement: dict[str, Any] | None = None, text: str = "the Nile", **results: Any) -> FakeLauncher:
    """A launcher whose stages leave what real ones leave."""

    def behave(stage: Stage, folder: AttemptFolder) -> Process:
        files = {
            "metrics.jsonl": "\n".join(json.dumps({"step": i, "loss": 2 / i, "learningRate": 1e-4}) for i in (1, 2, 3))
        }
        metrics: dict[str, Any] = {"headline": {"holdoutLoss": "1.2"}}
        if stage.name == "synthesis":
            records = [a_record(f"row:{i}", "kept" if i % 3 else "identical", text) for i in range(12)]
            files = {"synthesis.jsonl": "\n".join(map(json.dumps, records)), "pairs.jsonl": ""}
            metrics |= {"items": 12, "pairs": 8, "filters": {"identical": {"matched": 4, "action": "Drop"}}}
            metrics |= {"refinement": refinement} if refinement else {}
        if stage.name == "evaluation":
            samples = [a_sample("eval:1", model, f"{model}: {text}") for model in ("policy", "warm-start", "initial")]
            files = {
                "results.json": json.dumps(a_results_document(**results)),
                "samples_Verifiable.jsonl": "\n".join(map(json.dumps, samples)),
            }

        def act() -> None:
            store = FileStore(stage.execution.storage)
            publish_artifact(store, stage, files, **metrics)
            artifact = {"uri": store.artifact_uri(stage.key), "digest": store.digest(stage.key)}
            leave(folder, Outcome(status=OutcomeStatus.SUCCEEDED, stage=stage.name, key=stage.key, artifact=artifact))

        return FakeProcess(act=act)

    stages = ("feedback-model", "synthesis", "policy", "evaluation")
    return FakeLauncher(dict.fromkeys(stages, behave))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def a_run(tmp_path: Path, launcher: FakeLauncher) -> Finished:
    return run_manifest(
        a_manifest(tmp_path),
        FileStore((tmp_path / "store").as_uri()),
        make_display=lambda width: LineDisplay(width, write=lambda _: None),
        make_launcher=lambda _: launcher,
    )


def report_on(finished: Finished) -> Report:
    return make_report(finished.record, FileStore(finished.folder.store.as_uri()))


def page_of(tmp_path: Path, launcher: FakeLauncher) -> str:
    return report_on(a_run(tmp_path, launcher)).page


class Outline(HTMLParser):
    """Checks that elements nest, and collects tags, references and text."""

    VOID = ("meta", "br", "img", "line", "rect", "circle", "path", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    assert found.open == []
    return found


def test_the_page_is_whole_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    found = outline(page_of(tmp_path, publishing(shares(0.3, 0.4, 0.02, 0.18))))
    assert found.references == []
    assert "script" not in found.tags
    assert {"svg", "table", "style"} <= found.tags
    for title in ("Results", "Pipeline", "From feedback to better answers", "Before and after", "Training"):
        assert title in found.text


def test_it_says_what_was_measured(tmp_path: Path) -> None:
    text = outline(page_of(tmp_path, publishing(shares(0.3, 0.4, 0.02, 0.18)))).text
    for words in (
        "57%",
        "95% interval [49%, 65%]",
        "+9 points",
        "95% interval [+2, +16]",
        "aligned minus warm-started",
    ):
        assert words in text
    assert "12 items in, 8 pairs out" in text
    assert "kind=json" in text
    assert "Paired difference: +10 points [+2, +18]." in text


def test_every_digest_is_on_the_page(tmp_path: Path) -> None:
    finished = a_run(tmp_path, publishing())
    page = report_on(finished).page
    for stage in finished.record.stages[1:]:
        assert str(stage.key) in page
        assert str(stage.digest) in page
    for source in finished.record.sources:
        assert str(source.digest) in page
    assert str(finished.record.plan) in page


def test_texts_of_models_and_data_cannot_escape(tmp_path: Path) -> None:
    found = outline(page_of(tmp_path, publishing(text=EVIL)))
    assert {"script", "img"}.isdisjoint(found.tags)
    assert EVIL in found.text


@pytest.mark.parametrize(
    ("refined", "low", "high", "kind"),
    [(0.28, -0.07, 0.03, "bad"), (0.30, -0.05, 0.05, "bad"), (0.34, -0.01, 0.09, "warn"), (0.40, 0.02, 0.18, None)],
)
def test_that_refining_did_not_help_is_said_first(
    tmp_path: Path, refined: float, low: float, high: float, kind: str | None
) -> None:
    page = page_of(tmp_path, publishing(shares(0.30, refined, low, high)))
    notices = re.findall(r'class="notice (\w+)"', page)
    assert notices == ([kind] if kind else [])
    if kind == "bad":
        assert page.index("not better than the responses y") < page.index('class="figures"')


def test_an_unfit_suite_is_named_at_the_top(tmp_path: Path) -> None:
    page = page_of(tmp_path, publishing(unfit=("planted winners found 55%",)))
    assert page.index("planted winners found 55%") < page.index("<h2>")


def test_a_run_that_failed_half_way_still_has_a_report(tmp_path: Path) -> None:
    launcher = publishing()
    launcher.behaviour["policy"] = fails(FailureClass.DIVERGED, "step 3: nan")
    found = outline(page_of(tmp_path, launcher))
    assert "Failed" in found.text
    assert "From feedback to better answers" in found.text
    assert "Before and after" not in found.text


def test_a_run_before_its_first_artifact_has_a_report(tmp_path: Path) -> None:
    page = page_of(tmp_path, FakeLauncher(prepare_failure=(FailureClass.INVALID_DATA, "no")))
    assert "Pipeline" in outline(page).text


def test_results_lie_next_to_the_page_as_json(tmp_path: Path) -> None:
    target = tmp_path / "out" / "page.html"
    report_on(a_run(tmp_path, publishing())).write(target)
    assert outline(target.read_text()).text
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["run"]["name"] == "first"
    assert any(row["name"] == "promptShareDifference" for row in document["results"])


def test_the_command_prints_the_numbers_and_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(tmp_path, publishing(shares(0.46, 0.44, -0.07, 0.03)))
    assert main(["report", "--store", str(tmp_path / "store")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "pass rate: prompts with every constraint satisfied, n = 160, with 95% intervals",
        "  base            29%  [22%, 36%]",
        "  warm-started    48%  [40%, 56%]",
        "  aligned         57%  [49%, 65%]",
        "what the feedback brought (aligned minus warm-started): +9 points [+2, +16]",
    ]
    assert lines[5].startswith("on the synthesis prompts: y passes 46%, y* 44%, difference −2 points [−7, +3], n = 160")
    assert lines[6].startswith("The refined responses y* are not better")
    assert lines[-1] == f"report: {tmp_path / 'store/runs/default/first/report.html'}"


def test_without_a_warm_start_the_base_is_what_is_compared_with() -> None:
    results = parse_results(
        a_results_document({"initial": (0.3, 0.2, 0.4), "policy": (0.4, 0.3, 0.5)}, {"initial": (0.1, 0.01, 0.19)})
    )
    top = headline(results, None)
    assert [figure.label for figure in top.figures] == ["Base model", "Aligned model", "What the feedback brought"]
    assert top.figures[-1].note == "aligned minus base, paired"


def test_nothing_measured_is_nothing_said() -> None:
    assert headline(None, None).lines == ()


def test_a_refinement_without_interval_is_told_without_one() -> None:
    one = Share(1.0, None, None, 1)
    top = headline(None, Refinement(Share(0.0, None, None, 1), one, one))
    assert top.lines == ("on the synthesis prompts: y passes 0%, y* 100%, difference +100 points, n = 1",)


def test_shares_and_points_are_rounded_as_far_as_they_say_something() -> None:
    assert [percent(v) for v in (0.0, 0.031, 0.0996, 0.57, 1.0)] == ["0%", "3.1%", "10%", "57%", "100%"]
    assert [points(v) for v in (0.09, -0.025, 0.0, 0.0004)] == ["+9", "−2.5", "0", "0"]


def test_examples_are_the_same_in_every_report_and_show_dropped_items_too() -> None:
    ids = [f"row:{i}" for i in range(50)]
    assert chosen(ids) == chosen(reversed(ids))
    records = [a_record(name, "kept" if i % 2 else "truncated") for i, name in enumerate(ids)]
    notes = [example.note for example in synthesis_examples(records)]
    assert notes == ["kept as a pair"] * 4 + ["dropped: truncated"] * 2


def test_an_item_without_critique_or_refinement_shows_what_there_is() -> None:
    record = {**a_record("row:1", "maxLength"), "critique": None, "refinedResponse": None, "refinedSatisfied": None}
    (example,) = synthesis_examples([record])
    assert [step.label for step in example.steps] == ["Prompt x", "Response y"]


def test_a_prompt_that_a_model_was_not_asked_shows_the_others_answers() -> None:
    unasked = {**a_sample("e", "policy", ""), "resps": [[]]}
    (example,) = final_examples([unasked, a_sample("e", "initial", "rain falls")], "policy")
    assert [step.text for step in example.steps[1:]] == ["rain falls"]


def test_models_stand_in_the_order_base_warm_started_aligned() -> None:
    (example,) = final_examples([a_sample("e", m, m) for m in ("policy", "initial", "warm-start")], "policy")
    assert [step.label for step in example.steps] == ["Prompt x", "base", "warm-started", "aligned"]
