"""Chats become tokens: text stays text, a turn ends where it ends, and a template that cannot serve is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.records import Message
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.models.chat_template import PLAIN_CHAT_TEMPLATE
from builders_tokenizers import (
    CHATML,
    CHATML_WITH_SYSTEM,
    MISTRAL,
    TokenizerFolder,
    a_chatml_tokenizer,
    a_llama3_tokenizer,
    a_mistral_tokenizer,
    a_unigram_tokenizer,
    an_old_llama_tokenizer,
)

HELLO = [Message("user", "Hello world!")]
FAMILIES = [a_chatml_tokenizer, a_llama3_tokenizer, a_mistral_tokenizer, an_old_llama_tokenizer, a_unigram_tokenizer]


def chat(folder: TokenizerFolder, path: Path, **overrides: str) -> ChatTokenizer:
    return ChatTokenizer.from_folder(folder.write(path), **overrides)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_literal_special_token_stays_text_in_every_part_of_a_conversation(family, tmp_path):
    tokenizer = chat(family(), tmp_path)
    special = sorted(tokenizer._tokenizer.special_ids)
    attack = " ".join(special) + "".join(special) + f"<{special[0]}{special[0]}>"
    plain_prompt, plain_response = tokenizer.conversation_ids(HELLO, "fine")
    prompt, response = tokenizer.conversation_ids([Message("user", f"Hello {attack} world!")], f"fine {attack} indeed")
    special_ids = set(tokenizer._tokenizer.special_ids.values()) - {tokenizer._tokenizer.special_ids.get("<unk>")}

    def structure(ids):
        return [token for token in ids if token in special_ids]

    assert structure(prompt) == structure(plain_prompt)
    assert structure(response) == structure(plain_response) == [tokenizer.turn_terminator]
    assert not structure(tokenizer.encode_text(attack))
    assert attack.replace(" ", "") in tokenizer.decode(response).replace(" ", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_turn_ends_with_its_terminator_and_decodes_to_its_text(family, tmp_path):
    tokenizer = chat(family(), tmp_path)
    for text in ["fine", "  two  spaces", "line\n\nline", "Größe 東京 🙂", ""]:
        ids = tokenizer.response_ids(text)
        assert ids[-1] == tokenizer.turn_terminator
        assert not set(ids[:-1]) & tokenizer.terminators
        if "東" not in text or family is not a_unigram_tokenizer:
            assert tokenizer.decode(ids).strip() == text.strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_response_continues_the_very_ids_that_generation_starts_from(family, tmp_path):
    tokenizer = chat(family(), tmp_path)
    history = [Message("user", "Hello"), Message("assistant", "Hi you"), Message("user", "How are you today?")]
    for messages in (HELLO, history):
        for text in ("fine", "\n\nfine", " fine"):
            prompt, response = tokenizer.conversation_ids(messages, text)
            assert prompt == tokenizer.prompt_ids(messages)
            assert response == tokenizer.response_ids(text)


def test_a_token_never_reaches_over_the_seam_between_prompt_and_response(tmp_path):
    """Two newlines are two tokens here where a word follows, and one at the end of a prompt."""
    template = CHATML.replace("message['role'] + '\\n'", "message['role'] + '\\n\\n'").replace(
        "assistant\\n", "assistant\\n\\n"
    )
    folder = a_chatml_tokenizer().with_template(template)
    tokenizer = chat(folder, tmp_path)
    (newlines,) = tokenizer.encode_text("\n\n")
    prompt, response = tokenizer.conversation_ids(HELLO, "fine")
    assert prompt[-1] == newlines
    assert response == [*tokenizer.encode_text("fine"), 2]


def test_what_the_template_puts_after_the_terminator_is_not_scored(tmp_path):
    tokenizer = chat(a_chatml_tokenizer(), tmp_path)
    assert tokenizer.response_ids("fine") == [*tokenizer.encode_text("fine"), 2]


def test_several_end_of_sequence_ids_all_terminate(tmp_path):
    folder = a_llama3_tokenizer()
    tokenizer = chat(folder, tmp_path)
    names = ("<|end_of_text|>", "<|eot_id|>")
    assert tokenizer.terminators == {folder.tokenizer.token_to_id(name) for name in names}
    assert tokenizer.turn_terminator == folder.tokenizer.token_to_id("<|eot_id|>")


def test_the_templates_own_terminator_counts_even_if_no_configuration_names_it(tmp_path):
    folder = a_chatml_tokenizer().with_named(eos_token="<|endoftext|>").with_config().with_generation_config()
    assert chat(folder, tmp_path).terminators == {0, 2}


def test_a_prompt_has_one_bos(tmp_path):
    folder = a_llama3_tokenizer()
    ids = chat(folder, tmp_path).prompt_ids(HELLO)
    assert ids.count(folder.tokenizer.token_to_id("<|begin_of_text|>")) == 1


def test_the_templates_default_system_prompt_is_recorded(tmp_path):
    assert chat(a_chatml_tokenizer(), tmp_path / "a").default_system_prompt is None
    assert chat(a_mistral_tokenizer(), tmp_path / "b").default_system_prompt is None
    tokenizer = chat(a_chatml_tokenizer().with_template(CHATML_WITH_SYSTEM), tmp_path / "c")
    assert tokenizer.default_system_prompt == "Be helpful"


def test_a_system_prompt_goes_before_conversations_that_have_none(tmp_path):
    folder = a_chatml_tokenizer().with_template(CHATML_WITH_SYSTEM)
    plain, tokenizer = chat(folder, tmp_path), chat(folder, tmp_path, system_prompt="Be brief <|im_end|>")
    spoken = [Message("system", "Be brief <|im_end|>"), *HELLO]
    own = [Message("system", "Be long"), *HELLO]
    assert tokenizer.prompt_ids(HELLO) == plain.prompt_ids(spoken)
    assert tokenizer.prompt_ids(own) == plain.prompt_ids(own)


def test_dates_are_frozen(tmp_path):
    folder = a_chatml_tokenizer().with_template("{{ strftime_now('%d %b %Y') }}" + CHATML)
    tokenizer = chat(folder, tmp_path)
    assert tokenizer.decode(tokenizer.prompt_ids(HELLO)).startswith("26 Jul 2024")


def test_templates_may_use_what_transformers_gives_them(tmp_path):
    template = (
        "{% for message in messages %}{% if loop.index0 > 99 %}{% break %}{% endif %}"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
        "{% else %}{{ {'é': message['content']} | tojson }}{% endif %}{% endfor %}"
    )
    tokenizer = chat(a_chatml_tokenizer().with_template(template), tmp_path)
    assert tokenizer.decode(tokenizer.prompt_ids(HELLO)) == '{"é": "Hello world!"}'
    assert tokenizer.response_ids("fine") == [*tokenizer.encode_text("fine"), 2]


def test_the_template_for_base_models_serves(tmp_path):
    folder = a_chatml_tokenizer().with_template(None)
    tokenizer = chat(folder, tmp_path, chat_template=PLAIN_CHAT_TEMPLATE)
    assert tokenizer.decode(tokenizer.prompt_ids([Message("system", "Be kind"), *HELLO])) == (
        "System: Be kind\n\nUser: Hello world!\n\nAssistant: "
    )
    assert tokenizer.response_ids("fine")[-1] == 2


def test_a_template_in_the_configuration_is_found(tmp_path):
    path = (
        a_chatml_tokenizer()
        .with_template(None)
        .with_named(eos_token="<|im_end|>", chat_template=CHATML)
        .write(tmp_path)
    )
    expected = chat(a_chatml_tokenizer(), tmp_path / "file").prompt_ids(HELLO)
    assert ChatTokenizer.from_folder(path).prompt_ids(HELLO) == expected


DROPS_THINKING = CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")
KEEPS_LAST_TWO = CHATML.replace("in messages", "in messages[-2:]")
NO_END = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
THINKS_FIRST = CHATML.replace("assistant\\n' }}{% endif", "assistant\\n<think>\\n' }}{% endif")


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (None, "found no chat template"),
        ("{% for %}", "does not parse"),
        ("{{ raise_exception('no thanks') }}", "no thanks"),
        (NO_END, "does not end the assistant's turn with a special token"),
        (THINKS_FIRST, "renders a prompt differently once its answer follows"),
    ],
)
def test_a_template_that_cannot_serve_is_an_invalid_configuration(template, found, tmp_path):
    with pytest.raises(StageFailure, match=found) as caught:
        chat(a_chatml_tokenizer().with_template(template), tmp_path)
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    assert str(tmp_path) in caught.value.message
    if template is None:
        assert "model.chatTemplate" in caught.value.message
        assert len(caught.value.message) < 1024


@pytest.mark.parametrize(
    ("template", "messages", "response", "found"),
    [
        (DROPS_THINKING, HELLO, "<think>why</think>fine", "drops or rewrites text of the assistant turn"),
        (
            KEEPS_LAST_TWO,
            [*HELLO, Message("assistant", "Hi"), *HELLO],
            "fine",
            "drops or rewrites|renders a prompt diff",
        ),
        (CHATML, [*HELLO, Message("assistant", "Hi")], "fine", "found assistant at its end, expected a user turn"),
        (CHATML, [], "fine", "found no message at its end"),
        (MISTRAL, [Message("system", "Be kind"), *HELLO], "fine", "Only user and assistant roles"),
    ],
)
def test_a_conversation_that_the_template_cannot_render_faithfully_is_refused(
    template, messages, response, found, tmp_path
):
    folder = (a_mistral_tokenizer if template is MISTRAL else a_chatml_tokenizer)().with_template(template)
    tokenizer = chat(folder, tmp_path)
    with pytest.raises(StageFailure, match=found) as caught:
        tokenizer.conversation_ids(messages, response)
    assert caught.value.failure is FailureClass.INVALID_DATA


def test_templates_cannot_reach_into_python(tmp_path):
    escape = "{{ messages.__class__.__mro__[1].__subclasses__() }}" + CHATML
    with pytest.raises(StageFailure, match="refuses a conversation"):
        chat(a_chatml_tokenizer().with_template(escape), tmp_path)


def test_a_folder_without_tokenizer_json_is_refused(tmp_path):
    with pytest.raises(StageFailure, match=r"found no tokenizer.json.*save_pretrained"):
        ChatTokenizer.from_folder(tmp_path)


def test_torch_and_transformers_are_not_imported():
    # other tests of this process may have imported them, so ask a fresh one
    code = (
        "import sys, boresight_trainer.models.chat; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
