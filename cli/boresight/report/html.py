"""Building HTML and SVG so that nothing reaches the page unescaped: text is escaped unless it is :class:`Markup`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

VOID = {"meta", "br", "hr", "img", "line", "rect", "circle", "path", "polyline", "polygon"}
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Markup(str):
    """Text that is markup already. Only :func:`el`, :func:`join` and constants of this package make it."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]


def el(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """One element. ``cls`` is ``class``, underscores become hyphens, None and False leave an attribute out."""
    parts = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
        parts.append(f" {label}" if value is True else f' {label}="{_escape(_number(value))}"')
    body = join(children)
    if name in VOID and not body:
        return Markup(f"<{name}{''.join(parts)}/>")
    return Markup(f"<{name}{''.join(parts)}>{body}</{name}>")


def join(children: Child) -> Markup:
    """Children one after another, escaped unless they are markup."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int | float):
        return Markup(_escape(_number(children)))
    return Markup("".join(join(child) for child in children))


def _escape(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text), quote=True)


def _number(value: str | int | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
