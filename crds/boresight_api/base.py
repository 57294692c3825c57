"""What every model of the contract shares: strictness, naming, and fields that are semantic or operational."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

API_VERSION = "boresight.dev/v1alpha1"

DECIMAL_PATTERN = r"^-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
KEY_PATTERN = r"^[0-9a-f]{64}$"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def encoded_size(text: str) -> int:
    """Bytes of ``text`` inside the quotes of a JSON document."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) - 2


def encoded_at_most(limit: int) -> Callable[[str], str]:
    """A validator: the text takes at most ``limit`` bytes in a JSON document."""

    def check(text: str) -> str:
        size = encoded_size(text)
        if size > limit:
            raise ValueError(f"found {size} bytes as JSON, expected at most {limit}")
        return text

    return check


Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN, max_length=71)]
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN, max_length=64)]
StageName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, min_length=1, max_length=16)]
ModelLabel = Annotated[str, StringConstraints(pattern=NAME_PATTERN, min_length=1, max_length=16)]
SuiteLabel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=32)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, min_length=1, max_length=63)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
StoreUri = Annotated[
    str,
    StringConstraints(pattern=r"^(file|s3)://[^\x00-\x1f\x7f]+$", min_length=1, max_length=400),
    AfterValidator(encoded_at_most(400)),
]
ShortText = Annotated[str, StringConstraints(max_length=256)]
LongText = Annotated[str, StringConstraints(max_length=8192)]


class Contract(BaseModel):
    """Frozen, camelCase in documents, snake_case in Python, unknown fields rejected."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        defer_build=True,
    )


def rules(*pairs: tuple[str, str]) -> ConfigDict:
    """``model_config`` with CEL rules (expression, message) for the API server; a validator says the same in Python."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in pairs]})


class FieldClass(StrEnum):
    """Whether a field says *what* is computed (it enters the key) or only *where and how* (it never does)."""

    SEMANTIC = "semantic"
    OPERATIONAL = "operational"


_CLASS = "x-boresight-class"
_NEUTRAL = "x-boresight-neutral"


def semantic(default: Any = ..., *, neutral: Any = None, **kwargs: Any) -> Any:
    """A field that enters the stage's key.

    ``neutral`` is the value that means "as before this field existed"; at that value the field is left out of the key,
    so that adding a field in a new release retrains nothing.
    """
    return Field(default, json_schema_extra={_CLASS: FieldClass.SEMANTIC, _NEUTRAL: neutral}, **kwargs)


def operational(default: Any = ..., *, list_keys: tuple[str, ...] = (), **kwargs: Any) -> Any:
    """A field that never enters a key: where a stage runs, on how many devices, what it logs.

    ``list_keys`` makes a list one of named items, which several writers may share (Kubernetes' list-type map).
    """
    extra: dict[str, Any] = {_CLASS: FieldClass.OPERATIONAL}
    if list_keys:
        extra |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(list_keys)}
    return Field(default, json_schema_extra=extra, **kwargs)


def field_class(field: FieldInfo) -> FieldClass | None:
    """The declared class of a field, or None if its author forgot to say (a test fails on that)."""
    extra = field.json_schema_extra
    value = extra.get(_CLASS) if isinstance(extra, Mapping) else None
    return FieldClass(str(value)) if value is not None else None


def list_keys(field: FieldInfo) -> tuple[str, ...]:
    """The fields that name an item of a named list; empty for every other field."""
    extra = field.json_schema_extra
    keys = extra.get("x-kubernetes-list-map-keys") if isinstance(extra, Mapping) else None
    return tuple(str(key) for key in keys) if isinstance(keys, list) else ()


