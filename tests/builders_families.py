"""The multimodal families that are proven: each with a tokenizer, a processor and a model of its own, all tiny."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from boresight_trainer.data.records import Message, Modality
from boresight_trainer.models.medium import Content, Header, ImageHeader, VideoHeader
from builders_media import Rig, Row, a_sound, a_video, an_image, randomised, user
from builders_tokenizers import TokenizerFolder, a_chatml_tokenizer
from PIL import Image
from tokenizers import AddedToken
from torch import Tensor
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    WhisperFeatureExtractor,
)

TEXT: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
    "projection_dim": 16,
}

LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}"
    "{% endfor %}{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + eos_token }}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""As on the hub (all images of a turn first), with the end of a turn that the hub's leaves out."""


def llava(folder: Path) -> Rig:
    """LLaVA 1.5: CLIP, two layers of projector, Llama."""
    tokens = _tokenizer(["<image>"], LLAVA)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, do_center_crop=True
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**CLIP),
        text_config=LlamaConfig(vocab_size=_size(tokens), **TEXT),
        image_token_id=_id(tokens, "<image>"),
    )

    def hf_media(contents: Sequence[Content], headers: Sequence[Header]) -> Mapping[str, Tensor]:
        return {"pixel_values": processor(_images(contents), return_tensors="pt")["pixel_values"]}

    _write(folder, tokens, config, {"preprocessor_config.json": processor})

    def hf_ids(text: str, contents: Sequence[Content], headers: Sequence[Header]) -> list[int]:
        whole = LlavaProcessor(
            processor, AutoTokenizer.from_pretrained(folder), 7, "default", num_additional_image_tokens=1
        )
        return whole(text=[text], images=_images(contents) or None)["input_ids"][0]

    return Rig(folder, lambda: _model(LlavaForConditionalGeneration, config), hf_media, hf_ids, "<image>")


QWEN_VL = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As on the hub."""
QWEN_VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
PATCHES = {"patch_size": 7, "merge_size": 2, "temporal_patch_size": 2}
IMAGE_SIZE = {"shortest_edge": 3 * 14 * 14, "longest_edge": 12 * 14 * 14}
VIDEO_SIZE = {"shortest_edge": 2 * 14 * 14, "longest_edge": 7 * 14 * 14}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}


def qwen2_vl(folder: Path) -> Rig:
    """Qwen2-VL."""
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 4, "mlp_ratio": 2}
    return _qwen_vl(folder, Qwen2VLForConditionalGeneration, Qwen2VLConfig, vision, timed=False)


def qwen2_5_vl(folder: Path) -> Rig:
    """Qwen2.5-VL: windows of two by two tokens in two of three layers of the tower."""
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": 48,
        "num_heads": 4,
        "window_size": 28,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
    }
    return _qwen_vl(folder, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, vision, timed=True)


def _qwen_vl(folder: Path, kind: type, config_kind: type, vision: Mapping[str, Any], *, timed: bool) -> Rig:
    tokens = _tokenizer(QWEN_VISION, QWEN_VL)
    images = Qwen2VLImageProcessorPil(size=IMAGE_SIZE, **PATCHES)
    frames = Qwen2VLImageProcessorPil(size=VIDEO_SIZE, **PATCHES)
    config = config_kind(
        vision_config={**vision, "patch_size": 7, "spatial_merge_size": 2, "temporal_patch_size": 2},
        text_config={**TEXT, "vocab_size": _size(tokens), "rope_parameters": MROPE},
        image_token_id=_id(tokens, "<|image_pad|>"),
        video_token_id=_id(tokens, "<|video_pad|>"),
        vision_start_token_id=_id(tokens, "<|vision_start|>"),
        vision_end_token_id=_id(tokens, "<|vision_end|>"),
    )

    def hf_media(contents: Sequence[Content], headers: Sequence[Header]) -> dict[str, Tensor]:
        return qwen_vision(images, frames, contents, headers, timed=timed)

    def hf_ids(text: str, contents: Sequence[Content], headers: Sequence[Header]) -> list[int]:
        counts = {"<|image_pad|>": [], "<|video_pad|>": []}
        media = hf_media(contents, headers)
        for token, name in (("<|image_pad|>", "image_grid_thw"), ("<|video_pad|>", "video_grid_thw")):
            counts[token] = (media[name].prod(-1) // 4).tolist() if name in media else []
        return expanded_ids(folder, text, counts)

    files = {"preprocessor_config.json": images, "video_preprocessor_config.json": frames}
    _write(folder, tokens, config, files)
    return Rig(
        folder,
        lambda: _model(kind, config),
        hf_media,
        hf_ids,
        "<|image_pad|>",
        positions_alone=frozenset({"second_per_grid_ts"}),
    )


def qwen_vision(
    images: Qwen2VLImageProcessorPil,
    frames: Qwen2VLImageProcessorPil,
    contents: Sequence[Content],
    headers: Sequence[Header],
    *,
    timed: bool,
) -> dict[str, Tensor]:
    """Images by transformers' processor, and videos frame by frame by the same one (its video processor needs
    torchvision): of two frames each gives its half of the patches."""
    inputs: dict[str, Tensor] = {}
    still = [Image.fromarray(c) for c, h in zip(contents, headers, strict=True) if isinstance(h, ImageHeader)]
    if still:
        inputs.update(images(still, return_tensors="pt"))
    patches, grids, seconds = [], [], []
    for content, header in zip(contents, headers, strict=True):
        if isinstance(header, VideoHeader):
            single = [frames([Image.fromarray(frame)], return_tensors="pt") for frame in content]
            single += single[-1:] * (len(single) % 2)
            halves = [one["pixel_values"].view(-1, 3, 2, 49) for one in single]
            for first, second in zip(halves[::2], halves[1::2], strict=True):
                patches.append(torch.stack([first[:, :, 0], second[:, :, 1]], 2).flatten(1))
            grids.append([len(single) // 2, *single[0]["image_grid_thw"][0, 1:].tolist()])
            seconds.append(2 / header.fps)
    if grids:
        inputs.update(pixel_values_videos=torch.cat(patches), video_grid_thw=torch.tensor(grids))
        if timed:
            inputs["second_per_grid_ts"] = torch.tensor(seconds)
    return inputs


def expanded_ids(folder: Path, text: str, counts: Mapping[str, Sequence[int]]) -> list[int]:
    """Token ids of a rendered prompt with its placeholders repeated, as transformers' processors do it."""
    for token, numbers in counts.items():
        remaining = iter(numbers)
        text = re.sub(re.escape(token), lambda m: m[0] * next(remaining), text)  # noqa: B023
    ids: list[int] = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
    return ids


