"""Reference scores: computed once by the training kernels, kept in the store, shared by sweeps, epochs and resumes.

An entry is named by what it depends on: the reference's weights, the precision, the attention, the token ids, the
media. Scores are computed before the first optimizer step, by the policy itself: an adapter's update is zero then, and
full training has not moved yet. In the packs of epoch 0 the ratio of policy to reference is therefore exactly 1 at the
first step.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..models.batch import Sample, build_pack
from ..models.scorer import Scorer
from ..store.flush import flush_entry
from ..telemetry.progress import Progress
from ..telemetry.stop import StopFlag

log = logging.getLogger(__name__)


def sample_hash(sample: Sample) -> str:
    """SHA-256 over tokens, structure, scored spans and media of a sample."""
    digest = hashlib.sha256()
    for segment in sample.segments:
        parent = -1 if segment.parent is None else segment.parent
        digest.update(f"{len(segment.tokens)},{segment.scored_from},{parent};".encode())
        digest.update(np.ascontiguousarray(segment.tokens, dtype=np.int32).tobytes())
        for span in segment.media:
            digest.update(f"{span.start},{span.medium.id};".encode())
    return digest.hexdigest()


class ReferenceCache:
    """Per-token reference log-probs on disk, under ``folder/<identity>/``: safetensors files that are never changed.

    ``identity`` names the reference model (key or digest of weights and template), precision and attention.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        name = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()
        self.folder = folder / name

    def load(self, hashes: Sequence[str]) -> dict[str, torch.Tensor]:
        """The scores that are there, by sample hash: fp32, ``[scored tokens of the sample]``."""
        wanted, found = set(hashes), {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as file:
                    for name in wanted & set(file.keys()):
                        found[name] = file.get_tensor(name)
            except SafetensorError as error:
                log.warning("%s is damaged, its scores are computed again: %s", path, error)
                path.unlink(missing_ok=True)
        return found

    def add(self, scores: Mapping[str, torch.Tensor]) -> None:
        """Keep ``scores`` in one new file, which appears whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = "".join(sorted(scores))
        target = self.folder / f"{hashlib.sha256(names.encode()).hexdigest()[:32]}.safetensors"
        temporary = target.with_suffix(f".{uuid.uuid4().hex}.tmp")
        save_file(dict(scores), temporary)
        flush_entry(temporary)
        temporary.replace(target)


def reference_scores(
    scorer: Scorer,
    samples: Sequence[Sample],
    packs: Sequence[Sequence[int]],
    cache: ReferenceCache,
    progress: Progress,
    stop: StopFlag,
) -> tuple[list[torch.Tensor], int]:
    """Scores of every sample's responses by the untouched ``scorer``, from the cache where it has them.

    ``packs``: indices of samples, as training will pack them in epoch 0; a pack with a miss is computed whole.
    Returns one fp32 tensor ``[scored tokens]`` a sample (on the CPU), and how many samples were computed.
    """
    hashes = [sample_hash(sample) for sample in samples]
    found = cache.load(hashes)
    missing = [pack for pack in packs if any(hashes[i] not in found for i in pack)]
    device = next(scorer.parameters()).device
    fresh: dict[str, torch.Tensor] = {}
    progress.phase("reference", len(missing))
    try:
        for done, pack in enumerate(missing, 1):
            stop.check()
            with torch.no_grad():
                scores = scorer(build_pack([samples[i] for i in pack], device))
            sizes = [samples[i].num_targets for i in pack]
            for index, part in zip(pack, scores.logprobs.float().cpu().split(sizes), strict=True):
                fresh[hashes[index]] = part.clone()
            progress.advance(done)
    finally:
        if fresh:
            cache.add(fresh)
    found.update(fresh)
    return [found[name] for name in hashes], len(fresh)