def parse_decimal(value: object) -> Decimal:
    """A decimal from an integer or a string. Floats are refused: ``2e-5`` in YAML is not exactly 2e-5."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, float):
        spelled = re.sub(r"e([+-]?)0+", r"e\1", repr(value)).replace("e+", "e")
        raise ValueError(f'found the number {value}, write "{spelled}" with quotes')  # noqa: TRY004 pydantic's way
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'found {value}, expected a decimal such as "0.1" or "2e-5"')  # noqa: TRY004
    if isinstance(value, str) and not re.fullmatch(DECIMAL_PATTERN, value):
        raise ValueError(f'found "{value}", expected a decimal such as "0.1" or "2e-5"')
    return Decimal(value)


_EXACT = Context(prec=64)
"""More digits than DECIMAL_PATTERN allows, so that normalising never rounds two numbers into one."""


def format_decimal(value: Decimal) -> str:
    """One spelling for one number: ``2e-5``, ``0.00002`` and ``0.000020`` all become ``0.00002``."""
    return format(value.normalize(_EXACT), "f") if value else "0"


def int_or_string(pattern: str, max_length: int, **keywords: Any) -> WithJsonSchema:
    """The schema of a value that is an integer or a string of the given form, as Kubernetes spells it."""
    return WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": pattern, "maxLength": max_length, **keywords},
        mode="validation",
    )


DecimalNumber = Annotated[
    Decimal,
    BeforeValidator(parse_decimal),
    PlainSerializer(format_decimal, return_type=str),
    int_or_string(DECIMAL_PATTERN, 42),
]
"""A decimal in a document (integer or string); a :class:`decimal.Decimal` in Python, so ``float(x)`` is explicit."""


@dataclass(frozen=True)
class Between:
    """Bounds of a decimal, for pydantic and (as a CEL rule) for the API server."""

    low: str
    high: str
    above: bool = False
    """Whether ``low`` itself is out of bounds."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        low, high = (str(float(bound)) for bound in (self.low, self.high))
        expression = f"double(self) {'>' if self.above else '>='} {low} && double(self) <= {high}"
        return {**handler(schema), "x-kubernetes-validations": [{"rule": expression, "message": self._expected()}]}

    def _expected(self) -> str:
        if self.above:
            return f"expected a number above {self.low} and at most {self.high}"
        return f"expected a number from {self.low} to {self.high}"

    def _check(self, value: Decimal) -> Decimal:
        if not (Decimal(self.low) <= value <= Decimal(self.high)) or (self.above and value == Decimal(self.low)):
            raise ValueError(f"found {format_decimal(value)}, {self._expected()}")
        return value


Positive = Annotated[DecimalNumber, Between("0", "1000000", above=True)]
NonNegative = Annotated[DecimalNumber, Between("0", "1000000")]
Fraction = Annotated[DecimalNumber, Between("0", "1")]
Percent = Annotated[DecimalNumber, Between("0", "100")]


def semantic_form(value: Any) -> Any:
    """The part of a contract value that says what is computed, as plain JSON data.

    Operational fields, absent values and fields at their neutral value are left out.
    """
    if isinstance(value, Contract):
        form: dict[str, Any] = {}
        for name, field in type(value).model_fields.items():
            if field_class(field) is FieldClass.OPERATIONAL:
                continue
            item = getattr(value, name)
            extra = field.json_schema_extra
            neutral = extra.get(_NEUTRAL) if isinstance(extra, Mapping) else None
            if item is None or (neutral is not None and item == neutral):
                continue
            form[field.alias or name] = semantic_form(item)
        return form
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): semantic_form(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [semantic_form(v) for v in value]
    if isinstance(value, str | int | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical_json(value: Any) -> bytes:
    """The one byte string for a JSON value: sorted keys, no spaces, UTF-8, no floats (RFC 8785, integers only)."""

    def refuse_floats(item: Any) -> None:
        if isinstance(item, str):  # most are; the rest costs ten times as much
            return
        if isinstance(item, float):
            raise TypeError(f"the float {item} has no canonical form; use an integer or a decimal string")
        if isinstance(item, Mapping):
            for v in item.values():
                refuse_floats(v)
        elif isinstance(item, list | tuple):
            for v in item:
                refuse_floats(v)

    refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def models_of(model: type[Contract]) -> Iterator[type[Contract]]:
    """``model`` and every contract model below it, each once."""
    seen: dict[type[Contract], None] = {}
    stack = [model]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen[current] = None
        for field in current.model_fields.values():
            stack.extend(models_in(field.annotation))
    yield from seen


def models_in(annotation: Any) -> Iterator[type[Contract]]:
    """The contract models that an annotation names: itself, or inside ``X | None``, tuples and dicts."""
    if isinstance(annotation, type) and issubclass(annotation, Contract):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple, dict):
        for argument in get_args(annotation):
            yield from models_in(argument)
