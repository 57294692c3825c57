"""Features of media: each distinct medium of a pack through its tower once, or never where they are cached."""

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
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..store.flush import flush_entry
from .batch import PackMedia
from .families.family import Family, Tower, base_of
from .medium import Inputs, MediaLoader, Medium

log = logging.getLogger(__name__)


class FeatureCache:
    """Features of frozen towers on disk, one file a medium, under ``folder/<identity>/``; files are never changed.

    ``identity`` names the towers' weights (:func:`towers_digest`) and the precision; a medium's id names its content
    and how it was prepared.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.folder = folder / hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()

    def load(self, medium: Medium) -> Tensor | None:
        """As they were added; None if they are not there. A damaged file is removed."""
        path = self._path(medium)
        try:
            with safe_open(path, framework="pt") as file:
                features: Tensor = file.get_tensor("features")
                return features
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            log.warning("%s is damaged, its features are computed again: %s", path, error)
            path.unlink(missing_ok=True)
            return None

    def add(self, medium: Medium, features: Tensor) -> None:
        """Keep the features of ``medium`` in a file that appears whole or not at all."""
        path = self._path(medium)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
        save_file({"features": features.detach().cpu().contiguous()}, temporary)
        flush_entry(temporary)
        temporary.replace(path)

    def _path(self, medium: Medium) -> Path:
        return self.folder / medium.id[:2] / f"{medium.id}.safetensors"


class MediaFeatures:
    """Runs the towers of ``family`` on media that ``load`` prepares. ``cache`` serves towers that do not train."""

    def __init__(self, family: Family, load: MediaLoader, cache: FeatureCache | None = None) -> None:
        self.family = family
        self._load = load
        self._cache = cache

    def embed(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        media: PackMedia | None,
        features: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """``[T, hidden]``: embeddings of ``input_ids`` ``[T]``, features in the places of their placeholders.

        ``features`` are those of the media if they are known already.
        """
        embedding = model.get_input_embeddings()
        distinct = media.distinct if media is not None else ()
        if media is None:
            embeddings: Tensor = embedding(input_ids)
        else:
            known = self.of(model, distinct) if features is None else features
            rows = torch.cat([known[medium.id] for medium in distinct]).index_select(0, media.features)
            if rows.is_floating_point():
                embeddings = embedding(input_ids)
                embeddings = embeddings.index_copy(0, media.tokens, rows.to(embeddings.dtype))
            else:  # a tower that makes tokens
                embeddings = embedding(input_ids.index_copy(0, media.tokens, rows.to(input_ids.dtype)))
        stand_in = self.stand_in(model, distinct) if torch.is_grad_enabled() else None
        return embeddings if stand_in is None else embeddings + stand_in.to(embeddings.dtype)

    def of(self, model: PreTrainedModel, media: Sequence[Medium]) -> dict[str, Tensor]:
        """Features of each of ``media``, by id: ``[tokens, hidden]``, or ``[tokens]`` ids for towers that make tokens.

        One call a tower, whatever their number.
        """
        base = base_of(model)
        found: dict[str, Tensor] = {}
        for tower in self.family.towers:
            found.update(self._by_tower(base, tower, [m for m in media if m.modality in tower.modalities]))
        return found

    def stand_in(self, model: PreTrainedModel, media: Sequence[Medium]) -> Tensor | None:
        """A zero that is connected to every trainable parameter of the towers that ``media`` do not need.

        With it every rank runs every tower that trains in every micro-batch: collectives of gradients meet, whatever
        the data. None if there is no such tower.
        """
        base = base_of(model)
        present = {medium.modality for medium in media}
        idle = [t for t in self.family.towers if not t.modalities & present and self._trains(base, t)]
        zeros = [tower_features(base, tower, [tower.smallest()])[0].sum() * 0.0 for tower in idle]
        return torch.stack(zeros).sum() if zeros else None

    def _trains(self, base: PreTrainedModel, tower: Tower) -> bool:
        """Whether anything in the tower learns."""
        apart = {name for name, _ in parameters_below(base, self.family.untrained)}
        return any(p.requires_grad and name not in apart for name, p in parameters_below(base, tower.modules))

    def _by_tower(self, base: PreTrainedModel, tower: Tower, media: Sequence[Medium]) -> dict[str, Tensor]:
        if self._trains(base, tower):
            return self._computed(base, tower, media)
        device = base.device
        cached = {m.id: self._cache.load(m) for m in media} if self._cache is not None else {}
        found = {name: features.to(device) for name, features in cached.items() if features is not None}
        missing = [medium for medium in media if medium.id not in found]
        with torch.no_grad():
            computed = self._computed(base, tower, missing)
        if self._cache is not None:
            for medium in missing:
                self._cache.add(medium, computed[medium.id])
        return found | computed

    def _computed(self, base: PreTrainedModel, tower: Tower, media: Sequence[Medium]) -> dict[str, Tensor]:
        if not media:
            return {}
        features = tower_features(base, tower, [self._load(medium) for medium in media])
        for medium, rows in zip(media, features, strict=True):
            if rows.shape[0] != medium.num_tokens:
                raise ValueError(
                    f"{medium.modality} {medium.id}: found {rows.shape[0]} features, expected {medium.num_tokens}, as "
                    "many as its placeholder tokens; its shape does not describe its content"
                )
        return {medium.id: rows for medium, rows in zip(media, features, strict=True)}


def towers_digest(base: PreTrainedModel, family: Family) -> str:
    """SHA-256 over names, shapes and weights of all towers."""
    digest = hashlib.sha256()
    for tower in family.towers:
        for name, parameter in parameters_below(base, tower.modules):
            digest.update(f"{name},{list(parameter.shape)},{parameter.dtype};".encode())
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def parameters_below(base: PreTrainedModel, modules: Sequence[str]) -> list[tuple[str, nn.Parameter]]:
    """The parameters of named modules (or parameters named themselves), with their names in ``base``."""
    return [
        (name, parameter)
        for name, parameter in base.named_parameters()
        if any(name == module or name.startswith(f"{module}.") for module in modules)
    ]


def tower_features(base: PreTrainedModel, tower: Tower, inputs: Sequence[Inputs]) -> Sequence[Tensor]:
    """Features of each medium of ``inputs``, in one call of the tower; ``base`` is the model without its head."""
    _, parameter = parameters_below(base, tower.modules)[0]
    together = {
        name: torch.from_numpy(np.concatenate([one[name] for one in inputs])).to(base.device) for name in inputs[0]
    }
    return tower.run(base, {n: t.to(parameter.dtype) if t.is_floating_point() else t for n, t in together.items()})
