"""Multimodal models load, train, are exported and load again; features of frozen towers are kept."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from boresight_api.enums import ExportForm, Precision, Tuning
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import LoRA, ModelInput
from boresight_trainer.engine.lora import prepare_parameters
from boresight_trainer.engine.memory import shape_of
from boresight_trainer.engine.reference import sample_hash
from boresight_trainer.models.attention import PACKED, decoder_of
from boresight_trainer.models.batch import build_pack
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.models.export import export_model
from boresight_trainer.models.families.registry import family_of
from boresight_trainer.models.features import FeatureCache, parameters_below, towers_digest
from boresight_trainer.models.loading import load_causal_lm
from boresight_trainer.models.scorer import Scorer
from builders_families import RIGS, rows_of
from builders_rigs import Rig, TowerCalls, with_packed_attention
from builders_scoring import weighted
from builders_training import a_training
from transformers import PreTrainedModel

BASE = ModelInput(uri="embedded://tiny", digest="sha256:" + "0" * 64)


@pytest.fixture(scope="module", params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = RIGS[request.param](tmp_path_factory.mktemp(request.param))
    rig.make_model().save_pretrained(rig.folder)
    return rig


def logprobs(rig: Rig, model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = rig.scorer(model)(build_pack(rig.samples(rows_of(rig)))).logprobs
    return found


def test_a_model_loads_with_its_towers_and_is_ready_to_score(rig: Rig) -> None:
    model = load_causal_lm(rig.folder)
    assert decoder_of(model).config._attn_implementation == PACKED
    assert not model.training
    assert torch.equal(logprobs(rig, model), logprobs(rig, with_packed_attention(rig.make_model())))


def test_dropout_is_switched_off_in_every_part(rig: Rig, tmp_path: Path) -> None:
    for file in rig.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    kinds = ("attention_dropout", "dropout", "activation_dropout", "encoder_layerdrop")
    for part in (part for name, part in config.items() if name in ("text_config", "vision_config", "audio_config")):
        part.update({name: 0.3 for name in kinds if name in part})
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_causal_lm(tmp_path).config
    for part in filter(None, [getattr(loaded, f"{name}_config", None) for name in ("text", "vision", "audio")]):
        assert not any(getattr(part, name, 0) for name in kinds)


def test_a_model_whose_family_nobody_knows_is_named(rig: Rig, tmp_path: Path) -> None:
    for file in rig.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "kosmos-9"}))
    with pytest.raises(StageFailure, match=r'found model_type "kosmos-9" with .*, expected one of .*llava') as caught:
        load_causal_lm(tmp_path)
    assert caught.value.failure is FailureClass.INVALID_CONFIG


def test_a_folder_without_the_processors_settings_is_named(rig: Rig, tmp_path: Path) -> None:
    for file in rig.folder.iterdir():
        if "processor" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(StageFailure, match=r"found no settings of its \w+, expected processor_config.json or"):
        family_of(tmp_path)


def test_settings_that_transformers_writes_into_one_file_are_read(rig: Rig, tmp_path: Path) -> None:
    for file in rig.folder.iterdir():
        if "processor" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    parts = {}
    for name in rig.family.files.processors:
        parts[name] = dict(rig.family.files.part(name))
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "Any", **parts}))
    read = family_of(tmp_path)
    assert read is not None
    assert [read.parameters(m) for m in read.placeholders] == [rig.family.parameters(m) for m in read.placeholders]


def trained(rig: Rig, model: PreTrainedModel, tuning: Tuning, *, train_towers: bool = False) -> PreTrainedModel:
    """``model`` after two large steps of gradient descent."""
    training = a_training(tuning=tuning, lora=LoRA(rank=4, alpha=8) if tuning is Tuning.LORA else None)
    prepare_parameters(model, training, 3, family=rig.family, train_towers=train_towers)
    scorer, pack = rig.scorer(model), build_pack(rig.samples(rows_of(rig)))
    for _ in range(2):  # adapters move in the second step
        weighted(scorer(pack).logprobs).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= (
                        0.02 * parameter.grad / parameter.grad.norm().clamp_min(1e-9) * parameter.norm().clamp_min(1)
                    )
                    parameter.grad = None
    return model


def test_adapters_sit_in_the_language_model_alone(rig: Rig) -> None:
    model = trained(rig, load_causal_lm(rig.folder), Tuning.LORA)
    inside = {id(parameter) for parameter in decoder_of(model).parameters()}
    adapters = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
    assert adapters
    assert all(id(parameter) in inside for parameter in adapters)
    assert all(p.requires_grad == ("lora_" in name) for name, p in model.named_parameters())
    layers = decoder_of(model).config.num_hidden_layers
    assert shape_of(model).layers == layers


@pytest.mark.parametrize("train_towers", [False, True])
def test_full_training_moves_towers_only_where_it_is_asked_to(rig: Rig, train_towers: bool) -> None:
    before = load_causal_lm(rig.folder)
    after = trained(rig, load_causal_lm(rig.folder), Tuning.FULL, train_towers=train_towers)
    old = dict(before.base_model.named_parameters())
    untrained = {name for name, _ in parameters_below(after.base_model, rig.family.untrained)}
    for tower in rig.family.towers:
        moved = {n for n, p in parameters_below(after.base_model, tower.modules) if not torch.equal(p, old[n])}
        assert bool(moved - untrained) == (train_towers and not set(tower.modules) <= set(rig.family.untrained))
        assert not moved & untrained


@pytest.mark.parametrize("rows", [slice(None), slice(2), slice(0)], ids=["all", "text alone", "none"])
def test_every_pack_reaches_every_parameter_that_trains(rig: Rig, rows: slice) -> None:
    """So that gradients of all ranks meet, whatever each of them has to score."""
    model = load_causal_lm(rig.folder)
    prepare_parameters(model, a_training(tuning=Tuning.FULL), 3, family=rig.family, train_towers=True)
    scores = rig.scorer(model)(build_pack(rig.samples(rows_of(rig)[rows])))
    scores.sums().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize(("form", "tuning"), [("Merged", "LoRA"), ("Adapter", "LoRA"), ("Merged", "Full")])
def test_an_exported_model_scores_as_the_trained_one(rig: Rig, tmp_path: Path, form: str, tuning: str) -> None:
    model = trained(rig, load_causal_lm(rig.folder), Tuning(tuning), train_towers=tuning == "Full")
    export_model(
        model,
        rig.folder,
        tmp_path,
        base=BASE,
        resolve=lambda _: rig.folder,
        chat=ChatTokenizer.from_folder(rig.folder),
        form=ExportForm(form),
        precision=Precision.FP32,
    )
    again = load_causal_lm(tmp_path, resolve=lambda _: rig.folder)
    expected = logprobs(rig, model)
    assert (logprobs(rig, again) - expected).abs().max() <= 1e-4
    assert (logprobs(rig, load_causal_lm(rig.folder)) - expected).abs().max() > 0.1, "training should matter"
    for file in rig.folder.glob("*processor_config.json"):
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()
    if form == "Merged":
        plain = getattr(transformers, rig.family.architecture).from_pretrained(tmp_path)
        assert (rig.plain_logprobs(plain, rows_of(rig)) - expected).abs().max() <= 1e-4


def frozen(rig: Rig) -> PreTrainedModel:
    model = with_packed_attention(rig.make_model())
    return prepare_parameters(model, a_training(tuning=Tuning.FULL), 3, family=rig.family)


def test_features_of_frozen_towers_are_computed_once(rig: Rig, tmp_path: Path) -> None:
    model, samples = frozen(rig), rig.samples(rows_of(rig))
    identity = {"towers": towers_digest(model.base_model, rig.family), "precision": str(model.dtype)}
    scorer, pack = rig.scorer(model, FeatureCache(tmp_path, identity)), build_pack(samples)
    with ExitStack() as stack:
        calls = [stack.enter_context(TowerCalls(rig, model, tower)) for tower in rig.family.towers]
        first = scorer(pack).logprobs
        assert [tower.count for tower in calls] == [1] * len(calls)
        rig.shelf.loaded.clear()
        again = rig.scorer(model, FeatureCache(tmp_path, identity))(pack).logprobs
        assert [tower.count for tower in calls] == [1] * len(calls)
    assert torch.equal(first, again)
    assert not rig.shelf.loaded, "nothing is decoded for features that are there"


def test_only_what_is_missing_or_damaged_is_computed(rig: Rig, tmp_path: Path) -> None:
    model, samples = frozen(rig), rig.samples(rows_of(rig))
    cache = FeatureCache(tmp_path, {"towers": "t"})
    scorer = rig.scorer(model, cache)
    some = [sample for sample in samples if sample.segments[0].media][:1]
    scorer(build_pack(some))
    known = {span.medium.id for span in some[0].segments[0].media}
    files = sorted(cache.folder.rglob("*.safetensors"))
    assert {file.stem for file in files} == known
    files[0].write_bytes(b"torn")
    rig.shelf.loaded.clear()
    expected = rig.scorer(model)(build_pack(samples)).logprobs
    rig.shelf.loaded.clear()
    assert torch.equal(scorer(build_pack(samples)).logprobs, expected)
    everything = {span.medium.id for sample in samples for span in sample.segments[0].media}
    assert set(rig.shelf.loaded) == (everything - known) | {files[0].stem}


def test_other_weights_are_another_cache(rig: Rig, tmp_path: Path) -> None:
    model = frozen(rig)
    before = towers_digest(model.base_model, rig.family)
    assert towers_digest(frozen(rig).base_model, rig.family) == before
    _, parameter = parameters_below(model.base_model, rig.family.towers[0].modules)[0]
    with torch.no_grad():
        parameter.view(-1)[0] += 1
    assert towers_digest(model.base_model, rig.family) != before
    assert FeatureCache(tmp_path, {"towers": before}).folder != FeatureCache(tmp_path, {"towers": "other"}).folder


def test_towers_that_train_are_never_read_from_a_cache(rig: Rig, tmp_path: Path) -> None:
    model = with_packed_attention(rig.make_model())
    scorer, pack = rig.scorer(model, FeatureCache(tmp_path, {})), build_pack(rig.samples(rows_of(rig)))
    scorer(pack)
    trains = [tower for tower in rig.family.towers if not set(tower.modules) <= set(rig.family.untrained)]
    assert bool(list(tmp_path.rglob("*.safetensors"))) == (len(trains) < len(rig.family.towers))


def test_media_are_part_of_what_names_a_reference_score(rig: Rig) -> None:
    sample = next(sample for sample in rig.samples(rows_of(rig)) if sample.segments[0].media)
    (row,) = [row for row in rows_of(rig) if row.id == sample.id]
    same = rig.samples([row])[0]
    reference = row.media[0]
    content = rig.shelf.content(reference)
    rig.shelf.put(str(reference.path), np.ascontiguousarray(content[::-1]))
    other = rig.samples([row])[0]
    rig.shelf.put(str(reference.path), content)
    assert sample_hash(sample) == sample_hash(same) != sample_hash(other)
    assert other.segments[0].tokens.tolist() == sample.segments[0].tokens.tolist()


def test_a_sample_with_media_is_named_by_a_scorer_of_text(rig: Rig) -> None:
    sample = next(sample for sample in rig.samples(rows_of(rig)) if sample.segments[0].media)
    with pytest.raises(ValueError, match=f"in {sample.id}, but .* is scored as a model of text alone"):
        Scorer(with_packed_attention(rig.make_model()))(build_pack([sample]))
