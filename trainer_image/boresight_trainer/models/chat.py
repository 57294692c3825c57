"""From conversations to token ids, the same for training, scoring and generation. Needs no torch and no transformers.

A conversation is rendered once by the model's chat template and encoded as a whole, without a second BOS. The scored
turn is what the whole rendering has beyond the prompt's rendering; it ends with the turn's terminator, which is a
target, while what the template puts after that is not. Nothing is masked or stripped by id, so pad = eos, no pad, no
BOS and several EOS ids all work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

from ..data.records import MediaReference, Message, Modality, PlacedMedia
from .chat_template import PLAIN_CHAT_TEMPLATE, ChatTemplate, TemplateError
from .contents import Contents, Parts, Texts
from .families.family import Family
from .families.registry import family_of
from .guarded_tokenizer import GuardedTokenizer, TokenizerError

_NAMED_TOKENS = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip
_PROBE_PROMPT = (Message("user", "probe request"),)
_PROBE_SYSTEM = "probe system message"
_PROBE_RESPONSE = "probe response"


class ChatTokenizer:
    """The tokenizer, chat template and terminators of one model.

    ``name`` is how messages call the model. ``system_prompt`` is put before every conversation that has no system
    message. ``family`` is that of a multimodal model: the template marks each medium with one placeholder, which
    :class:`.families.encoding.MediaChat` expands. Raises :class:`StageFailure` (InvalidConfig) if the template cannot
    serve: it does not parse, the prompt's rendering is not a prefix of the whole, the assistant's turn has no end, or
    it does not mark media.
    """

    def __init__(
        self,
        tokenizer: GuardedTokenizer,
        template: ChatTemplate,
        *,
        name: str,
        system_prompt: str | None = None,
        eos_ids: frozenset[int] = frozenset(),
        family: Family | None = None,
    ) -> None:
        self.name = name
        self.system_prompt = system_prompt
        self.family = family
        placeholders = {} if family is None else family.placeholders
        self._tokenizer = tokenizer
        self._template = template
        self.placeholders: dict[Modality, int] = {m: self.special_id(token) for m, token in placeholders.items()}
        self._contents = self._find_contents(placeholders)
        self.turn_terminator: int = self._find_terminator()
        self.terminators: frozenset[int] = eos_ids | {self.turn_terminator}
        self.default_system_prompt: str | None = self._find_default_system_prompt()

    @classmethod
    def from_folder(
        cls, path: Path, *, chat_template: str | None = None, system_prompt: str | None = None, name: str | None = None
    ) -> ChatTokenizer:
        """Read ``tokenizer.json``, its configuration and the chat template from a model's folder, and its family.

        Raises :class:`StageFailure` (InvalidConfig) if one is missing or cannot be used.
        """
        name = name or str(path)
        document = _read_json(path / "tokenizer.json")
        if document is None:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"model {name}: found no tokenizer.json in {path}, expected one; make it with transformers: "
                "AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)",
            )
        settings = _read_json(path / "tokenizer_config.json") or {}
        tokens = _named_tokens({**(_read_json(path / "special_tokens_map.json") or {}), **settings})
        source = chat_template or own_template(path)
        if source is None:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"model {name}: found no chat template, expected one; set model.chatTemplate to the template the model "
                f"was trained with. For a base model this one works: {PLAIN_CHAT_TEMPLATE}",
            )
        family = family_of(path) if (path / "config.json").is_file() else None
        placeholders = () if family is None else family.placeholders.values()
        try:
            tokenizer = GuardedTokenizer(document, {*tokens.values(), *_extra_tokens(settings), *placeholders})
            template = ChatTemplate(source, tokens)
        except (TokenizerError, TemplateError) as error:
            raise StageFailure(FailureClass.INVALID_CONFIG, f"model {name}: {error}") from error
        eos_ids = _eos_ids(path) | {
            tokenizer.special_ids[t] for t in [tokens.get("eos_token")] if t in tokenizer.special_ids
        }
        return cls(tokenizer, template, name=name, system_prompt=system_prompt, eos_ids=eos_ids, family=family)

    @property
    def template(self) -> str:
        """Source of the chat template in use."""
        return self._template.source

    @property
    def vocabulary_size(self) -> int:
        """Number of ids that the tokenizer knows; the model's embedding may have more rows."""
        return self._tokenizer.vocabulary_size

    def special_id(self, token: str) -> int:
        """The id of a special token. Raises :class:`StageFailure` (InvalidConfig) if the tokenizer has none such."""
        if token not in self._tokenizer.special_ids:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"model {self.name}: its tokenizer has no token {token}, which stands for media in its family; "
                "the tokenizer belongs to another model",
            )
        return self._tokenizer.special_ids[token]

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that ends with a user turn, up to where the assistant's words begin.

        Raises :class:`StageFailure` (InvalidData) for a conversation with media: their tokens are known to
        :class:`.families.encoding.MediaChat` alone.
        """
        self._refuse_media(messages)
        return self.marked_prompt_ids(messages)

    def marked_prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """As :meth:`prompt_ids`, with one placeholder for each medium."""
        return self._tokenizer.encode(self._render(messages, None))

    def response_ids(self, text: str) -> list[int]:
        """Ids of a scored turn, its terminator last. Use :meth:`conversation_ids` where the prompt is at hand."""
        return self.conversation_ids(_PROBE_PROMPT, text)[1]

    def conversation_ids(self, messages: Sequence[Message], response: str) -> tuple[list[int], list[int]]:
        """Ids of the prompt and of the scored turn that continues it, its terminator last.

        Raises :class:`StageFailure` (InvalidData) if the template drops text or renders the prompt differently when the
        response follows, and for a conversation with media, as :meth:`prompt_ids` does.
        """
        self._refuse_media(messages)
        return self.marked_conversation_ids(messages, response)

    def marked_conversation_ids(self, messages: Sequence[Message], response: str) -> tuple[list[int], list[int]]:
        """As :meth:`conversation_ids`, with one placeholder for each medium."""
        prompt, turn = self._split(messages, response)
        prompt_ids, whole = self._tokenizer.encode(prompt), self._tokenizer.encode(prompt + turn)
        if whole[: len(prompt_ids)] == prompt_ids:
            response_ids = whole[len(prompt_ids) :]
        else:  # a token reaches over the seam; a model that generates from the prompt never sees such a token
            response_ids = self._tokenizer.encode_after(prompt, turn)
        end = next((i for i, token in enumerate(response_ids) if token in self.terminators), None)
        if end is None:
            raise self._failure(FailureClass.INVALID_DATA, "does not end this turn with an end-of-sequence token")
        return prompt_ids, response_ids[: end + 1]

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text; special tokens in it stay text."""
        return self._tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` without special tokens (terminators among them)."""
        return self._tokenizer.decode(ids)

    def _render(self, messages: Sequence[Message], response: str | None) -> str:
        """The guarded rendering of ``messages``, then of ``response`` or of the generation prompt."""
        if not messages or messages[-1].role != "user":
            found = messages[-1].role if messages else "no message"
            raise StageFailure(FailureClass.INVALID_DATA, f"prompt: found {found} at its end, expected a user turn")
        turns = [self._contents.turn(message) for message in messages]
        if self.system_prompt is not None and messages[0].role != "system":
            turns.insert(0, self._contents.turn(Message("system", self.system_prompt)))
        if response is not None:
            turns.append(self._contents.turn(Message("assistant", response)))
        try:
            rendering = self._template.render([t.written for t in turns], generation_prompt=response is None)
        except TemplateError as error:
            raise self._failure(FailureClass.INVALID_DATA, f"refuses a conversation: {error}") from error
        for turn in turns:
            for text in turn.texts:
                if text.strip() not in rendering:
                    raise self._failure(
                        FailureClass.INVALID_DATA,
                        f'drops or rewrites text of the {turn.role} turn "{text.strip()[:80]}"',
                    )
        return self._tokenizer.guard(rendering)

    def _split(self, messages: Sequence[Message], response: str) -> tuple[str, str]:
        """The prompt's guarded rendering, and what the whole rendering has beyond it."""
        prompt, whole = self._render(messages, None), self._render(messages, response)
        if not whole.startswith(prompt):
            raise self._failure(
                FailureClass.INVALID_DATA,
                "renders a prompt differently once its answer follows (it trims history or thinking), so the answer's "
                "tokens cannot be told apart",
            )
        return prompt, whole[len(prompt) :]

    def check_media(self, messages: Sequence[Message]) -> None:
        """Raise :class:`StageFailure` (InvalidData) for media of a kind that the model does not take."""
        for reference in _media(messages):
            if reference.modality not in self.placeholders:
                taken = "text only" if not self.placeholders else f"text and {' and '.join(self.placeholders)}"
                raise StageFailure(
                    FailureClass.INVALID_DATA,
                    f"prompt: found {reference.modality} {reference.path or reference.digest}, but model {self.name} "
                    f"takes {taken}: choose a model that takes it, or leave the column out",
                )

    def _refuse_media(self, messages: Sequence[Message]) -> None:
        self.check_media(messages)
        for reference in _media(messages):
            raise StageFailure(
                FailureClass.INVALID_DATA,
                f"prompt: found {reference.modality} {reference.path or reference.digest} where only text is read; "
                "leave the column out",
            )

    def _find_contents(self, placeholders: Mapping[Modality, str]) -> Contents:
        """How this template takes the content of a turn: as parts if it can; the templates of text models cannot."""
        texts = Texts(self._tokenizer.hide, placeholders)
        if not placeholders:
            return texts
        for contents in (Parts(self._tokenizer.hide), texts):
            if all(self._marks(contents, modality, token) for modality, token in placeholders.items()):
                return contents
        raise self._failure(
            FailureClass.INVALID_CONFIG, f"does not mark each medium with {' or '.join(placeholders.values())} once"
        )

    def _marks(self, contents: Contents, modality: Modality, token: str) -> bool:
        """Whether a medium of a turn becomes one placeholder, and the words of that turn are kept."""
        (words,) = _PROBE_PROMPT
        probe = Message(words.role, words.content, (PlacedMedia(0, MediaReference(modality, path="probe")),))
        try:
            rendering = self._template.render([contents.turn(probe).written], generation_prompt=True)
        except TemplateError:
            return False
        return rendering.count(token) == 1 and words.content in rendering

    def _find_terminator(self) -> int:
        """The first special token after the assistant's words."""
        try:
            _, turn = self._split(_PROBE_PROMPT, _PROBE_RESPONSE)
        except StageFailure as failure:
            raise StageFailure(FailureClass.INVALID_CONFIG, failure.message) from failure
        terminator = self._tokenizer.first_special(turn.partition(_PROBE_RESPONSE)[2])
        if terminator is None:
            raise self._failure(
                FailureClass.INVALID_CONFIG,
                "does not end the assistant's turn with a special token, so a model could not learn when to stop; "
                "let it write eos_token after the assistant's words",
            )
        return terminator

    def _find_default_system_prompt(self) -> str | None:
        """What the template says as system when nobody does: compared with where it puts a given system message."""
        if self.system_prompt is not None:
            return None
        try:
            given = self._render((Message("system", _PROBE_SYSTEM), *_PROBE_PROMPT), None)
        except StageFailure:  # the template knows no system role
            return None
        default = self._render(_PROBE_PROMPT, None)
        before, _, after = given.partition(_PROBE_SYSTEM)
        if len(default) < len(before) + len(after) or not (default.startswith(before) and default.endswith(after)):
            return None
        return default[len(before) : len(default) - len(after)] or None

    def _failure(self, failure: FailureClass, problem: str) -> StageFailure:
        return StageFailure(
            failure, f"model {self.name}: the chat template {problem}. Set model.chatTemplate to one that fits"
        )


def _media(messages: Sequence[Message]) -> Iterator[MediaReference]:
    return (placed.reference for message in messages for placed in message.media)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StageFailure(FailureClass.INVALID_CONFIG, f"{path}: found no valid JSON ({error})") from error
    return document if isinstance(document, dict) else None


def _content(token: object) -> str | None:
    """Configurations write a token as text or as ``{"content": ...}``."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None


def _named_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    found = {name: _content(settings.get(name)) for name in _NAMED_TOKENS}
    return {name: content for name, content in found.items() if content is not None}


def _extra_tokens(settings: Mapping[str, Any]) -> list[str]:
    """Tokens that the configuration declares special without giving them a part."""
    extra: list[object] = []
    for key in ("extra_special_tokens", "additional_special_tokens"):
        value = settings.get(key) or ()
        extra += value.values() if isinstance(value, Mapping) else value
    return [content for content in map(_content, extra) if content is not None]


def own_template(path: Path) -> str | None:
    """The template in a model's folder; a file of its own goes before the configuration, as in transformers."""
    file = path / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = (_read_json(path / "tokenizer_config.json") or {}).get("chat_template")
    if isinstance(template, list):  # several by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _eos_ids(path: Path) -> frozenset[int]:
    """End-of-sequence ids that the model's own configuration files name: none, one or several each."""
    ids: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        value = (_read_json(path / name) or {}).get("eos_token_id")
        ids.update([value] if isinstance(value, int) else value or ())
    return frozenset(ids)
