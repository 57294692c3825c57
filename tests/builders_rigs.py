"""Tiny random models of the multimodal families with their own processors, and rows whose prompts hold media."""

from __future__ import annotations

import copy
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from boresight_trainer.data.records import MediaReference, Message, Modality, PlacedMedia
from boresight_trainer.models.attention import PACKED, decoder_of
from boresight_trainer.models.batch import Sample
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.models.families.encoding import MediaChat
from boresight_trainer.models.families.family import Family, Tower
from boresight_trainer.models.families.registry import family_of
from boresight_trainer.models.features import FeatureCache, MediaFeatures
from boresight_trainer.models.medium import AudioShape, Content, ImageShape, Inputs, Medium, Shape, VideoShape
from boresight_trainer.models.scorer import Scorer
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel


class Shelf:
    """Media by name, as a media library would hand them out; it counts what is loaded."""

    def __init__(self) -> None:
        self._contents: dict[str, tuple[Shape, Content]] = {}
        self.loaded: Counter[str] = Counter()

    def put(self, name: str, content: Content, *, fps: float = 1.0) -> MediaReference:
        """A medium's reference; frames of a video come ``fps`` a second."""
        shape: Shape
        if content.ndim == 4:
            shape = VideoShape(*content.shape[:3], fps)
            modality = Modality.VIDEO
        elif content.ndim == 3:
            shape, modality = ImageShape(*content.shape[:2]), Modality.IMAGE
        else:
            shape, modality = AudioShape(content.shape[0]), Modality.AUDIO
        self._contents[name] = (shape, content)
        return MediaReference(modality, path=name)

    def shape(self, reference: MediaReference) -> Shape:
        return self._contents[str(reference.path)][0]

    def content(self, reference: MediaReference) -> Content:
        return self._contents[str(reference.path)][1]

    def find(self, reference: MediaReference) -> tuple[str, Shape]:
        shape, content = self._contents[str(reference.path)]
        return hashlib.sha256(content.tobytes()).hexdigest(), shape

    def loader(self, family: Family) -> Callable[[Medium], Inputs]:
        def load(medium: Medium) -> Inputs:
            self.loaded[medium.id] += 1
            contents = (content for _, content in self._contents.values())
            content = next(c for c in contents if hashlib.sha256(c.tobytes()).hexdigest() == medium.digest)
            return family.prepare(content, medium.shape)

        return load


@dataclass(frozen=True)
class Row:
    """A prompt with media and two responses to it."""

    id: str
    messages: tuple[Message, ...]
    chosen: str = "It is a quick brown fox, I think."
    rejected: str = "No idea at all; it costs 12 euros."

    @property
    def media(self) -> list[MediaReference]:
        return [placed.reference for message in self.messages for placed in message.media]


def user(text: str, *media: MediaReference | tuple[int, MediaReference]) -> Message:
    """A user turn; media stand before its words unless an offset says otherwise."""
    placed = [PlacedMedia(*m) if isinstance(m, tuple) else PlacedMedia(0, m) for m in media]
    return Message("user", text, tuple(placed))


def an_image(shelf: Shelf, name: str, height: int = 37, width: int = 61) -> MediaReference:
    """An image of noise and a gradient, different for each name."""
    draw = np.random.default_rng(list(name.encode()))
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    return shelf.put(name, (ramp * 0.5 + draw.integers(0, 128, (height, width, 3))).astype(np.uint8))


def a_video(
    shelf: Shelf, name: str, frames: int = 5, height: int = 40, width: int = 33, fps: float = 1.0
) -> MediaReference:
    """Frames of noise."""
    draw = np.random.default_rng(list(name.encode()))
    return shelf.put(name, draw.integers(0, 256, (frames, height, width, 3)).astype(np.uint8), fps=fps)


def a_sound(shelf: Shelf, name: str, samples: int = 6400) -> MediaReference:
    """Noise of some loudness."""
    draw = np.random.default_rng(list(name.encode()))
    return shelf.put(name, (0.1 * draw.standard_normal(samples)).astype(np.float32))


