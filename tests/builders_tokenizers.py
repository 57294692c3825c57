"""Small tokenizers in the shapes of well-known model families, written as model folders (without weights)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "Hello world! How are you today? I am fine, thank you.",
    "  The quick brown fox jumps over the lazy dog; it costs 12,345.67 euros.\n\n\tIndented text follows.",
    "Write three sentences about the sea. The answer should be short and it should be in English.",
    "Überraschung: die Größe der Äpfel ist 3.5 cm — naïve café 東京 🙂",
    "Markup such as </b>, <unknown> and [INST] is text: a < b | c > d / e _ f # g.",
] * 4

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CHATML_WITH_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe helpful<|im_end|>\n{% endif %}" + CHATML
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim"
    " + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class TokenizerFolder:
    """A folder's content; ``write`` puts it on disk."""

    tokenizer: Tokenizer
    template: str | None
    named: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    generation_config: dict[str, Any] = field(default_factory=dict)

    def with_template(self, template: str | None) -> TokenizerFolder:
        return replace(self, template=template)

    def with_config(self, **config: Any) -> TokenizerFolder:
        return replace(self, config=config)

    def with_generation_config(self, **config: Any) -> TokenizerFolder:
        return replace(self, generation_config=config)

    def with_named(self, **named: str) -> TokenizerFolder:
        return replace(self, named=named)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **self.named}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", **self.config}))
        (folder / "generation_config.json").write_text(json.dumps(self.generation_config))
        if self.template is not None:
            (folder / "chat_template.jinja").write_text(self.template)
        return folder


def a_chatml_tokenizer() -> TokenizerFolder:
    """Byte-level BPE whose special tokens are in the vocabulary; pad = eos, no BOS (SmolLM2, Qwen2)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    _train(tokenizer, trainers.BpeTrainer(vocab_size=500, special_tokens=special, **_BYTES))
    named = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    return TokenizerFolder(tokenizer, CHATML, named, {"eos_token_id": 2}, {"eos_token_id": 2})


def a_llama3_tokenizer() -> TokenizerFolder:
    """Byte-level BPE with ``ignore_merges``, special tokens behind the vocabulary, a BOS, several EOS."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, trainers.BpeTrainer(vocab_size=500, special_tokens=[], **_BYTES))
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    bos, eos, eot = (tokenizer.token_to_id(t) for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", bos)]
    )
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    return TokenizerFolder(tokenizer, LLAMA3, named, {"eos_token_id": eos}, {"eos_token_id": [eos, eot]})


def a_mistral_tokenizer() -> TokenizerFolder:
    """SentencePiece-like BPE: spaces become ``▁``, one is put before the text (only before its start); no pad."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _sentencepiece(tokenizer)


def an_old_llama_tokenizer() -> TokenizerFolder:
    """As :func:`a_mistral_tokenizer`, but its normalizer puts a ``▁`` before every piece between special tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _sentencepiece(tokenizer)


def a_unigram_tokenizer() -> TokenizerFolder:
    """Unigram, whose vocabulary would find a literal ``</s>`` by itself."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    _train(tokenizer, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>"))
    return TokenizerFolder(tokenizer, MISTRAL, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES: dict[str, Any] = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "show_progress": False}


def _sentencepiece(tokenizer: Tokenizer) -> TokenizerFolder:
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[*special, *bytes_], show_progress=False)
    words = [word for text in CORPUS for word in text.replace(" ", " ▁").split(" ")]
    _train(tokenizer, trainer, words)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [t for t in document["added_tokens"] if t["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    return TokenizerFolder(tokenizer, MISTRAL, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


def _train(tokenizer: Tokenizer, trainer: Any, corpus: list[str] = CORPUS) -> None:
    tokenizer.train_from_iterator(corpus, trainer)
