# ruff: noqa: E501  the corpus reads best one case a line
"""Manifests for tests: small ones to start from, 20 whose keys are frozen, and a corpus of refused ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from boresight_api.kinds import Run
from boresight_api.manifest import parse_manifest
from boresight_api.pins import Pin
from boresight_api.plan import Plan, plan
from boresight_api.resolve import merged

Document = dict[str, Any]

KEY = "0123456789abcdef" * 4
DIGEST = "sha256:" + "ab" * 32
FEEDBACK = {"uri": "file:///data/feedback.jsonl", "format": "Jsonl"}


def manifest(kind: str, spec: Document, *, name: str = "first") -> Document:
    """A document of one kind."""
    return {"apiVersion": "boresight.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def an_alignment_run(**spec: Any) -> Document:
    """The smallest AlignmentRun, with ``spec`` merged over it."""
    smallest = {
        "task": "TextToText",
        "model": {"uri": "hf://Qwen/Qwen2.5-0.5B-Instruct"},
        "data": {"feedback": [dict(FEEDBACK)]},
    }
    return manifest("AlignmentRun", merged(smallest, copy.deepcopy(spec)))


def a_synthesis(**spec: Any) -> Document:
    """The smallest FeedbackSynthesis, with ``spec`` merged over it."""
    smallest = {
        "task": "TextToText",
        "model": {"uri": "hf://Qwen/Qwen2.5-0.5B-Instruct"},
        "feedbackModel": {"uri": f"artifact://{KEY}"},
        "prompts": [dict(FEEDBACK)],
    }
    return manifest("FeedbackSynthesis", merged(smallest, copy.deepcopy(spec)))


def an_eval_run(**spec: Any) -> Document:
    """The smallest EvalRun, with ``spec`` merged over it."""
    smallest = {
        "task": "TextToText",
        "candidate": {"uri": f"artifact://{KEY}"},
        "baselines": [{"uri": "hf://Qwen/Qwen2.5-0.5B-Instruct"}],
        "suites": [{"name": "Verifiable", "data": [{"uri": "file:///data/eval.jsonl", "format": "Jsonl"}]}],
    }
    return manifest("EvalRun", merged(smallest, copy.deepcopy(spec)))


class EverythingPinned(dict[str, Pin]):
    """Pins for whatever is asked. By default all sources have one content, so that where they lie makes no difference."""

    def __init__(self, *, distinct: bool = False) -> None:
        super().__init__()
        self._distinct = distinct

    def get(self, source: str, default: Any = None) -> Pin:  # type: ignore[override]
        digest = f"sha256:{source * 4}" if self._distinct else DIGEST
        return Pin(id=source, digest=digest, revision="c" * 40)


def planned(document: Document, *, distinct: bool = True) -> Plan:
    """The plan of ``document`` with all sources pinned."""
    return plan(parse_manifest(document), EverythingPinned(distinct=distinct))


def keys(document: Document, *, distinct: bool = False) -> dict[str, str]:
    """Stage -> key, all sources pinned."""
    found = {stage.name: stage.key for stage in planned(document, distinct=distinct).stages}
    assert None not in found.values()
    return {name: key for name, key in found.items() if key is not None}


def run_of(document: Document) -> Run:
    """The parsed run."""
    return parse_manifest(document)


_WARM = {"data": [{"uri": "file:///data/dialogues.jsonl", "format": "Jsonl"}]}
_JUDGED = {"name": "Pairwise", "judge": {"uri": "artifact://tags/judge-v3"}}

GOLDEN: dict[str, Document] = {
    "smallest": an_alignment_run(),
    "seed": an_alignment_run(seed=7),
    "beta": an_alignment_run(policy={"dpo": {"beta": "0.3"}}),
    "losses": an_alignment_run(policy={"dpo": {"loss": "SimPO"}}),
    "lora-policy": an_alignment_run(
        policy={"training": {"tuning": "LoRA", "lora": {"rank": 8, "layers": "UpperThird"}}}
    ),
    "full-feedback-model": an_alignment_run(feedbackModel={"training": {"tuning": "Full", "epochs": 1}}),
    "other-critic": an_alignment_run(feedbackModel={"model": {"uri": "hf://Qwen/Qwen2.5-1.5B-Instruct"}}),
    "warm-start": an_alignment_run(warmStart=_WARM),
    "named-holdout": an_alignment_run(data={"holdout": [{"uri": "file:///data/val.jsonl"}]}),
    "holdout-split": an_alignment_run(data={"holdoutSplit": {"percent": 20, "maxRows": 32}}),
    "own-prompts": an_alignment_run(data={"prompts": [{"uri": "file:///data/prompts.jsonl", "limit": 100}]}),
    "mixture": an_alignment_run(
        data={
            "feedback": [
                {**FEEDBACK, "weight": "0.5", "limit": "25%"},
                {"uri": "hf://datasets/a/b", "format": "AlignAnything"},
            ]
        }
    ),
    "templates-and-prompts": an_alignment_run(model={"chatTemplate": "{{ messages }}", "systemPrompt": "Be brief."}),
    "synthesis-options": an_alignment_run(
        synthesis={
            "samplesPerPrompt": 2,
            "critiquesPerResponse": 2,
            "refineFrom": "Critique",
            "sampling": {"temperature": "0.7", "topP": "0.9", "maxTokens": 64},
            "refinementSampling": {"temperature": 0},
            "filters": {"identical": "Keep", "minTokens": 4},
        }
    ),
    "suites": an_alignment_run(
        warmStart=_WARM, evaluation={"suites": [{"name": "Holdout"}, {"name": "Verifiable", "maxPrompts": 50}, _JUDGED]}
    ),
    "endpoint-judge": an_alignment_run(
        evaluation={
            "suites": [{"name": "Pairwise", "judge": {"endpoint": "https://x/v1", "model": "m", "revision": "1"}}]
        }
    ),
    "binary": an_alignment_run(
        method={"feedback": "Binary"}, evaluation={"suites": [{"name": "Verifiable"}]}, export={"precision": "FP32"}
    ),
    "synthesis-alone": a_synthesis(),
    "synthesis-holdout": a_synthesis(holdoutSplit={"percent": 5}, samplesPerPrompt=4),
    "evaluation-alone": an_eval_run(),
}
"""Manifests whose keys are frozen in ``unit/golden_keys.json``."""


@dataclass(frozen=True)
class Refused:
    """A manifest that must not be accepted, and the line that says why."""

    name: str
    document: Document
    message: str
    """What the message begins with, or contains after the path."""
    at_admission: bool = True
    """Whether the CRD's schema and rules already refuse it."""


