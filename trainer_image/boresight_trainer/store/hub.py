"""The Hugging Face hub: which commit a name means, and its files on this machine; offline from the hub's cache."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.outcome import FailureClass, StageFailure

log = logging.getLogger(__name__)

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py")
"""What a model needs; no pickle, no other framework's weights."""
DATA_FILES = ("*.parquet", "*.jsonl", "*.json")

_URI = re.compile(r"^hf://(?P<data>datasets/)?(?P<repo>[^/@\s]+/[^/@\s]+|[^/@\s]+)(@(?P<revision>[^@\s]+))?$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")


@dataclass(frozen=True)
class HubReference:
    """``hf://[datasets/]<owner>/<name>[@<revision>]``."""

    repo: str
    kind: str  # "model" or "dataset", as the hub calls them
    revision: str | None = None
    licence: str | None = field(default=None, compare=False)
    """As the repository's card states it, if the hub was asked."""

    @classmethod
    def parse(cls, uri: str) -> HubReference:
        """Raises :class:`StageFailure` (InvalidConfig)."""
        match = _URI.match(uri)
        if match is None or match["repo"] == "datasets":
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f'found "{uri}", expected hf://<owner>/<model> or hf://datasets/<owner>/<dataset>',
            )
        return cls(match["repo"], "dataset" if match["data"] else "model", match["revision"])

    def at(self, revision: str | None) -> HubReference:
        """The same repository at ``revision``, the commit that was pinned; without one, as the URI says."""
        return HubReference(self.repo, self.kind, revision or self.revision)

    @property
    def digest(self) -> str:
        """The content's identity: a commit names every file's content, so nothing need be downloaded to pin it."""
        if self.revision is None or not _COMMIT.match(self.revision):
            raise ValueError(f"{self.repo}: only a commit has a digest; found the revision {self.revision}")
        return "sha256:" + sha256_hex(canonical_json({"hub": self.kind, "repo": self.repo, "commit": self.revision}))


def resolve(reference: HubReference) -> HubReference:
    """``reference`` at the commit that its revision (default: ``main``) means now, or in the cache when offline.

    Raises :class:`StageFailure`: InvalidConfig if the hub knows no such name, Infrastructure if it cannot be reached
    and the cache has nothing.
    """
    if reference.revision is not None and _COMMIT.match(reference.revision):
        return reference
    import httpx2
    from huggingface_hub import HfApi, constants, errors

    if not constants.HF_HUB_OFFLINE:
        try:
            info = HfApi().repo_info(reference.repo, repo_type=reference.kind, revision=reference.revision, timeout=30)
            licence = getattr(getattr(info, "card_data", None), "license", None)
            return HubReference(reference.repo, reference.kind, info.sha, licence if isinstance(licence, str) else None)
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            raise _unknown(reference, error) from error
        except (OSError, httpx2.HTTPError) as error:
            log.warning("the hub does not answer (%s); looking for %s in its cache", error, reference.repo)
    folder = _snapshot(reference, ("*",), offline=True)
    log.info("offline: %s is taken from the cache at commit %s", reference.repo, folder.name)
    return HubReference(reference.repo, reference.kind, folder.name)


def download(reference: HubReference, patterns: Sequence[str]) -> Path:
    """The folder of a snapshot with the files that match ``patterns``, downloaded as far as the cache lacks them."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        return _snapshot(reference, patterns, offline=False)
    return _snapshot(reference, patterns, offline=True)


def _snapshot(reference: HubReference, patterns: Sequence[str], *, offline: bool) -> Path:
    import httpx2
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            reference.repo,
            repo_type=reference.kind,
            revision=reference.revision,
            allow_patterns=list(patterns),
            local_files_only=offline,
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise _unknown(reference, error) from error
    except (OSError, httpx2.HTTPError) as error:
        name = reference.repo if reference.kind == "model" else f"{reference.repo} --repo-type dataset"
        raise StageFailure(
            FailureClass.INFRASTRUCTURE,
            f"hf://{reference.repo}: the hub cannot be reached and its cache on this machine has no such snapshot "
            f"(revision {reference.revision or 'main'}); with network: `hf download {name}`, or copy the files "
            "here and name them with file://",
        ) from error
    return Path(str(folder))


def _unknown(reference: HubReference, error: Exception) -> StageFailure:
    return StageFailure(
        FailureClass.INVALID_CONFIG,
        f"hf://{reference.repo}: the hub knows no {reference.kind} of this name and revision "
        f"({reference.revision or 'main'}), or it is gated ({type(error).__name__}): see the spelling, ask for access "
        "on its page, or set HF_TOKEN",
    )
