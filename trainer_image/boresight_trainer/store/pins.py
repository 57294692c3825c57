"""Pin sources: find out which bytes a URI means now, so that the run's keys can be computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.pins import Pin, licence_label, source_id

from . import hub
from .base import Artifacts
from .buckets import Buckets
from .digests import DigestCache, content_digest
from .inputs import embedded_name, existing, unsupported
from .layout import file_path
from .references import read_tag

_LICENCE = re.compile(r"^licen[sc]e:\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)
_TAG = "artifact://tags/"


def pin(
    uri: str,
    *,
    revision: str | None = None,
    files: Sequence[str] = (),
    store: Artifacts | None = None,
    buckets: Buckets | None = None,
    base: Path | None = None,
    cache: DigestCache | None = None,
) -> Pin:
    """What ``uri`` means now: the content's digest, or the key that a tag names in ``store``.

    ``buckets``: how those of ``s3://`` URIs are reached, by default as the environment says. ``base`` is the
    manifest's folder, for relative ``file://`` URIs. Raises :class:`StageFailure`.
    """
    identity = source_id(uri, revision, files)
    scheme = urlsplit(uri).scheme
    if scheme == "file":
        path = existing(file_path(uri, base), uri)
        for name in files:
            existing(path / name, f"{uri}: files: {name}")
        try:
            digest = content_digest(path, files, cache or DigestCache())
        except OSError as error:
            raise StageFailure(
                FailureClass.INVALID_DATA,
                f"{uri}: {error.filename or path} cannot be read ({error.strerror or error}), expected regular files: "
                "put the file right, or remove it",
            ) from error
        return Pin(id=identity, digest=digest, licence=licence_of(path))
    if scheme == "s3":
        source = (buckets or Buckets()).source(uri, files)
        readme = source.readme()
        return Pin(
            id=identity,
            digest=source.digest(cache or DigestCache()),
            licence=licence_in(readme) if readme is not None else None,
        )
    if scheme == "hf":
        reference = hub.resolve(hub.HubReference.parse(uri).at(revision))
        licence = licence_label(reference.licence) if reference.licence else None
        return Pin(id=identity, digest=reference.digest, revision=reference.revision, licence=licence)
    if scheme == "embedded":
        from ..models import embedded

        return Pin(id=identity, digest=embedded.digest(embedded_name(uri)))
    if uri.startswith(_TAG):
        if store is None:
            raise StageFailure(FailureClass.INVALID_CONFIG, f"{uri}: a tag needs the run's store to be read")
        return Pin(id=identity, key=read_tag(store, uri.removeprefix(_TAG)))
    raise unsupported(uri)


def licence_of(path: Path) -> str | None:
    """The licence that the README beside a source states in its front matter, if it does."""
    readme = (path if path.is_dir() else path.parent) / "README.md"
    try:
        text = readme.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return licence_in(text)


def licence_in(readme: str) -> str | None:
    """The licence that the front matter of a README states, if it does."""
    if not readme.startswith("---"):
        return None
    match = _LICENCE.search(readme.split("---", 2)[1])
    return licence_label(match[1].strip("'\"")) if match else None
