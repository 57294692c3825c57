"""What a namespace's settings do not allow, each by field; and what they do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from boresight_operator.objects import forbidden
from boresight_operator.settings import Limits, NamespaceSettings
from builders_manifests import an_alignment_run, an_eval_run
from builders_objects import POD_TEMPLATE, SETTINGS, STORE, observed, stored

DIGEST = "registry.example/trainer@sha256:" + "ab" * 32
GENEROUS = SETTINGS.overlaid(
    {
        "allowed_images": ("registry.example/*",),
        "allowed_priority_classes": ("research",),
        "allowed_runtime_classes": ("nvidia",),
        "allowed_tolerations": ("gpu",),
        "allowed_read_from": ("s3://shared",),
    }
)


def problems(document: dict[str, Any], settings: NamespaceSettings = GENEROUS) -> list[str]:
    return [str(problem) for problem in forbidden(observed(document, settings))]


def with_pods(**template: Any) -> dict[str, Any]:
    return stored(an_alignment_run(compute={"podTemplate": template}))


def test_the_smallest_run_needs_no_permission() -> None:
    assert problems(stored(an_alignment_run()), SETTINGS) == []


def test_everything_that_is_allowed_is_allowed() -> None:
    assert problems(stored(an_alignment_run(compute={"podTemplate": POD_TEMPLATE}))) == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            with_pods(image="elsewhere.example/miner"),
            'spec.compute.podTemplate.image: found "elsewhere.example/miner", expected registry.example/trainer:1 or '
            "registry.example/*, ask who runs the operator",
        ),
        (
            with_pods(priorityClassName="top"),
            'spec.compute.podTemplate.priorityClassName: found "top", expected research',
        ),
        (
            with_pods(runtimeClassName="kata"),
            'spec.compute.podTemplate.runtimeClassName: found "kata", expected nvidia',
        ),
        (
            with_pods(tolerations=[{"key": "gpu"}, {"key": "control-plane"}]),
            'spec.compute.podTemplate.tolerations[1].key: found "control-plane", expected gpu',
        ),
        (
            with_pods(tolerations=[{"operator": "Exists"}]),
            "spec.compute.podTemplate.tolerations[0].key: found nothing, which tolerates every taint, expected gpu",
        ),
        (
            stored(an_alignment_run(policy={"compute": {"podTemplate": {"image": "elsewhere"}}})),
            'spec.policy.compute.podTemplate.image: found "elsewhere"',
        ),
        (
            stored(an_alignment_run(feedbackModel={"compute": {"podTemplate": {"priorityClassName": "top"}}})),
            'spec.feedbackModel.compute.podTemplate.priorityClassName: found "top"',
        ),
        (
            stored(an_alignment_run(), storage={**STORE, "readFrom": [{"uri": "s3://shared"}, {"uri": "s3://other"}]}),
            'spec.storage.readFrom[1].uri: found "s3://other", expected s3://shared...',
        ),
    ],
)
def test_what_is_not_allowed_is_named(document: dict[str, Any], message: str) -> None:
    (found,) = problems(document)
    assert found.startswith(message)


def test_nothing_is_allowed_that_the_settings_do_not_name() -> None:
    found = problems(stored(an_alignment_run(compute={"podTemplate": POD_TEMPLATE})), SETTINGS)
    assert [line.partition(":")[0].removeprefix("spec.compute.podTemplate.") for line in found] == [
        "image",
        "priorityClassName",
        "runtimeClassName",
        "tolerations[0].key",
    ]


def test_what_the_settings_use_themselves_is_allowed() -> None:
    settings = SETTINGS.overlaid({"pod_template": {"image": DIGEST, "priorityClassName": "low"}})
    assert problems(with_pods(image=DIGEST), settings) == []
    assert problems(with_pods(image=SETTINGS.image), settings) == []


# -- devices ---------------------------------------------------------------------------------------------------------


def devices(per_node: int) -> dict[str, Any]:
    return {"compute": {"devicesPerNode": per_node}}


def limited(to: int | None, per_node: int = 1) -> NamespaceSettings:
    return SETTINGS.model_copy(update={"limits": Limits(max_devices=to), "devices_per_node": per_node})


RUN, POLICY = "spec.compute.devicesPerNode", "spec.policy.compute.devicesPerNode"


@pytest.mark.parametrize(
    ("spec", "settings", "expected"),
    [
        ({}, limited(None, 9), []),
        ({}, limited(9, 9), []),
        ({}, limited(8, 9), [f"{RUN}: found 9 devices"]),
        (devices(1), limited(8, 9), []),
        (devices(0), limited(0, 9), []),
        (devices(1), limited(0), [f"{RUN}: found 1 devices"]),
        ({**devices(0), "policy": devices(1)}, limited(0), [f"{POLICY}: found 1 devices"]),
        ({**devices(1), "policy": devices(0)}, limited(0), [f"{RUN}: found 1 devices"]),
        ({**devices(1), "policy": devices(1)}, limited(0), [f"{RUN}: found 1 devices", f"{POLICY}: found 1 devices"]),
    ],
)
def test_a_stage_that_no_namespace_has_the_devices_for_is_not_allowed(
    spec: dict[str, Any], settings: NamespaceSettings, expected: list[str]
) -> None:
    """It would wait for ever: others that end do not make room enough."""
    found = problems(stored(an_alignment_run(**spec)), settings)
    assert [line.partition(" for a stage")[0] for line in found] == expected
    assert all(f"at most {settings.limits.max_devices}: limits.maxDevices" in line for line in found)


# -- storage ---------------------------------------------------------------------------------------------------------


def test_a_run_without_store_needs_one_from_the_settings() -> None:
    (found,) = problems(an_alignment_run(), SETTINGS)
    assert found.startswith("spec.storage: found nothing, and the namespace's settings name no store either")
    assert problems(an_alignment_run(), SETTINGS.overlaid({"storage": STORE})) == []


@pytest.mark.parametrize(
    ("uri", "mounted", "is_held"),
    [
        ("file:///store/runs", "/store", True),
        ("file:///store", "/store", True),
        ("file:///store/a%20b", "/store/a b", True),
        ("file:///stored", "/store", False),
        ("file:///store/../etc", "/store", False),
        ("file:///elsewhere", "/store", False),
        ("s3://bucket", "/store", True),
    ],
)
def test_a_store_in_a_folder_lies_on_a_volume(uri: str, mounted: str, is_held: bool) -> None:
    template = {
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}],
        "volumeMounts": [{"name": "store", "mountPath": mounted}],
    }
    found = problems(stored(an_alignment_run(compute={"podTemplate": template}), storage={"uri": uri}))
    assert bool(found) is not is_held
    assert all(line.startswith(f'spec.storage.uri: found "{uri}", expected a folder in {mounted}') for line in found)


@pytest.mark.parametrize("volume", [{"emptyDir": {}}, {"configMap": {"name": "x"}}, {"secret": {"secretName": "x"}}])
def test_a_store_lies_on_nothing_that_ends_with_the_pod(volume: dict[str, Any]) -> None:
    template = {"volumes": [{"name": "store", **volume}], "volumeMounts": [{"name": "store", "mountPath": "/store"}]}
    found = problems(stored(an_alignment_run(compute={"podTemplate": template}), storage={"uri": "file:///store"}))
    assert len(found) == 1


def test_a_volume_of_the_settings_holds_a_store_too() -> None:
    template = {
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}],
        "volumeMounts": [{"name": "store", "mountPath": "/store"}],
    }
    settings = SETTINGS.overlaid({"storage": {"uri": "file:///store"}, "pod_template": template})
    assert problems(an_alignment_run(), settings) == []


SHARED = {"uri": "s3://shared/all", "secretName": "shared"}
INSIDE = ("s3://alignment/team/data", "s3://alignment/team", "s3://shared/all/models/x", "s3://shared/%61ll/x.jsonl")
OUTSIDE = (
    "s3://alignment/team-2/data",
    "s3://alignment/other",
    "s3://alignment",
    "s3://shared/secret",
    "s3://elsewhere/data",
)


@pytest.mark.parametrize("uri", INSIDE + OUTSIDE)
def test_a_source_in_a_bucket_lies_in_a_store_that_the_run_may_read(uri: str) -> None:
    """Or what may be read would be whatever the store's key opens, whatever the settings allow."""
    storage = {**STORE, "readFrom": [SHARED]}
    entry = {"uri": uri, "format": "Jsonl"}
    specs = {
        "spec.model.uri": {"model": {"uri": uri}},
        "spec.data.feedback[0].uri": {"data": {"feedback": [entry]}},
        "spec.evaluation.suites[0].judge.uri": {
            "evaluation": {"suites": [{"name": "Pairwise", "judge": {"uri": uri}}]}
        },
    }
    for path, spec in specs.items():
        found = problems(stored(an_alignment_run(**spec), storage=storage))
        if uri in INSIDE:
            assert found == []
        else:
            (line,) = found
            assert line == (
                f'{path}: found "{uri}", expected s3://alignment/team/... or s3://shared/all/..., list the store that '
                "holds it in spec.storage.readFrom, with its secretName, or move the data"
            )