def qwen2_audio(folder: Path) -> Rig:
    """Qwen2-Audio: spectrograms of one second."""
    tokens = _tokenizer(["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"], "")
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    template = Qwen2AudioProcessor.default_chat_template.fget(None)
    tokens = tokens.with_template(template)
    config = Qwen2AudioConfig(
        audio_config={
            "num_mel_bins": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "d_model": 32,
            "max_source_positions": 50,
        },
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": _size(tokens)},
        audio_token_id=_id(tokens, "<|AUDIO|>"),
    )

    def hf_media(contents: Sequence[Content], headers: Sequence[Header]) -> dict[str, Tensor]:
        made = extractor(list(contents), sampling_rate=16000, return_attention_mask=True, return_tensors="pt")
        return {"input_features": made["input_features"], "feature_attention_mask": made["attention_mask"]}

    def hf_ids(text: str, contents: Sequence[Content], headers: Sequence[Header]) -> list[int]:
        whole = Qwen2AudioProcessor(extractor, AutoTokenizer.from_pretrained(folder), template)
        return whole(text=[text], audio=list(contents) or None, sampling_rate=16000)["input_ids"][0]

    _write(folder, tokens, config, {"preprocessor_config.json": extractor})
    return Rig(folder, lambda: _model(Qwen2AudioForConditionalGeneration, config), hf_media, hf_ids, "<|AUDIO|>")


RIGS: dict[str, Callable[[Path], Rig]] = {
    "llava": llava,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_audio": qwen2_audio,
}


def _images(contents: Sequence[Content]) -> list[Image.Image]:
    return [Image.fromarray(content) for content in contents]


def _tokenizer(special: Sequence[str], template: str) -> TokenizerFolder:
    folder = a_chatml_tokenizer().with_template(template)
    folder.tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return folder


def _size(tokens: TokenizerFolder) -> int:
    return tokens.tokenizer.get_vocab_size(with_added_tokens=True) + 3  # rows behind the vocabulary, as many have


def _id(tokens: TokenizerFolder, token: str) -> int:
    return tokens.tokenizer.token_to_id(token)


def _write(folder: Path, tokens: TokenizerFolder, config: PreTrainedConfig, files: Mapping[str, Any]) -> None:
    tokens.write(folder)
    config.save_pretrained(folder)
    for name, processor in files.items():
        (folder / name).write_text(json.dumps(processor.to_dict()))


def _model(kind: type, config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return randomised(kind(config))


def rows_of(rig: Rig) -> list[Row]:
    """Rows of every kind that the family takes, text alone among them."""
    shelf, taken = rig.shelf, rig.family.placeholders
    rows = [
        Row("text alone", (user("Write three sentences about the sea."),)),
        Row("the placeholder as text", (user(f"What does {rig.placeholder} mean in a prompt?"),)),
    ]
    if Modality.IMAGE in taken:
        first, second = an_image(shelf, "first.png"), an_image(shelf, "second.png", 90, 40)
        rows += [
            Row("an image", (user("How are you today?", first),)),
            Row("two images", (user("Compare first and second.", first, (8, second)),)),
            Row("the same image twice", (user("Is it the same?", second, (6, second)),)),
            Row(
                "an image in an earlier turn",
                (user("What is it?", first), Message("assistant", "A fox."), user(f"{rig.placeholder} is a word.")),
            ),
        ]
    if Modality.VIDEO in taken:
        slow, fast = a_video(shelf, "slow.mp4", fps=0.75), a_video(shelf, "fast.mp4", frames=8, fps=2.997)
        rows += [
            Row("a video", (user("What happens?", slow),)),
            Row("another rate", (user("And in this one?", fast, (6, slow)),)),
        ]
    if Modality.AUDIO in taken:
        short, long = a_sound(shelf, "short.wav", 3301), a_sound(shelf, "long.wav", 9000)
        rows += [
            Row("a sound", (user("What do you hear?", short),)),
            Row("two sounds", (user("Compare long and short.", long, (8, short)),)),
            Row("the same sound twice", (user("Once more.", short, short),)),
        ]
    if len(taken) == 3:
        rows.append(Row("all kinds", (user("See and hear.", short, first, slow),)))
    return rows
