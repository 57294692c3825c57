"""The words of the contract: tasks, formats, choices. Each is spelt in one way, in YAML, Python and docs."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """What goes in and what comes out."""

    TEXT_TO_TEXT = "TextToText"
    TEXT_IMAGE_TO_TEXT = "TextImageToText"
    TEXT_IMAGE_TO_TEXT_IMAGE = "TextImageToTextImage"
    TEXT_TO_IMAGE = "TextToImage"
    TEXT_AUDIO_TO_TEXT = "TextAudioToText"
    TEXT_TO_AUDIO = "TextToAudio"
    TEXT_TO_VIDEO = "TextToVideo"
    TEXT_VIDEO_TO_TEXT = "TextVideoToText"


class DataFormat(StrEnum):
    """How rows of a data source are read."""

    ALIGN_ANYTHING = "AlignAnything"
    JSONL = "Jsonl"


class TrustRemoteCode(StrEnum):
    """Whether a model's own Python code may run."""

    NEVER = "Never"
    ALWAYS = "Always"


class Tuning(StrEnum):
    """Which parameters train."""

    LORA = "LoRA"
    FULL = "Full"


class LoRALayers(StrEnum):
    """Which decoder layers carry adapters; fewer layers at the top make the backward pass shorter."""

    ALL = "All"
    UPPER_HALF = "UpperHalf"
    UPPER_THIRD = "UpperThird"


class LearningRateSchedule(StrEnum):
    """Shape of the learning rate after warm-up."""

    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Precision(StrEnum):
    """Compute precision. Auto: BF16 with FP32 master weights on a GPU, FP32 on a CPU."""

    AUTO = "Auto"
    FP32 = "FP32"
    BF16 = "BF16"


class ExportForm(StrEnum):
    """What a model artifact holds: merged weights, or the adapter beside its base's digest."""

    MERGED = "Merged"
    ADAPTER = "Adapter"


class Engine(StrEnum):
    """What generates."""

    TRANSFORMERS = "Transformers"
    VLLM = "VLLM"


class RefineFrom(StrEnum):
    """What the initial model sees when it refines: (x, y, c) or (x, c)."""

    RESPONSE_AND_CRITIQUE = "ResponseAndCritique"
    CRITIQUE = "Critique"


class DPOLoss(StrEnum):
    """Preference losses over the same scores."""

    SIGMOID = "Sigmoid"
    IPO = "IPO"
    HINGE = "Hinge"
    ROBUST = "Robust"
    SIMPO = "SimPO"
    RPO = "RPO"


class SftTarget(StrEnum):
    """What the scored turn is: the answer to a prompt, or the critique of an answer."""

    RESPONSE = "Response"
    CRITIQUE = "Critique"


class SuiteName(StrEnum):
    """Evaluation suites."""

    HOLDOUT = "Holdout"
    VERIFIABLE = "Verifiable"
    PAIRWISE = "Pairwise"
    AMU = "AMU"
    AMG = "AMG"


class FilterAction(StrEnum):
    """What a filter does with an item it matches. Both count it."""

    DROP = "Drop"
    KEEP = "Keep"


class Acceptance(StrEnum):
    """An optional test that y* must pass against y; off unless the manifest asks."""

    NONE = "None"
    VERIFIER = "Verifier"
    JUDGE = "Judge"