def _without(document: Document, *path: str) -> Document:
    result = copy.deepcopy(document)
    holder = result
    for part in path[:-1]:
        holder = holder[part]
    del holder[path[-1]]
    return result


def refused() -> Iterator[Refused]:
    """The corpus: what strict loading refuses, and (where ``at_admission``) the API server too."""
    run = an_alignment_run
    yield Refused(
        "float",
        run(policy={"training": {"learningRate": 2e-5}}),
        'spec.policy.training.learningRate: found the number 2e-05, write "2e-5" with quotes',
    )
    yield Refused(
        "float-beta",
        run(policy={"dpo": {"beta": 0.1}}),
        'spec.policy.dpo.beta: found the number 0.1, write "0.1" with quotes',
    )
    yield Refused(
        "decimal-words",
        run(policy={"dpo": {"beta": "a lot"}}),
        'spec.policy.dpo.beta: found "a lot", expected a decimal',
    )
    yield Refused(
        "decimal-range",
        run(policy={"training": {"beta1": 2}}),
        "spec.policy.training.beta1: found 2, expected a number from 0 to 1",
    )
    yield Refused(
        "zero-beta", run(policy={"dpo": {"beta": "0.0"}}), "spec.policy.dpo.beta: found 0, expected a number above 0"
    )
    yield Refused(
        "unknown-field", run(policy={"trainng": {}}), 'spec.policy.trainng: found an unknown field, expected "training"'
    )
    yield Refused("unknown-top", {**run(), "sepc": {}}, 'sepc: found an unknown field, expected "spec"')
    yield Refused("task-abbreviation", run(task="TI2T"), "did you mean TextImageToText?")
    yield Refused("task-case", run(task="texttotext"), "did you mean TextToText?")
    yield Refused(
        "enum",
        run(policy={"training": {"tuning": "lora"}}),
        'spec.policy.training.tuning: found "lora", expected one of LoRA, Full, did you mean LoRA?',
    )
    yield Refused("missing-task", _without(run(), "spec", "task"), "spec.task: found nothing")
    yield Refused("missing-model", _without(run(), "spec", "model"), "spec.model: found nothing")
    yield Refused(
        "no-feedback", run(data={"feedback": []}), "spec.data.feedback: found a list, expected at least 1 item"
    )
    yield Refused(
        "quoted-integer",
        run(policy={"training": {"epochs": "3"}}),
        'spec.policy.training.epochs: found the text "3", expected a whole number',
    )
    yield Refused("fractional-integer", run(seed=1.5), "spec.seed: found the number 1.5, expected a whole number")
    yield Refused(
        "zero-epochs",
        run(policy={"training": {"epochs": 0}}),
        "spec.policy.training.epochs: found the number 0, expected at least 1",
    )
    yield Refused("boolean-word", run(suspend="yes"), 'spec.suspend: found "yes", expected true or false')
    yield Refused(
        "uri-without-scheme", run(model={"uri": "Qwen/Qwen2.5"}), 'spec.model.uri: found "Qwen/Qwen2.5", expected hf://'
    )
    yield Refused("uri-file-host", run(model={"uri": "file://models/x"}), 'spec.model.uri: found "file://models/x"')
    yield Refused("uri-short-key", run(model={"uri": "artifact://9f3c"}), 'spec.model.uri: found "artifact://9f3c"')
    yield Refused(
        "digest", run(model={"digest": "sha256:12"}), 'spec.model.digest: found "sha256:12", expected sha256: and 64'
    )
    yield Refused(
        "limit",
        run(data={"feedback": [{**FEEDBACK, "limit": "0.25"}]}),
        'spec.data.feedback[0].limit: found "0.25", expected a number of rows',
    )
    yield Refused(
        "limit-zero", run(data={"feedback": [{**FEEDBACK, "limit": 0}]}), "spec.data.feedback[0].limit: found"
    )
    yield Refused(
        "holdout-twice",
        run(data={"holdout": [FEEDBACK], "holdoutSplit": {}}),
        "spec.data: found holdout and holdoutSplit",
    )
    yield Refused("reward-model-with-dpo", run(rewardModel={}), "spec: rewardModel goes with method.algorithm PPO")
    yield Refused("ppo-with-dpo", run(policy={"ppo": {}}), "spec: policy.ppo goes with method.algorithm PPO")
    yield Refused("dpo-with-ppo", run(method={"algorithm": "PPO"}, policy={"dpo": {}}), "spec: policy.dpo goes with")
    yield Refused(
        "two-rewards",
        run(method={"algorithm": "PPO"}, rewardModel={}, policy={"ppo": {"reward": {"verifier": "v"}}}),
        "spec: found rewardModel and policy.ppo.reward",
    )
    yield Refused(
        "critic-with-binary", run(method={"feedback": "Binary"}, feedbackModel={}), "spec: feedbackModel goes with"
    )
    yield Refused(
        "synthesis-with-binary", run(method={"feedback": "Binary"}, synthesis={}), "spec: synthesis goes with"
    )
    yield Refused(
        "lora-with-full",
        run(policy={"training": {"tuning": "Full", "lora": {}}}),
        "spec.policy.training.lora: found adapters with tuning Full",
    )
    yield Refused(
        "two-judges",
        run(
            evaluation={
                "suites": [{"name": "Pairwise", "judge": {"uri": "hf://a/b", "endpoint": "http://x", "model": "m"}}]
            }
        ),
        "spec.evaluation.suites[0].judge: expected either uri or endpoint",
    )
    yield Refused(
        "endpoint-without-model",
        run(evaluation={"suites": [{"name": "Pairwise", "judge": {"endpoint": "http://x"}}]}),
        "spec.evaluation.suites[0].judge: expected model",
    )
    yield Refused(
        "suites-named-alike",
        run(evaluation={"suites": [{"name": "Verifiable"}, {"name": "Verifiable"}]}),
        'spec.evaluation.suites[1]: found "Verifiable" twice',
    )
    yield Refused(
        "baselines-named-alike",
        an_eval_run(baselines=[{"uri": "hf://a/b", "name": "x"}, {"uri": "hf://a/c", "name": "x"}]),
        'spec.baselines[1].name: found "x" twice',
    )
    yield Refused(
        "baseline-named-candidate",
        an_eval_run(candidate={"uri": "hf://a/b", "name": "baseline"}),
        'spec.baselines[0].name: found "baseline" twice',
    )
    yield Refused(
        "reserved-environment",
        run(compute={"podTemplate": {"env": [{"name": "LD_PRELOAD", "value": "x"}]}}),
        'spec.compute.podTemplate.env[0].name: found "LD_PRELOAD"; ',
    )
    yield Refused(
        "environment-twice",
        run(compute={"podTemplate": {"env": [{"name": "A", "value": "x", "valueFrom": {}}]}}),
        "spec.compute.podTemplate.env[0]: found value and valueFrom",
    )
    yield Refused(
        "host-path",
        run(compute={"podTemplate": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}}),
        "spec.compute.podTemplate.volumes[0].hostPath: found an unknown field",
    )
    yield Refused(
        "volume-of-two-kinds",
        run(compute={"podTemplate": {"volumes": [{"name": "a", "emptyDir": {}, "secret": {"secretName": "s"}}]}}),
        "spec.compute.podTemplate.volumes[0]: expected exactly one of",
    )
    yield Refused(
        "service-account",
        run(compute={"podTemplate": {"serviceAccountName": "admin"}}),
        "spec.compute.podTemplate.serviceAccountName: found an unknown field",
    )
    yield Refused(
        "resource-name",
        run(compute={"resources": {"requests": {"gpu": 1}}}),
        'spec.compute.resources.requests.gpu: found "gpu", expected one of cpu, memory',
    )
    yield Refused(
        "token-budget",
        run(compute={"tokenBudget": "lots"}),
        "spec.compute.tokenBudget: found 'lots', expected a number of tokens or",
    )
    yield Refused("storage-scheme", run(storage={"uri": "gs://b/p"}), 'spec.storage.uri: found "gs://b/p"')
    yield Refused("long-name", {**run(), "metadata": {"name": "x" * 64}}, "metadata.name: found")
    yield Refused(
        "dotted-name", {**run(), "metadata": {"name": "a.b"}}, 'metadata.name: found "a.b", expected lower-case letters'
    )
    yield Refused(
        "kind",
        {**run(), "kind": "AlignmentRuns"},
        'kind: found "AlignmentRuns", expected one of AlignmentRun, FeedbackSynthesis, EvalRun, did you mean AlignmentRun?',
        at_admission=False,
    )
    yield Refused(
        "version",
        {**run(), "apiVersion": "boresight.dev/v1"},
        'apiVersion: found "boresight.dev/v1", expected boresight.dev/v1alpha1',
        at_admission=False,
    )
    yield Refused("spec-is-text", {**run(), "spec": "x"}, 'spec: found "x", expected a mapping')
    yield Refused(
        "label-key",
        run(compute={"podTemplate": {"nodeSelector": {"-a": "b"}}}),
        "spec.compute.podTemplate.nodeSelector",
        at_admission=False,
    )
    yield Refused(
        "variable-twice",
        run(compute={"podTemplate": {"env": [{"name": "A"}, {"name": "A"}]}}),
        'spec.compute.podTemplate.env[1]: found "A" twice',
    )
    yield Refused(
        "column-role",
        run(data={"feedback": [{**FEEDBACK, "columns": {"refinement": "x"}}]}),
        'spec.data.feedback[0].columns.refinement: found "refinement", expected one of id, prompt',
    )