def test_a_source_may_lie_in_the_stores_of_the_settings() -> None:
    document = an_alignment_run(model={"uri": "s3://shared/all/model"})
    assert len(problems(document, SETTINGS.overlaid({"storage": STORE}))) == 1
    assert problems(document, SETTINGS.overlaid({"storage": {**STORE, "readFrom": [SHARED]}})) == []


def test_a_run_with_a_folder_as_store_reads_from_the_buckets_that_it_lists() -> None:
    template = {
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}],
        "volumeMounts": [{"name": "store", "mountPath": "/store"}],
    }
    document = an_alignment_run(compute={"podTemplate": template}, model={"uri": "s3://shared/all/model"})
    (line,) = problems(stored(document, storage={"uri": "file:///store"}))
    assert "expected a source below a store of spec.storage.readFrom" in line
    assert problems(stored(document, storage={"uri": "file:///store", "readFrom": [SHARED]})) == []


# -- judges ----------------------------------------------------------------------------------------------------------


def judged(*judges: dict[str, Any]) -> dict[str, Any]:
    data = [{"uri": "file:///data/eval.jsonl", "format": "Jsonl"}]
    suites = [{"name": "Pairwise", "label": f"s{i}", "judge": judge, "data": data} for i, judge in enumerate(judges)]
    return stored(an_eval_run(suites=suites))


