"""The multimodal families that are proven: each with a tokenizer, a processor and a model of its own, all tiny."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from boresight_trainer.data.records import Message, Modality
from boresight_trainer.models.medium import AudioShape, Content, ImageShape, Shape, VideoShape
from builders_rigs import Rig, Row, a_sound, a_video, an_image, randomised, user
from builders_tokenizers import TokenizerFolder, a_chatml_tokenizer
from PIL import Image
from tokenizers import AddedToken
from torch import Tensor
from transformers import (
    AutoTokenizer,
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    ChameleonImageProcessorPil,
    ChameleonProcessor,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
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

    def hf_media(contents: Sequence[Content], shapes: Sequence[Shape]) -> Mapping[str, Tensor]:
        return {"pixel_values": processor(_images(contents), return_tensors="pt")["pixel_values"]}

    _write(folder, tokens, config, {"preprocessor_config.json": processor})

    def hf_ids(text: str, contents: Sequence[Content], shapes: Sequence[Shape]) -> list[int]:
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

    def hf_media(contents: Sequence[Content], shapes: Sequence[Shape]) -> dict[str, Tensor]:
        return qwen_vision(images, frames, contents, shapes, timed=timed)

    def hf_ids(text: str, contents: Sequence[Content], shapes: Sequence[Shape]) -> list[int]:
        counts = {"<|image_pad|>": [], "<|video_pad|>": []}
        media = hf_media(contents, shapes)
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
    )


def qwen_vision(
    images: Qwen2VLImageProcessorPil,
    frames: Qwen2VLImageProcessorPil,
    contents: Sequence[Content],
    shapes: Sequence[Shape],
    *,
    timed: bool,
) -> dict[str, Tensor]:
    """Images by transformers' processor, and videos frame by frame by the same one (its video processor needs
    torchvision): of two frames each gives its half of the patches."""
    inputs: dict[str, Tensor] = {}
    still = [Image.fromarray(c) for c, h in zip(contents, shapes, strict=True) if isinstance(h, ImageShape)]
    if still:
        inputs.update(images(still, return_tensors="pt"))
    patches, grids, seconds = [], [], []
    for content, shape in zip(contents, shapes, strict=True):
        if isinstance(shape, VideoShape):
            single = [frames([Image.fromarray(frame)], return_tensors="pt") for frame in content]
            single += single[-1:] * (len(single) % 2)
            halves = [one["pixel_values"].view(-1, 3, 2, frames.patch_size**2) for one in single]
            for first, second in zip(halves[::2], halves[1::2], strict=True):
                patches.append(torch.stack([first[:, :, 0], second[:, :, 1]], 2).flatten(1))
            grids.append([len(single) // 2, *single[0]["image_grid_thw"][0, 1:].tolist()])
            seconds.append(2 / shape.fps)
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

    def hf_media(contents: Sequence[Content], shapes: Sequence[Shape]) -> dict[str, Tensor]:
        made = extractor(list(contents), sampling_rate=16000, return_attention_mask=True, return_tensors="pt")
        return {"input_features": made["input_features"], "feature_attention_mask": made["attention_mask"]}

    def hf_ids(text: str, contents: Sequence[Content], shapes: Sequence[Shape]) -> list[int]:
        whole = Qwen2AudioProcessor(extractor, AutoTokenizer.from_pretrained(folder), template)
        return whole(text=[text], audio=list(contents) or None, sampling_rate=16000)["input_ids"][0]

    _write(folder, tokens, config, {"preprocessor_config.json": extractor})
    return Rig(folder, lambda: _model(Qwen2AudioForConditionalGeneration, config), hf_media, hf_ids, "<|AUDIO|>")


def llava_next(folder: Path) -> Rig:
    """LLaVA-NeXT: squares of 28 pixels, in grids of up to four."""
    grids = [[28, 56], [56, 28], [56, 56], [28, 84]]
    tokens = _tokenizer(["<image>"], LLAVA)
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=grids
    )
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**CLIP),
        text_config=LlamaConfig(vocab_size=_size(tokens), **TEXT),
        image_token_id=_id(tokens, "<image>"),
        image_grid_pinpoints=grids,
    )

    def hf_media(contents: Sequence[Content], shapes: Sequence[Shape]) -> dict[str, Tensor]:
        each = [processor([image], return_tensors="pt") for image in _images(contents)]
        return {
            "pixel_values": torch.cat([one["pixel_values"][0] for one in each]),
            "image_sizes": torch.cat([one["image_sizes"] for one in each]),
        }

    def hf_ids(text: str, contents: Sequence[Content], shapes: Sequence[Shape]) -> list[int]:
        whole = LlavaNextProcessor(
            processor, AutoTokenizer.from_pretrained(folder), 7, "default", num_additional_image_tokens=1
        )
        return whole(text=[text], images=_images(contents) or None)["input_ids"][0]

    _write(folder, tokens, config, {"preprocessor_config.json": processor})
    return Rig(folder, lambda: _model(LlavaNextForConditionalGeneration, config), hf_media, hf_ids, "<image>")


CHAMELEON = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}<reserved08706>{% endif %}{% endfor %}"
)
"""Models of this family come without a template: a separator ends a turn of the user, a text holds its images."""


def chameleon(folder: Path) -> Rig:
    """Chameleon: images of 16 tokens out of 32."""
    named = ["<racm3:break>", "<image>", "<eoss>", "<reserved08706>"]
    letters = ["IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(i)) + "Z" for i in range(32)]
    tokens = _tokenizer([*named, *letters], CHAMELEON)
    processor = ChameleonImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    config = ChameleonConfig(
        **TEXT,
        vocab_size=_size(tokens),
        vocabulary_map={token: _id(tokens, token) for token in [*named, *letters]},
        vq_config={
            "resolution": 16,
            "channel_multiplier": [1, 1, 2],
            "base_channels": 32,
            "embed_dim": 16,
            "latent_channels": 16,
            "num_embeddings": 32,
            "num_res_blocks": 1,
        },
    )

    def hf_media(contents: Sequence[Content], shapes: Sequence[Shape]) -> dict[str, Tensor]:
        return {"pixel_values": processor(_images(contents), return_tensors="pt")["pixel_values"]}

    def hf_ids(text: str, contents: Sequence[Content], shapes: Sequence[Shape]) -> list[int]:
        tokenizer = AutoTokenizer.from_pretrained(folder, sep_token="")
        whole = ChameleonProcessor(processor, tokenizer, image_seq_length=16)
        return whole(text=text, images=_images(contents) or None)["input_ids"][0].tolist()

    _write(folder, tokens, config, {"preprocessor_config.json": processor})
    return Rig(
        folder,
        lambda: _model(ChameleonForConditionalGeneration, config),
        hf_media,
        hf_ids,
        "<image>",
        encoder=".encoder",
        as_text=True,
    )


OMNI = (
    QWEN_VL.replace("<|vision_start|>", "<|vision_bos|>")
    .replace("<|vision_end|>", "<|vision_eos|>")
    .replace("<|image_pad|>", "<|IMAGE|>")
    .replace("<|video_pad|>", "<|VIDEO|>")
    .replace(
        "{% elif 'text'",
        "{% elif content['type'] == 'audio' or 'audio' in content %}<|audio_bos|><|AUDIO|><|audio_eos|>{% elif 'text'",
    )
)


def qwen2_5_omni(folder: Path) -> Rig:
    """The thinker of Qwen2.5-Omni. Its patches are large, for transformers fixes the size of video frames."""
    patches = {"patch_size": 28, "merge_size": 2, "temporal_patch_size": 2}
    special = ["vision_bos", "vision_eos", "IMAGE", "VIDEO", "audio_bos", "AUDIO", "audio_eos"]
    tokens = _tokenizer([f"<|{token}|>" for token in special], OMNI)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 3 * 56 * 56, "longest_edge": 12 * 56 * 56}, **patches)
    frames = Qwen2VLImageProcessorPil(size={"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}, **patches)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    config = Qwen2_5OmniThinkerConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": 48,
            "num_heads": 4,
            "patch_size": 28,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        audio_config={
            "num_mel_bins": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "d_model": 32,
            "n_window": 10,
            "output_dim": 48,
        },
        text_config={**TEXT, "vocab_size": _size(tokens), "rope_parameters": MROPE},
        image_token_index=_id(tokens, "<|IMAGE|>"),
        video_token_index=_id(tokens, "<|VIDEO|>"),
        audio_token_index=_id(tokens, "<|AUDIO|>"),
        audio_start_token_id=_id(tokens, "<|audio_bos|>"),
        audio_end_token_id=_id(tokens, "<|audio_eos|>"),
        vision_start_token_id=_id(tokens, "<|vision_bos|>"),
    )

    def hf_media(contents: Sequence[Content], shapes: Sequence[Shape]) -> dict[str, Tensor]:
        inputs = qwen_vision(images, frames, contents, shapes, timed=True)
        if "second_per_grid_ts" in inputs:
            inputs["video_second_per_grid"] = inputs.pop("second_per_grid_ts")
        sounds = [c for c, shape in zip(contents, shapes, strict=True) if isinstance(shape, AudioShape)]
        if sounds:
            made = extractor(sounds, sampling_rate=16000, return_attention_mask=True, return_tensors="pt")
            inputs["input_features"], inputs["feature_attention_mask"] = made["input_features"], made["attention_mask"]
        return inputs

    def hf_ids(text: str, contents: Sequence[Content], shapes: Sequence[Shape]) -> list[int]:
        media = hf_media(contents, shapes)
        counts = {
            token: (media[name].prod(-1) // 4).tolist() if name in media else []
            for token, name in (("<|IMAGE|>", "image_grid_thw"), ("<|VIDEO|>", "video_grid_thw"))
        }
        filled = media["feature_attention_mask"].sum(-1) if "feature_attention_mask" in media else torch.zeros(0)
        counts["<|AUDIO|>"] = ((((filled - 1) // 2 + 1) - 2) // 2 + 1).int().tolist()
        return expanded_ids(folder, text, counts)

    files = {"preprocessor_config.json": images, "video_preprocessor_config.json": frames}
    _write(folder, tokens, config, files)
    both = {**extractor.to_dict(), **images.to_dict()}
    (folder / "preprocessor_config.json").write_text(json.dumps(both))  # one file for both, as on the hub
    return Rig(
        folder,
        lambda: _model(Qwen2_5OmniThinkerForConditionalGeneration, config),
        hf_media,
        hf_ids,
        "<|IMAGE|>",
        unpadded=True,
        typed=False,
    )


RIGS: dict[str, Callable[[Path], Rig]] = {
    "llava": llava,
    "llava_next": llava_next,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_audio": qwen2_audio,
    "qwen2_5_omni": qwen2_5_omni,
    "chameleon": chameleon,
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
