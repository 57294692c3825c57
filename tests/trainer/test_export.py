"""An exported model loads as it is, scores as the trained one did, and says when to stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from boresight_api.enums import ExportForm, Precision
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Input, ModelInput
from boresight_trainer.data.records import Message
from boresight_trainer.models import export
from boresight_trainer.models.attention import plain_attention
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.models.export import export_model, merged_state
from boresight_trainer.models.loading import load_causal_lm
from boresight_trainer.store.digests import file_digest
from peft import LoraConfig, inject_adapter_in_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

TINY = ModelInput(uri="embedded://tiny", digest="sha256:" + "0" * 64)
IDS = torch.tensor([[1, 50, 60, 70, 80, 90, 100, 110, 2]])


def adapted(path: Path, layers: list[int] | None = None):
    model = load_causal_lm(path)
    torch.manual_seed(1)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
        layers_to_transform=layers,
        init_lora_weights=False,
    )
    inject_adapter_in_model(config, model)
    return model


def logits(model) -> torch.Tensor:
    with torch.inference_mode(), plain_attention(model):
        return model(IDS).logits.float()


def exported(model, folder: Path, output: Path, **changes):
    settings = {
        "base": TINY,
        "resolve": lambda _: folder,
        "chat": ChatTokenizer.from_folder(folder),
        "form": ExportForm.MERGED,
        "precision": Precision.FP32,
        **changes,
    }
    export_model(model, folder, output, **settings)
    return output


@pytest.mark.parametrize(
    ("precision", "dtype", "bound"), [("FP32", torch.float32, 1e-4), ("BF16", torch.bfloat16, 0.3)]
)
@pytest.mark.parametrize("layers", [None, [4, 5]])
def test_merged_adapters_load_with_plain_transformers(tiny_model, tmp_path, precision, dtype, bound, layers):
    model = adapted(tiny_model, layers)
    folder = exported(model, tiny_model, tmp_path / "model", precision=Precision(precision))
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == dtype
    assert not any("lora" in name for name, _ in loaded.named_parameters())
    assert float((logits(loaded.float()) - logits(model)).abs().max()) <= bound
    assert float((logits(load_causal_lm(tiny_model)) - logits(model)).abs().max()) > 0.5, "the adapters should matter"


def test_full_training_is_exported_and_tied_weights_are_written_once(tiny_model, tmp_path):
    from safetensors import safe_open

    model = load_causal_lm(tiny_model)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(1.5)
    folder = exported(model, tiny_model, tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), logits(model))
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 not a dict


def test_merging_does_not_change_the_trained_model(tiny_model):
    model = adapted(tiny_model)
    before = logits(model)
    merged_state(model, torch.bfloat16)
    assert torch.equal(logits(model), before)


def test_the_tokenizer_is_copied_as_it_is(tiny_model, tmp_path):
    folder = exported(load_causal_lm(tiny_model), tiny_model, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert file_digest(folder / name) == file_digest(tiny_model / name)
    chat = [{"role": "user", "content": "Hello"}]
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        chat, add_generation_prompt=True, return_dict=False
    )
    assert theirs == ChatTokenizer.from_folder(tiny_model).prompt_ids([Message("user", "Hello")])


def test_template_system_prompt_and_every_terminator_come_along(tiny_model, tmp_path):
    template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|endoftext|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    chat = ChatTokenizer.from_folder(tiny_model, chat_template=template, system_prompt='Be "brief" {{ now }}')
    folder = exported(load_causal_lm(tiny_model), tiny_model, tmp_path, chat=chat)
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [0, 2]
    asked = [{"role": "user", "content": "Hello"}]
    told = [{"role": "system", "content": "Be long"}, *asked]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for messages in (asked, told):
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert ids == chat.prompt_ids([Message(m["role"], m["content"]) for m in messages])


def test_an_adapter_lies_beside_the_identity_of_its_base(tiny_model, tmp_path):
    model = adapted(tiny_model)
    folder = exported(model, tiny_model, tmp_path, form=ExportForm.ADAPTER)
    assert not (folder / "model.safetensors").exists()
    assert json.loads((folder / "base.json").read_text()) == {"uri": TINY.uri, "digest": TINY.digest}
    asked = []

    def resolve(value: Input) -> Path:
        asked.append(value)
        return tiny_model

    loaded = load_causal_lm(folder, resolve=resolve)
    assert float((logits(loaded) - logits(model)).abs().max()) <= 1e-4
    assert asked == [Input(uri=TINY.uri, digest=TINY.digest)]
    with pytest.raises(StageFailure, match=r"holds an adapter.*export: Merged") as caught:
        load_causal_lm(folder)
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_an_adapters_base_is_read_at_the_commit_that_was_pinned(tiny_model, tmp_path):
    base = ModelInput(uri="hf://owner/name", digest=TINY.digest, revision="c" * 40)
    asked = []

    def resolve(value: Input) -> Path:
        asked.append(value)
        return tiny_model

    exported(adapted(tiny_model), tiny_model, tmp_path, form=ExportForm.ADAPTER, base=base, resolve=resolve)
    assert asked == [Input(uri=base.uri, digest=base.digest, revision=base.revision)]


def test_an_adapter_may_stand_on_an_adapter(tiny_model, tmp_path):
    first = exported(adapted(tiny_model), tiny_model, tmp_path / "first", form=ExportForm.ADAPTER)
    places = {"embedded://tiny": tiny_model, "artifact://first": first}

    def resolve(value: Input) -> Path:
        return places[value.uri]

    model = load_causal_lm(first, resolve=resolve)
    inject_adapter_in_model(LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False), model)
    second = exported(
        model,
        first,
        tmp_path / "second",
        form=ExportForm.ADAPTER,
        base=ModelInput(uri="artifact://first"),
        resolve=resolve,
    )
    assert float((logits(load_causal_lm(second, resolve=resolve)) - logits(model)).abs().max()) <= 1e-4


def test_an_adapter_needs_adapters(tiny_model, tmp_path):
    with pytest.raises(StageFailure, match="found Adapter with tuning Full, expected Merged"):
        exported(load_causal_lm(tiny_model), tiny_model, tmp_path, form=ExportForm.ADAPTER)


def test_weights_that_do_not_score_as_trained_are_never_published(tiny_model, tmp_path, monkeypatch):
    def forgets_adapters(model, dtype):
        return {name: t.to(dtype) for name, t in load_causal_lm(tiny_model).state_dict().items()}

    monkeypatch.setattr(export, "merged_state", forgets_adapters)
    for precision in (Precision.FP32, Precision.BF16):
        with pytest.raises(StageFailure, match="nothing was published") as caught:
            exported(adapted(tiny_model), tiny_model, tmp_path / precision, precision=precision)
        assert caught.value.failure is FailureClass.ERROR
