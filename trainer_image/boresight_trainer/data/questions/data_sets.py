"""The data sets of questions: for each its own options, the kinds of questions, and what its media depend on."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from boresight_api.outcome import FailureClass, StageFailure

from ...media.ffmpeg import ffmpeg_binary
from ..arguments import at_least
from .question import QuestionKind

_SMALLEST = 64
"""Pixels a side; the writing in smaller charts cannot be read."""
_SPEAKER = "espeak-ng"


@dataclass(frozen=True)
class DataSet:
    """What one of the commands makes: its options beside the common ones, and the kinds of questions that it has."""

    name: str
    help: str
    shows: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    kinds: Callable[[argparse.Namespace], Sequence[QuestionKind]]
    versions: Callable[[argparse.Namespace], dict[str, str]]
    """Of all that decides the bytes of the media."""


def _image_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=at_least(_SMALLEST), default=112, metavar="PIXELS", help="of each side of the images"
    )


def _image_kinds(options: argparse.Namespace) -> Sequence[QuestionKind]:
    from .images import image_kinds

    return image_kinds(options.size)


def _image_versions(options: argparse.Namespace) -> dict[str, str]:  # noqa: ARG001 every data set is asked alike
    return _versions("pillow", "numpy", "scikit-image", "scikit-learn")


def _audio_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speech",
        action="store_true",
        help=f"ask about speech, too (speech_number, speech_word), spoken by the program {_SPEAKER}",
    )


def _audio_kinds(options: argparse.Namespace) -> Sequence[QuestionKind]:
    from .audio import audio_kinds, speech_kinds

    return (*audio_kinds(), *(speech_kinds(_speaker()) if options.speech else ()))


def _audio_versions(options: argparse.Namespace) -> dict[str, str]:
    spoken = {_SPEAKER: _first_line(_speaker(), "--version").partition("Data at:")[0].strip()} if options.speech else {}
    return _versions("numpy") | spoken


def _speaker() -> str:
    found = shutil.which(_SPEAKER)
    if found is None:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"--speech: found no program {_SPEAKER} on PATH; install it (the package {_SPEAKER} of the distribution), "
            "or leave out --speech",
        )
    return found


def _video_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=_even, default=112, metavar="PIXELS", help="of each side of the videos, an even number"
    )


def _video_kinds(options: argparse.Namespace) -> Sequence[QuestionKind]:
    from .video import video_kinds

    return video_kinds(options.size)


def _video_versions(options: argparse.Namespace) -> dict[str, str]:  # noqa: ARG001 every data set is asked alike
    said = _first_line(ffmpeg_binary(), "-version")
    return _versions("pillow") | {"ffmpeg": said.removeprefix("ffmpeg version ").partition(" Copyright")[0]}


def _even(argument: str) -> int:
    value = at_least(_SMALLEST)(argument)
    if value % 2:
        raise argparse.ArgumentTypeError(f"found {value}, expected an even number: the codec halves the colours' size")
    return value


def _versions(*packages: str) -> dict[str, str]:
    """Versions of those that are installed; the others have made nothing."""
    installed = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")[0]


DATA_SETS = (
    DataSet(
        name="image-questions",
        help="questions about images: shapes, charts, real photos, handwritten digits",
        shows="images (rendered shapes and charts, pieces of real photos, handwritten digits)",
        add_arguments=_image_arguments,
        kinds=_image_kinds,
        versions=_image_versions,
    ),
    DataSet(
        name="audio-questions",
        help="questions about sounds: tones, chords, rhythms, speech",
        shows="sounds (tones, chords, rhythms and, with --speech, spoken words)",
        add_arguments=_audio_arguments,
        kinds=_audio_kinds,
        versions=_audio_versions,
    ),
    DataSet(
        name="video-questions",
        help="questions about videos: shapes that move, bounce, come and go",
        shows="videos (shapes that move, bounce, come and go)",
        add_arguments=_video_arguments,
        kinds=_video_kinds,
        versions=_video_versions,
    ),
)