def test_a_judge_s_key_goes_to_no_other_endpoint() -> None:
    one = {"endpoint": "https://a.example/v1", "model": "m", "secretName": "a"}
    assert problems(judged(one, {**one, "model": "other"})) == []
    for other in ({**one, "endpoint": "https://b.example/v1"}, {**one, "secretName": "b"}, {**one, "secretName": None}):
        (found,) = problems(judged(one, {name: value for name, value in other.items() if value}))
        assert found.startswith(
            f"spec.suites[1].judge: found {other['endpoint']} with secretName {other['secretName']}"[:60]
        )
        assert "https://a.example/v1 with secretName a" in found


def test_judges_without_keys_may_be_many() -> None:
    assert problems(judged(*({"endpoint": f"https://{x}.example/v1", "model": "m"} for x in "ab"))) == []


# -- what is ours ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ({"labels": {"boresight.dev/run-uid": "x"}}, "labels[boresight.dev/run-uid]"),
        ({"labels": {"controller-uid": "x"}}, "labels[controller-uid]"),
        ({"labels": {"batch.kubernetes.io/job-name": "x"}}, "labels[batch.kubernetes.io/job-name]"),
        ({"labels": {"kueue.x-k8s.io/queue-name": "x"}}, "labels[kueue.x-k8s.io/queue-name]"),
        (
            {"annotations": {"container.apparmor.security.beta.kubernetes.io/stage": "unconfined"}},
            "annotations[container.apparmor.security.beta.kubernetes.io/stage]",
        ),
        (
            {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}},
            "annotations[seccomp.security.alpha.kubernetes.io/pod]",
        ),
        ({"volumes": [{"name": "boresight-stage", "emptyDir": {}}]}, "volumes[0].name"),
        ({"volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]}, "volumeMounts[0].name"),
    ],
)
def test_what_is_ours_cannot_be_named(template: dict[str, Any], path: str) -> None:
    (found,) = problems(with_pods(**template))
    assert found.startswith(f"spec.compute.podTemplate.{path}: found ")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc",
        "/etc/",
        "//etc//boresight",
        "/etc/boresight/stage",
        "/etc/boresight/stage/x",
        "/dev/termination-log",
        "/dev",
        "/var/run/secrets/x",
        "/proc",
        "/data/../etc/boresight",
    ],
)
def test_nothing_is_mounted_at_in_or_over_our_files(path: str) -> None:
    (found,) = problems(
        with_pods(volumes=[{"name": "v", "emptyDir": {}}], volumeMounts=[{"name": "v", "mountPath": path}])
    )
    assert found.startswith(f'spec.compute.podTemplate.volumeMounts[0].mountPath: found "{path}"')


@pytest.mark.parametrize(
    "path", ["/cache", "/tmp", "/home/boresight/.cache", "/dev/shm", "/etc/boresight-too", "/etc/ssl"]
)
def test_other_paths_are_the_run_s(path: str) -> None:
    template = {"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": path}]}
    assert problems(with_pods(**template)) == []


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_a_plan_that_no_config_map_holds_is_named_before_anything_starts() -> None:
    files = [f"{number:03}-" + "x" * 240 for number in range(64)]
    data = [{"uri": f"file:///{number}", "format": "Jsonl", "files": files} for number in range(8)]
    suites = [{"name": "Verifiable", "label": f"s{number}"} for number in range(16)]
    (found,) = problems(stored(an_alignment_run(data={"holdout": data}, evaluation={"suites": suites})))
    assert found.startswith("spec: found a plan too large for a ConfigMap, found ")


def test_a_spec_that_cannot_be_read_is_no_question_of_permission() -> None:
    seen = observed(stored(an_alignment_run()))
    broken = {**seen.run.document, "spec": {"task": "Nothing"}}
    unread = replace(seen, run=replace(seen.run, document=broken), plan=None)
    assert forbidden(unread) == ()
