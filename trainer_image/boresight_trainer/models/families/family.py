"""What the trainer asks of a family of multimodal models. One file a family, one line in the registry.

A family turns shapes into exact numbers of tokens, arrays into what its towers take, and knows its towers. It names no
objective; objectives name no family.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from boresight_api.outcome import FailureClass, StageFailure

from ...data.records import Modality
from ..medium import Content, Grid, Inputs, Medium, Shape, modality_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from .files import ModelFiles


@dataclass(frozen=True)
class Tower:
    """A part of the model that turns media into features: an encoder with its projector, run as one."""

    modalities: frozenset[Modality]
    modules: tuple[str, ...]
    """Names of its modules (and of parameters of its own) in the model without its head."""
    run: Callable[[PreTrainedModel, Mapping[str, Tensor]], Sequence[Tensor]]
    """``(model without its head, inputs) -> features of each medium``, in one call of the encoder. Features are
    ``[tokens, hidden]``, or ``[tokens]`` ids of the vocabulary where a tower makes tokens."""
    smallest: Callable[[], Inputs]
    """The least it can be run on: with weight zero it stands for media where a pack has none."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Tokens that replace one placeholder: ``before``, then the placeholder for each feature, then ``after``."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Family(ABC):
    """Models of one architecture; an instance is made for one model's folder.

    Raises :class:`StageFailure` (InvalidConfig) at construction if the folder asks for something that the family does
    not implement.
    """

    architecture: ClassVar[str]
    """Name of the transformers class that generates text."""
    placeholders: ClassVar[Mapping[Modality, str]]
    """The special token that stands for one medium in a rendered conversation, and for one feature after expansion."""
    expansion: ClassVar[Expansion] = Expansion()
    untrained: tuple[str, ...] = ()
    """Modules of the model without its head that training leaves alone: no output depends on them, or the model's own
    code keeps them as they are."""

    def __init__(self, files: ModelFiles) -> None:
        self.files = files

    def model_class(self) -> Any:
        """The class :attr:`architecture` names, with its ``from_pretrained``."""
        import transformers

        return getattr(transformers, self.architecture)

    @property
    @abstractmethod
    def towers(self) -> tuple[Tower, ...]:
        """Every tower of the model; no modality belongs to two."""

    @abstractmethod
    def parameters(self, modality: Modality) -> Mapping[str, Any]:
        """What decides, beside the content, what a medium looks like to its tower. Plain JSON."""

    @abstractmethod
    def measure(self, shape: Shape) -> tuple[int, Grid | None]:
        """The number of tokens of a medium, and how they count positions. Decodes nothing.

        Raises ``ValueError`` for a medium that the model cannot take, saying what was found and what was expected.
        """

    @abstractmethod
    def prepare(self, content: Content, shape: Shape) -> Inputs:
        """What the tower takes for one decoded medium."""

    def head_bias(self, model: PreTrainedModel) -> Tensor | None:
        """``[vocabulary]`` that is added to the logits, for families whose output layer forbids tokens."""
        del model
        return None

    def medium(self, digest: str, shape: Shape) -> Medium:
        """The medium whose content has ``digest``. Raises as :meth:`measure` does."""
        modality = modality_of(shape)
        if modality not in self.placeholders:
            raise ValueError(f"found {modality}, but {self.architecture} takes {' and '.join(self.placeholders)} only")
        num_tokens, grid = self.measure(shape)
        facts = [digest, modality, asdict(shape), type(self).__name__, self.parameters(modality)]
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return Medium(name, digest, shape, num_tokens, grid)


def base_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model without its head, below which towers and language model lie."""
    base: PreTrainedModel = model.base_model
    return base


def unsupported(setting: str, found: object, expected: object) -> StageFailure:
    """The failure of a model whose folder asks for what its family does not implement."""
    return StageFailure(
        FailureClass.INVALID_CONFIG,
        f"model: {setting} is {found!r}, expected {expected!r}; nothing else is implemented, choose another model",
    )
