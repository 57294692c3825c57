"""Chat templates: Jinja in the dialect that transformers gives them, sandboxed, with the clock stopped."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

FROZEN_DATE = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)
"""What ``strftime_now`` sees. A template that prints today's date would make tokens, and so results, depend on the day;
this is the date that Llama 3.1's template falls back to."""

TEMPLATE_SWITCHES: Mapping[str, object] = {"enable_thinking": False}
"""Variables that known templates read. Qwen3 opens the answer with an empty thought only when this says so in the
generation prompt too; otherwise the prompt's rendering is not where the scored turn's rendering begins."""

PLAIN_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token + '\\n\\n' }}"
    "{% else %}{{ message['role'] | capitalize + ': ' + message['content'] + '\\n\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
"""A template for base models without one (set it as ``model.chatTemplate``): it needs nothing but an ``eos_token``."""


class TemplateError(ValueError):
    """The template raised, or does not parse; the message is the template's own."""


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}`` marks the assistant's words for transformers; here it only passes its body on."""

    tags = {"generation"}  # noqa: RUF012 jinja2 declares it so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _environment() -> ImmutableSandboxedEnvironment:
    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = FROZEN_DATE.strftime
    return environment


class ChatTemplate:
    """A compiled template. ``tokens`` are the tokenizer's named tokens (``bos_token``, ``eos_token``, ...)."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self.source = source
        self._tokens = dict(tokens)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise TemplateError(f"does not parse: {error}") from error

    def render(self, messages: Sequence[Mapping[str, Any]], *, generation_prompt: bool) -> str:
        """The conversation as text; with ``generation_prompt`` it ends where the assistant's words begin.

        A message's ``content`` is a text, or a list of parts as multimodal templates take them.
        """
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=generation_prompt,
                **TEMPLATE_SWITCHES,
                **self._tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise TemplateError(str(error)) from error
