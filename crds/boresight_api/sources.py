"""What a manifest names from outside: models, data, judges."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, StringConstraints, model_validator

from .base import (
    Contract,
    Digest,
    LongText,
    ModelLabel,
    Percent,
    Positive,
    ShortText,
    int_or_string,
    operational,
    rules,
    semantic,
)
from .enums import DataFormat, TrustRemoteCode
from .kubernetes import ObjectName
from .pins import Revision

SOURCE_URI_PATTERN = (
    r"^((hf|s3|pvc|embedded)://[^\x00-\x20\x7f]+"
    r"|artifact://([0-9a-f]{64}|tags/[a-z0-9]([-a-z0-9.]*[a-z0-9])?)"
    r"|file:(///|[^/\x00-\x1f\x7f])[^\x00-\x1f\x7f]*)$"
)
SourceUri = Annotated[str, StringConstraints(pattern=SOURCE_URI_PATTERN, min_length=1, max_length=1024)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\x00-\x20\x7f]+$", min_length=1, max_length=1024)]
ColumnRole = Literal[
    "id",
    "prompt",
    "messages",
    "response",
    "critique",
    "advice",
    "refined_response",
    "chosen",
    "rejected",
    "constraints",
    "images",
    "audios",
    "videos",
]
FileName = Annotated[
    str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$", min_length=1, max_length=256)
]

LIMIT_PATTERN = r"^([1-9][0-9]{0,11}|(100|[1-9]?[0-9])(\.[0-9]{1,6})?%)$"


def _limit_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'found {value}, expected a number of rows or a share such as "25%"')  # noqa: TRY004
    return str(value)


Limit = Annotated[
    str,
    StringConstraints(pattern=LIMIT_PATTERN),
    BeforeValidator(_limit_text),
    int_or_string(LIMIT_PATTERN, 12, minimum=1),
]
"""A number of rows, or a share of them such as ``25%``."""


class ModelSource(Contract):
    """A model: weights, tokenizer, chat template."""

    uri: SourceUri = operational()
    """``hf://owner/name``, ``s3://bucket/folder`` (below the run's store or one of ``storage.readFrom``),
    ``file:///folder`` (or ``file:folder``, relative to the manifest, on one's own machine), ``pvc://claim/folder``,
    ``artifact://<key>``, ``artifact://tags/<name>`` or ``embedded://<name>``."""
    revision: Revision | None = operational(None)
    """Commit, branch or tag. Absent: the newest at the first plan, which the run then keeps."""
    digest: Digest | None = semantic(None)
    """What the source must be; ``boresight pin`` writes it."""
    chat_template: LongText | None = semantic(None)
    """Jinja template that replaces the tokenizer's own."""
    system_prompt: LongText | None = semantic(None)
    """System message put before every conversation that has none."""
    trust_remote_code: TrustRemoteCode | None = semantic(None)
    """Whether the model's own Python code may run. Default Never."""


class NamedModelSource(ModelSource):
    """A model under its name in the results."""

    name: ModelLabel | None = semantic(None)
    """Its name in the results. Default ``candidate``; baselines: ``baseline``, ``baseline-2``, ..."""


class DataSource(Contract):
    """Rows of a data source."""

    uri: SourceUri = operational()
    """``hf://datasets/owner/name``, ``s3://bucket/path`` (below the run's store or one of ``storage.readFrom``),
    ``file:///path`` (or ``file:path``, relative to the manifest, on one's own machine), ``pvc://claim/path`` or
    ``artifact://``. A file or a folder."""
    revision: Revision | None = operational(None)
    """Commit, branch or tag. Absent: the newest at the first plan, which the run then keeps."""
    digest: Digest | None = semantic(None)
    """What the source must be; ``boresight pin`` writes it."""
    format: DataFormat | None = semantic(None)
    """How rows are read. Default: that of the first ``feedback`` entry, which defaults to AlignAnything."""
    subset: ShortText | None = semantic(None)
    """AlignAnything: which of its subsets. Default: the task's."""
    split: ShortText | None = semantic(None)
    """Which split. Default: all rows of a file; ``train`` of a dataset that has splits."""
    files: tuple[FileName, ...] = semantic((), max_length=64)
    """Files below ``uri``, read in this order. Default: all that the split names."""
    columns: dict[ColumnRole, FileName] = semantic(default_factory=dict, max_length=len(get_args(ColumnRole)))
    """Jsonl: role to column name. Roles: id, prompt, messages, response, critique, advice, refined_response, chosen,
    rejected, constraints, images, audios, videos."""
    weight: Positive | None = semantic(None)
    """How often the rows count in a mixture; fractions by seeded choice. Default 1."""
    limit: Limit | None = semantic(None)
    """At most this many rows, or this share of them such as ``25%``: a seeded, nested subset. Default: all."""


class HoldoutSplitSpec(Contract):
    """Rows set aside by seed, when no holdout is named."""

    percent: Percent | None = semantic(None)
    """Share of the rows. Default 2."""
    max_rows: int | None = semantic(None, ge=1, le=1_000_000)
    """At most this many. Default 1,000."""


class JudgeSource(Contract):
    """A judge: a model that is loaded (``uri``), or one behind an OpenAI-compatible endpoint (``endpoint``)."""

    model_config = rules(
        ("has(self.uri) != has(self.endpoint)", "expected either uri or endpoint"),
        (
            "has(self.endpoint) ? has(self.model) && !has(self.digest) && !has(self.chatTemplate)"
            " : !has(self.model) && !has(self.secretName)",
            "model and secretName go with endpoint (model is required there), digest and chatTemplate with uri",
        ),
    )

    uri: SourceUri | None = operational(None)
    """A model to load, as for other models; often ``artifact://tags/<name>``."""
    endpoint: Url | None = operational(None)
    """Base URL of an OpenAI-compatible API. Its weights cannot be pinned: the stage is marked unpinned."""
    model: ShortText | None = semantic(None)
    """Name of the model at the endpoint."""
    revision: Revision | None = semantic(None)
    """With ``uri``: commit, branch or tag. With ``endpoint``: a label; changing it runs the evaluation again."""
    digest: Digest | None = semantic(None)
    """What the source must be."""
    chat_template: LongText | None = semantic(None)
    """Jinja template that replaces the tokenizer's own."""
    secret_name: ObjectName | None = operational(None)
    """Secret with the key ``JUDGE_API_KEY`` for the endpoint."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> JudgeSource:
        if (self.uri is None) == (self.endpoint is None):
            raise ValueError("expected either uri or endpoint")
        if self.endpoint is not None and self.model is None:
            raise ValueError("expected model, the model's name at the endpoint")
        wrong = ("digest", "chat_template") if self.endpoint is not None else ("model", "secret_name")
        for name in wrong:
            if getattr(self, name) is not None:
                other = "uri" if self.endpoint is not None else "endpoint"
                raise ValueError(f"{name} goes with {other}")
        return self
