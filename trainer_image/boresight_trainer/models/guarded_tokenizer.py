"""A tokenizer whose special tokens only a chat template can write.

Special tokens are structure: ``<|im_end|>`` ends a turn. The same ten characters in a user's message are text about
such a token, and if they became the token, data could end turns, open system turns and corrupt targets. Encoding parts
of a conversation separately would avoid that but changes ordinary tokens: several tokenizers treat the start of a text
differently from its middle. So the special tokens of a private copy of ``tokenizer.json`` get names that nobody can
guess, the template's tokens are translated into these names, and the whole rendering is encoded in one go: ordinary
text becomes exactly the tokens that transformers gives it, and a literal ``<|im_end|>`` matches nothing.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer


class TokenizerError(ValueError):
    """``tokenizer.json`` cannot be guarded; the message says what stands in the way."""


class GuardedTokenizer:
    """Encodes guarded text: special tokens written by :meth:`guard`, everything else as plain text.

    ``document`` is the parsed ``tokenizer.json``; ``named_special`` are tokens that only the tokenizer's configuration
    declares special. Added tokens that are not special (``<think>`` of Qwen3) stay ordinary vocabulary.
    """

    def __init__(self, document: dict[str, Any], named_special: Iterable[str] = ()) -> None:
        self._nonce = secrets.token_hex(16)
        self._added = _special_tokens(document, frozenset(named_special))
        self.special_ids: dict[str, int] = {token["content"]: token["id"] for token in self._added}
        self._contents = sorted(self.special_ids, key=lambda content: (-len(content), content))
        self._index = {content: i for i, content in enumerate(self._contents)}
        self._literal = re.compile("|".join(map(re.escape, self._contents)) or r"(?!)")
        self._placeholder = re.compile(rf"<{self._nonce}:t([0-9]+)>")
        self._private = re.compile(rf"<{self._nonce}:s([0-9]+)>")
        self._tokenizer = self._build(document)
        self.vocabulary_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.seam = f"<{self._nonce}:seam>"
        self._tokenizer.add_special_tokens([AddedToken(self.seam, normalized=False)])
        self._seam_id = self.vocabulary_size
        assert self._tokenizer.token_to_id(self.seam) == self._seam_id

    def hide(self, text: str) -> str:
        """``text`` of a user or a data row, with literal special tokens replaced so that a template can carry them."""
        return self._literal.sub(lambda m: f"<{self._nonce}:t{self._index[m[0]]}>", text)

    def guard(self, rendering: str) -> str:
        """A rendering of hidden texts: the template's special tokens get private names, hidden literals return."""
        private = self._literal.sub(lambda m: self._private_name(m[0]), rendering)
        return self._placeholder.sub(lambda m: self._contents[int(m[1])], private)

    def encode(self, guarded: str) -> list[int]:
        """Token ids of guarded text (or of plain text, in which case none of them is special)."""
        ids: list[int] = self._tokenizer.encode(guarded, add_special_tokens=False).ids
        return ids

    def encode_after(self, guarded_prefix: str, guarded: str) -> list[int]:
        """Token ids of ``guarded`` as a continuation of ``guarded_prefix`` with a token boundary between them."""
        ids = self.encode(guarded_prefix + self.seam + guarded)
        return ids[ids.index(self._seam_id) + 1 :]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids`` without special tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def first_special(self, guarded: str) -> int | None:
        """The id of the first special token in guarded text."""
        match = self._private.search(guarded)
        return self.special_ids[self._contents[int(match[1])]] if match else None

    def _private_name(self, content: str) -> str:
        return f"<{self._nonce}:s{self._index[content]}>"

    def _build(self, document: dict[str, Any]) -> Tokenizer:
        ordinary = [t for t in document.get("added_tokens", ()) if t["content"] not in self._index]
        renamed = [{**t, "content": self._private_name(t["content"])} for t in self._added]
        private = {
            **document,
            "added_tokens": sorted(ordinary + renamed, key=lambda t: int(t["id"])),
            "model": self._renamed_model(document["model"]),
            "post_processor": None,
            "truncation": None,
            "padding": None,
        }
        try:
            tokenizer = Tokenizer.from_str(json.dumps(private))
        except Exception as error:  # the Rust library raises bare Exception
            raise TokenizerError(f"tokenizer.json does not load ({error})") from error
        for token in renamed:
            found = tokenizer.token_to_id(token["content"])
            if found != token["id"]:
                original = self._contents[int(self._private.fullmatch(token["content"])[1])]  # type: ignore[index]
                raise TokenizerError(
                    f'special token "{original}" has id {token["id"]} in tokenizer.json but loads as {found}'
                )
        return tokenizer

    def _renamed_model(self, model: dict[str, Any]) -> dict[str, Any]:
        """The vocabulary knows special tokens too: Unigram and ``ignore_merges`` would find a literal there."""

        def rename(token: str) -> str:
            return self._private_name(token) if token in self._index else token

        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            renamed: Any = {rename(token): number for token, number in vocabulary.items()}
        else:
            renamed = [[rename(token), score] for token, score in vocabulary]
        unknown = model.get("unk_token")
        return {**model, "vocab": renamed, **({"unk_token": rename(unknown)} if unknown is not None else {})}


def _special_tokens(document: dict[str, Any], named: frozenset[str]) -> list[dict[str, Any]]:
    """The entries of ``added_tokens`` that are special, and those that configuration names and the vocabulary knows."""
    added = {token["content"]: token for token in document.get("added_tokens", ())}
    special = [{**t, "special": True} for content, t in added.items() if t["special"] or content in named]
    vocabulary = document["model"]["vocab"]
    ids = vocabulary if isinstance(vocabulary, dict) else {token: i for i, (token, _) in enumerate(vocabulary)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    missing = sorted((name for name in named - added.keys() if name in ids), key=lambda name: ids[name])
    return special + [{"id": ids[name], "content": name, **flags} for name in missing]
