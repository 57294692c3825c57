"""What the docstrings say about models and fields, for the CRDs and the reference page.

Read from the source when documents are generated, not at import: a command that only plans should not pay for it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache

from .base import Contract


def describe(model: type[Contract]) -> str:
    """The docstring of ``model`` as running text."""
    return _running(model.__doc__ or "")


def describe_field(model: type[Contract], name: str) -> str:
    """The docstring below the field ``name`` of ``model``, or of the base that declares it; empty if there is none."""
    for owner in model.__mro__:
        if text := _field_docstrings(owner.__module__).get((owner.__name__, name)):
            return _running(text)
    return ""


@cache
def _field_docstrings(module: str) -> dict[tuple[str, str], str]:
    """(class, field) -> docstring, of a module of this package."""
    if not module.startswith(__package__ or ""):
        return {}
    found = {}
    for cls in ast.parse(inspect.getsource(sys.modules[module])).body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for field, text in zip(cls.body, cls.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[cls.name, field.target.id] = text.value.value
    return found


def _running(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")
