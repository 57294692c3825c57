"""Manifests as Git has had them: ``REVISION:FILE``, in Git's own words, or ``FILE.yaml`` as it stands."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    from .results import Results
    from .source import Runs

YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class ManifestAt:
    """A manifest, as it was."""

    words: str
    """Of the user."""
    file: Path
    """Where it stands, which it need not any more: relative paths in it count from there."""
    text: str


def manifest_at(words: str) -> ManifestAt | None:
    """The manifest that ``words`` name; None if they name none. Raises :class:`UserError` if it cannot be had."""
    if not words.endswith(YAML):
        return None
    revision, colon, name = words.partition(":")
    if not colon:
        try:
            return ManifestAt(words, Path(words), Path(words).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{words}: found no text there ({error}), expected a manifest or REVISION:FILE") from error
    base = Path.cwd() if name.startswith(("./", "../")) else Path(_git(words, "rev-parse", "--show-toplevel").strip())
    return ManifestAt(words, base / name, _git(words, "show", "--end-of-options", f"{revision}:{name}"))


def results_at(runs: Runs, manifest: ManifestAt) -> Results:
    """What its evaluation brought: by the keys of its plan, from the store of the run of that name.

    Raises :class:`UserError` if the run is not there, the plan's sources are not known, or it was never evaluated.
    """
    from .artifact import artifact_in
    from .manifests import plan_of
    from .results import RESULTS_FILE, read_results
    from .runs import EVALUATION

    read = runs.read(manifest.file, manifest.text)
    known = runs.known(read)
    if known.present is None:
        raise UserError(
            f"{manifest.words}: found no run {read.name} in {known.place}, whose store would have its results"
        )
    stages = {stage.name: stage for stage in plan_of(read, known.pins, recipe=known.recipe).stages}
    if EVALUATION not in stages:
        raise UserError(f"{manifest.words}: found no evaluation in its plan ({', '.join(stages)})")
    key = stages[EVALUATION].key
    if key is None:
        raise UserError(
            f"{manifest.words}: its keys are not known: it reads other sources than the run that is there, and "
            "does not pin them; commit pins (`boresight pin`), or compare by results.json files"
        )
    store = runs.store(known.present)
    if store.manifest(key) is None:
        raise UserError(
            f"{manifest.words}: its evaluation {key[:12]} is not in {store.uri}: it was never run to its end, or "
            "`artifacts gc` has removed what no run needs any more; run it"
        )
    return read_results(artifact_in(store, key).store.file(key, RESULTS_FILE))


def _git(words: str, *arguments: str) -> str:
    """What Git prints."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"{words}: Git cannot be started ({error.strerror}); it has the revision") from error
    if done.returncode:
        raise UserError(f"{words}: {done.stderr.strip()}; expected REVISION:FILE as `git show` has it")
    return done.stdout
