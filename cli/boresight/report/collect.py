"""From a run's record and its artifacts to a :class:`Report`. Reads files; decides what is shown, not how it looks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight_api.artifact import ArtifactKind, ArtifactManifest
from boresight_trainer.store.base import Store

from ..artifact import METRICS_FILE
from ..records import RunRecord, StageRecord
from ..results import RESULTS_FILE, Results, read_results
from ..text import duration, plural
from .charts import Series
from .examples import final_examples, synthesis_examples
from .headline import Headline, candidate_of, headline, read_refinement
from .model import Curve, Example, Report, StageView, Table
from .scores import forests, refinement_forest, tables

WHAT = {
    "prepare": "pins the sources, checks the data, looks into the store",
    "warm-start": "fine-tunes the initial model on demonstrations",
    "feedback-model": "learns to criticise answers",
    "synthesis": "answers y, critiques c, refined answers y*",
    "policy": "direct preference optimisation on the pairs",
    "evaluation": "measures all models on the same prompts",
}
CURVES = {
    "loss": "loss",
    "rewardMargin": "reward margin, chosen minus rejected",
    "rewardAccuracy": "reward accuracy, share of pairs",
    "learningRate": "learning rate",
    "gradNorm": "gradient norm before clipping",
}
SMOOTH = {"learningRate"}
FILTERS = {
    "maxLength": "no room left for c or y*",
    "unparsable": "c has no critique or no advice",
    "keepIt": "c says that nothing should change",
    "truncated": "y* was cut at maxTokens",
    "minTokens": "y* is too short",
    "identical": "y* equals y",
    "refusal": "y* declines to answer",
    "leaked": "y* talks about the critique",
}


@dataclass(frozen=True)
class Finished:
    """A finished stage with its artifact."""

    stage: StageRecord
    manifest: ArtifactManifest
    store: Store

    def file(self, name: str) -> Path | None:
        """One file of the artifact on this machine, checked; None if it has none of that name."""
        listed = any(file.path == name for file in self.manifest.files)
        return self.store.file(self.manifest.key, name) if listed else None


def collect(record: RunRecord, store: Store) -> tuple[Report, Headline, Results | None]:
    """The report on ``record``, with what of it exists."""
    finished = tuple(_finished(record, store))
    evaluation = _of_kind(finished, ArtifactKind.EVALUATION)
    pairs = _of_kind(finished, ArtifactKind.PAIRS)
    measured = evaluation.file(RESULTS_FILE) if evaluation is not None else None
    results = read_results(measured) if measured is not None else None
    refinement = read_refinement(pairs.manifest.metrics) if pairs is not None else None
    top = headline(results, refinement)
    report = Report(
        title=record.name,
        subtitle=" · ".join(_subtitle(record)),
        state=record.state.value,
        notices=top.notices,
        figures=top.figures,
        stages=tuple(_stage_views(record, finished)),
        results=(
            *(forests(results) if results is not None else ()),
            *((refinement_forest(refinement),) if refinement is not None else ()),
        ),
        measures=tuple(tables(results)) if results is not None else (),
        filters=tuple(_filters(pairs)) if pairs is not None else (),
        curves=tuple(_curves(finished)),
        synthesis_examples=synthesis_examples(_lines(pairs.file("synthesis.jsonl"))) if pairs is not None else (),
        final_examples=_final_examples(evaluation, results),
        digests=tuple(_digests(record, finished)),
        manifest=_manifest_text(record.manifest),
        footer=_footer(record),
    )
    return report, top, results


def _finished(record: RunRecord, store: Store) -> Iterator[Finished]:
    for stage in record.stages:
        if stage.key is not None and stage.state.done and (manifest := store.manifest(stage.key)) is not None:
            yield Finished(stage, manifest, store)


def _of_kind(finished: Sequence[Finished], kind: ArtifactKind) -> Finished | None:
    return next((item for item in finished if item.manifest.kind is kind), None)


# -- head ------------------------------------------------------------------------------------------------------------


def _subtitle(record: RunRecord) -> Iterator[str]:
    spec = record.manifest.get("spec", {})
    method = spec.get("method", {})
    yield f"{record.kind} {record.namespace}/{record.name}"
    yield str(spec.get("task", ""))
    if record.kind == "AlignmentRun":
        yield f"{method.get('feedback', 'Language')} feedback, {method.get('algorithm', 'DPO')}"
        yield str(spec.get("model", {}).get("uri", ""))
    yield record.started_at.replace("T", " ").replace("Z", " UTC")


def _stage_views(record: RunRecord, finished: Sequence[Finished]) -> Iterator[StageView]:
    manifests = {item.stage.name: item.manifest for item in finished}
    for stage in record.stages:
        manifest = manifests.get(stage.name)
        seconds = stage.seconds or (manifest.wall_seconds if manifest else None)
        facts = [f"{name} {value}" for name, value in stage.metrics[:3]]
        if stage.attempt_count > 1:
            facts.append(plural(stage.attempt_count, "attempt"))
        what = WHAT.get(stage.name, stage.recipe)
        yield StageView(stage.name, what, stage.state.value, stage.key, seconds, tuple(facts))


# -- synthesis, training, examples -----------------------------------------------------------------------------------


def _filters(pairs: Finished) -> Iterator[Table]:
    metrics = pairs.manifest.metrics
    rows = []
    for name, entry in _mapping(metrics.get("filters")).items():
        counts = _mapping(entry)
        action = "dropped" if counts.get("action") == "Drop" else "counted, kept"
        rows.append((name, FILTERS.get(name, ""), f"{counts.get('matched', 0):,}", action))
    note = f"{metrics.get('items', 0):,} items in, {metrics.get('pairs', 0):,} pairs out. An item may match several."
    yield Table(
        "Filters: which items became pairs", ("filter", "matches", "items", "these are"), tuple(rows), (2,), note
    )


def _curves(finished: Sequence[Finished]) -> Iterator[Curve]:
    for item in finished:
        lines = [line for line in _lines(item.file(METRICS_FILE)) if "step" in line]
        for name, title in CURVES.items():
            values = [
                (float(line["step"]), float(line[name])) for line in lines if isinstance(line.get(name), int | float)
            ]
            if len(values) > 1:
                yield Curve(item.stage.name, title, (Series(name, tuple(values), noisy=name not in SMOOTH),))


def _final_examples(evaluation: Finished | None, results: Results | None) -> tuple[Example, ...]:
    suites = results.suites("Verifiable") if results is not None else []
    if evaluation is None or results is None or not suites:
        return ()
    samples = _lines(evaluation.file(f"samples_{suites[0]}.jsonl"))
    return final_examples(samples, candidate_of(results, suites[0]))


# -- provenance ------------------------------------------------------------------------------------------------------


def _digests(record: RunRecord, finished: Sequence[Finished]) -> Iterator[Table]:
    yield Table(
        "Sources, as they were read",
        ("uri", "digest", "revision", "rows", "licence"),
        tuple(
            (s.uri, s.digest or "", s.revision or "", "" if s.rows is None else f"{s.rows:,}", s.licence or "")
            for s in record.sources
        ),
        (3,),
    )
    yield Table(
        "Artifacts",
        ("stage", "key", "digest of the manifest", "made", "in"),
        tuple(
            (
                i.stage.name,
                i.stage.key or "",
                i.manifest.digest(),
                i.manifest.created_at,
                duration(i.manifest.wall_seconds),
            )
            for i in finished
        ),
        (3, 4),
    )
    versions = {
        f"{name} {version}"
        for item in finished
        for name, version in _mapping(item.manifest.environment.get("versions")).items()
    }
    machines = {
        f"{i.manifest.environment.get('machine')}, {i.manifest.environment.get('cpus')} cores" for i in finished
    }
    rows = (("software", ", ".join(sorted(versions))), ("machine", "; ".join(sorted(machines))))
    if finished:
        yield Table("What computed it", ("", ""), rows)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _manifest_text(manifest: Mapping[str, Any]) -> str:
    from boresight_api.documents import dump_yaml

    return dump_yaml(manifest) if manifest else ""


def _footer(record: RunRecord) -> str:
    return (
        f"Written by Boresight from the record of {record.namespace}/{record.name} and its artifacts in "
        f"{record.store}. Plan {record.plan or 'unknown'}."
    )


def _lines(path: Path | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
