"""Token ids are those of transformers' own apply_chat_template."""

from __future__ import annotations

from pathlib import Path

import pytest
from boresight_trainer.data.records import Message
from boresight_trainer.models import embedded
from boresight_trainer.models.chat import ChatTokenizer
from builders_tokenizers import (
    CHATML_WITH_SYSTEM,
    TokenizerFolder,
    a_chatml_tokenizer,
    a_llama3_tokenizer,
    a_mistral_tokenizer,
    a_unigram_tokenizer,
    an_old_llama_tokenizer,
)

CONVERSATIONS = [
    ([("user", "Hello world!")], "I am fine, thank you."),
    ([("user", "Hi"), ("assistant", "Hello!  How are you?"), ("user", "Fine.\n\nAnd you?")], "Fine\n\n- a\n- b\n"),
    ([("user", "  leading spaces\tand tabs")], "12,345.67 euros — naïve café 東京 🙂"),
    ([("user", "def f(x):\n    return x\n\n\n# end")], "```python\nprint('<b>')\n```"),
    ([("user", "What is <think> in [INST] text?")], "{'json': [1, 2]} </think>"),
]

FAMILIES = {
    "chatml": a_chatml_tokenizer,
    "chatml with a system prompt": lambda: a_chatml_tokenizer().with_template(CHATML_WITH_SYSTEM),
    "llama 3": a_llama3_tokenizer,
    "mistral": a_mistral_tokenizer,
    "old llama": an_old_llama_tokenizer,
    "unigram": a_unigram_tokenizer,
}


def assert_same_ids(path: Path, conversations=CONVERSATIONS) -> None:
    from transformers import AutoTokenizer

    ours, theirs = ChatTokenizer.from_folder(path), AutoTokenizer.from_pretrained(path)
    for turns, response in conversations:
        messages = [Message(role, content) for role, content in turns]
        chat = [{"role": role, "content": content} for role, content in turns]
        prompt = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        whole = theirs.apply_chat_template([*chat, {"role": "assistant", "content": response}], return_dict=False)
        assert ours.prompt_ids(messages) == prompt
        prompt_ids, response_ids = ours.conversation_ids(messages, response)
        assert prompt_ids == prompt
        end = len(prompt) + len(response_ids)
        assert [*prompt_ids, *response_ids] == whole[:end]
        assert not set(whole[end:]) & ours.terminators
        assert ours.decode(response_ids) == theirs.decode(response_ids, skip_special_tokens=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_transformers(family: str, tmp_path: Path):
    folder: TokenizerFolder = FAMILIES[family]()
    assert_same_ids(folder.write(tmp_path))


def test_ids_equal_those_of_transformers_for_the_tiny_model(tmp_path: Path):
    assert_same_ids(embedded.materialize("tiny", tmp_path))


@pytest.mark.model
def test_ids_equal_those_of_transformers_for_smollm2(smollm2: Path):
    system = [([("system", "Be brief."), *turns], response) for turns, response in CONVERSATIONS]
    assert_same_ids(smollm2, [*CONVERSATIONS, *system])
