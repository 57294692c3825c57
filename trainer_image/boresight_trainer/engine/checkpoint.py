"""Atomic checkpoints: written under a temporary name, flushed, renamed when whole. A damaged one is passed over.

A checkpoint holds the trainable parameters, the optimizer's moments, the number of completed optimizer steps and the
metrics logged so far. Data position, learning rate and packing are pure functions of the step, so nothing else
is needed.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from boresight_api.outcome import FailureClass, StageFailure
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..store.errors import storage_errors
from ..store.flush import flush_entry, flush_folder

log = logging.getLogger(__name__)

_STATE = "state.json"


@dataclass(frozen=True)
class CheckpointState:
    """What is not a tensor."""

    step: int
    """Completed optimizer steps."""
    samples_digest: str
    """Digest of the samples' ids and lengths: a checkpoint of other data is refused."""
    tokens: int
    """Tokens trained on so far."""
    threads: int
    """CPU threads: sums are reproducible to the bit only with the same number."""


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint on disk."""

    folder: Path
    state: CheckpointState


def save(
    folder: Path,
    state: CheckpointState,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    metrics: Path | None,
    *,
    keep: int,
) -> Path:
    """Write a checkpoint below ``folder`` and remove all but the newest ``keep``. Returns its folder."""
    target = folder / f"step-{state.step:08d}"
    temporary = folder / f".{target.name}.tmp"
    with storage_errors("write a checkpoint", temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            save_file(_trainable(model), temporary / "parameters.safetensors")
            save_file(_moments(model, optimizer), temporary / "optimizer.safetensors")
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(str(error)) from error
        if metrics is not None and metrics.exists():
            shutil.copyfile(metrics, temporary / "metrics.jsonl")
        (temporary / _STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
        flush_folder(temporary)
        shutil.rmtree(target, ignore_errors=True)  # a damaged one that was passed over
        temporary.rename(target)
        flush_entry(folder)
        for old in sorted(folder.glob("step-*"))[:-keep]:
            shutil.rmtree(old)
    return target


def found_in(folders: Iterable[Path]) -> Iterator[Checkpoint]:
    """The checkpoints in ``folders``, most steps first. One whose state cannot be read is passed over, and logged."""
    found = []
    for folder in folders:
        for state_file in folder.glob(f"step-*/{_STATE}"):
            try:
                state = CheckpointState(**json.loads(state_file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                log.warning("%s is damaged and passed over: %s", state_file.parent, error)
                continue
            found.append(Checkpoint(state_file.parent, state))
    yield from sorted(found, key=lambda checkpoint: checkpoint.state.step, reverse=True)


def newest(folders: Iterable[Path]) -> Checkpoint | None:
    """The readable checkpoint with the most steps in any of ``folders``."""
    return next(found_in(folders), None)


class DamagedCheckpoint(Exception):  # noqa: N818 a state of the disk, not a fault of the caller
    """Its tensors cannot be read; an older checkpoint may serve."""


def restore(
    checkpoint: Checkpoint, model: torch.nn.Module, optimizer: torch.optim.Optimizer, *, samples_digest: str
) -> None:
    """Load parameters and moments in place, all of them or none.

    Raises :class:`StageFailure` (MissingInput) if the checkpoint belongs to other data or other parameters, and
    :class:`DamagedCheckpoint` if its tensors cannot be read.
    """
    if checkpoint.state.samples_digest != samples_digest:
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"{checkpoint.folder}: this checkpoint was made from other samples, although the key is the same; "
            "a source changed after it was pinned. Remove the folder to start the stage anew",
        )
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    try:
        saved = load_file(checkpoint.folder / "parameters.safetensors")
        moments = load_file(checkpoint.folder / "optimizer.safetensors")
    except (SafetensorError, FileNotFoundError) as error:
        raise DamagedCheckpoint(f"{checkpoint.folder}: {error}") from error
    if saved.keys() != parameters.keys():
        odd = sorted(saved.keys() ^ parameters.keys())[:3]
        raise StageFailure(FailureClass.MISSING_INPUT, f"{checkpoint.folder}: parameters differ, such as {odd}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
    for name, parameter in parameters.items():
        optimizer.state[parameter] = {
            "step": moments[f"{name}|step"].to(parameter.device),
            "exp_avg": moments[f"{name}|exp_avg"].to(parameter.device),
            "exp_avg_sq": moments[f"{name}|exp_avg_sq"].to(parameter.device),
        }


def samples_digest(ids_and_lengths: Sequence[tuple[str, int]]) -> str:
    """A digest that changes when the samples, their order or their lengths do."""
    from boresight_api.base import canonical_json, sha256_hex

    return sha256_hex(canonical_json([[name, length] for name, length in ids_and_lengths]))


def _trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def _moments(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        for kind, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{kind}"] = value.detach().contiguous()
    return tensors