@dataclass(frozen=True)
class Rig:
    """One family: its folder, its tiny model, and how transformers itself prepares media."""

    folder: Path
    make_model: Callable[[], PreTrainedModel]
    hf_media: Callable[[Sequence[Content], Sequence[Shape]], Mapping[str, Tensor]]
    """``(contents, shapes) -> model inputs``, by transformers' own processors."""
    hf_ids: Callable[[str, Sequence[Content], Sequence[Shape]], list[int]]
    """``(rendered prompt, contents, shapes) -> token ids``, by transformers' own processor."""
    placeholder: str
    without_effect: Callable[[str], bool] = lambda name: "tower" in name and name.endswith("k_proj.bias")
    """Parameters that no output depends on: biases of keys without rotary positions."""
    unpadded: bool = False
    """Whether its tower takes sounds without what pads them."""
    typed: bool = True
    """Whether transformers' positions need to be told which tokens are images and videos."""
    encoder: str = ""
    """What of a tower's first module is called: the module, or one below it."""
    as_text: bool = False
    """Whether its template takes texts, in which placeholders stand, not parts."""
    shelf: Shelf = field(default_factory=Shelf)

    @property
    def family(self) -> Family:
        family = family_of(self.folder)
        assert family is not None
        return family

    def chat(self) -> MediaChat:
        return MediaChat(ChatTokenizer.from_folder(self.folder), self.shelf.find)

    def features(self, cache: FeatureCache | None = None) -> MediaFeatures:
        return MediaFeatures(self.family, self.shelf.loader(self.family), cache)

    def scorer(self, model: PreTrainedModel, cache: FeatureCache | None = None) -> Scorer:
        return Scorer(model, media=self.features(cache))

    def samples(self, rows: Sequence[Row], *, share: bool = True) -> list[Sample]:
        """A pair for each row."""
        chat, samples = self.chat(), []
        for row in rows:
            prompt, chosen = chat.conversation(row.id, row.messages, row.chosen)
            _, rejected = chat.conversation(row.id, row.messages, row.rejected)
            samples.append(Sample.of_pair(row.id, prompt.ids, chosen, rejected, media=prompt.media, share=share))
        return samples

    def rendered(self, row: Row) -> str:
        """The prompt of a row as transformers renders it, its media not expanded yet."""
        messages: list[dict[str, Any]] = [
            {"role": message.role, "content": list(_parts(message))} for message in row.messages
        ]
        if self.as_text:
            for message in messages:
                message["content"] = "".join(part.get("text", self.placeholder) for part in message["content"])
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    def plain_inputs(self, row: Row, ids: Sequence[int]) -> dict[str, Tensor]:
        """What plain transformers takes for one whole sequence ``ids`` that begins with the prompt of ``row``."""
        contents = [self.shelf.content(reference) for reference in row.media]
        shapes = [self.shelf.shape(reference) for reference in row.media]
        inputs = {"input_ids": torch.tensor([list(ids)]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if contents:
            inputs.update(self.hf_media(contents, shapes))
        if any(name.endswith("grid_thw") for name in inputs) and self.typed:
            tokens = self.chat().chat.placeholders
            kinds = torch.zeros(1, len(ids), dtype=torch.int32)
            kinds[inputs["input_ids"] == tokens[Modality.IMAGE]] = 1
            kinds[inputs["input_ids"] == tokens[Modality.VIDEO]] = 2
            inputs["mm_token_type_ids"] = kinds
        return inputs

    def hf_inputs(self, content: Content, shape: Shape) -> dict[str, np.ndarray]:
        """What transformers' processors make of one medium, named as towers name it; positions are left out."""
        made = {name: values.numpy() for name, values in self.hf_media([content], [shape]).items()}
        inputs = {re.sub("^(image|video)_(?=grid)|_videos$", "", name): values for name, values in made.items()}
        if self.unpadded and "input_features" in inputs:
            filled = inputs.pop("feature_attention_mask")[0].astype(bool)
            return {"input_features": inputs["input_features"][0][:, filled].T, "columns": filled.sum(keepdims=True)}
        return {name: values for name, values in inputs.items() if "second" not in name}

    def plain_logprobs(self, model: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
        """Log-probabilities of all responses by plain transformers, one whole sequence a response."""
        found = []
        for row, sample in zip(rows, self.samples(rows), strict=True):
            prompt = sample.segments[0].tokens.tolist()
            for response in sample.segments[1:]:
                ids = [*prompt, *response.tokens.tolist()]
                logits = model(**self.plain_inputs(row, ids), use_cache=False).logits[0].float().log_softmax(-1)
                targets = torch.tensor(ids[len(prompt) :])
                found.append(logits[len(prompt) - 1 : -1].gather(1, targets[:, None])[:, 0])
        return torch.cat(found)


def _parts(message: Message) -> Iterator[dict[str, str]]:
    start = 0
    for placed in message.media:
        if placed.offset > start:
            yield {"type": "text", "text": message.content[start : placed.offset]}
        yield {"type": str(placed.reference.modality)}
        start = placed.offset
    yield {"type": "text", "text": message.content[start:]}


def with_packed_attention(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose language model attends packed; its towers attend as they did."""
    packed = copy.deepcopy(model)
    decoder_of(packed).set_attn_implementation(PACKED)
    return packed


def randomised(model: PreTrainedModel, seed: int = 3) -> PreTrainedModel:
    """Weights under which every mistake shows: peaked softmaxes, no two biases or norms alike."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter, mean=float(parameter[0]), std=0.2)
            elif "conv" in name or "patch" in name:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            else:
                nn.init.normal_(parameter, std=0.2)
    return model.eval()


class TowerCalls:
    """Counts, while it is open, how often a model runs a tower."""

    def __init__(self, rig: Rig, model: PreTrainedModel, tower: Tower) -> None:
        self.count = 0
        self._module = model.base_model.get_submodule(tower.modules[0] + rig.encoder)

    def __enter__(self) -> TowerCalls:
        self._hook = self._module.register_forward_pre_hook(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _called(self, *_: object) -> None:
        self.count += 1
