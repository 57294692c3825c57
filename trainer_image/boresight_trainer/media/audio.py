"""Sound, by ffmpeg: from a file to mono at the rate that audio models hear."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from . import ffmpeg_process
from .containers import container_of
from .errors import MediaError
from .headers import SAMPLE_RATE, AudioHeader
from .limits import Limits

_BYTES = 4
_TOLERANCE_SECONDS = Fraction(1, 4)
_TOLERANCE_SHARE = Fraction(1, 50)
"""An encoder's own padding, and durations estimated from a bit rate, are this far off; more is a header that lies."""


def decode_audio(path: Path, header: AudioHeader, limits: Limits) -> NDArray[np.float32]:
    """The first sound track, mixed to one channel at 16 kHz: [``header.samples``], from -1 to 1.

    A few samples that are missing at the end are silence. Raises :class:`MediaError` if the file is damaged or its
    sound is much shorter or longer than ``header`` says; OSError if it cannot be read.
    """
    wanted = header.samples
    limits.check_decoded_bytes(wanted * _BYTES)
    container = container_of(path, limits)
    slack = round(max(_TOLERANCE_SECONDS, header.seconds * _TOLERANCE_SHARE) * SAMPLE_RATE)
    sound = ffmpeg.input(ffmpeg_process.local(path), **ffmpeg_process.input_options(container, limits))["a:0"]
    # Without a limit, channels that are mixed to floats add up to more than 1.
    mono = sound.filter("aresample", SAMPLE_RATE, ochl="mono", rematrix_maxval=1)
    graph = mono.output("pipe:1", f="f32le", acodec="pcm_f32le", threads=1)
    finished = ffmpeg_process.run(
        ["-v", "error", *graph.get_args()],
        timeout_seconds=limits.timeout_seconds,
        max_output=(wanted + slack + 1) * _BYTES,
    )
    samples = np.frombuffer(finished.output[: len(finished.output) // _BYTES * _BYTES], dtype="<f4")
    if not samples.size:
        raise ffmpeg_process.refused(container, finished)
    if abs(samples.size - wanted) > slack:
        found = f"{samples.size / SAMPLE_RATE:.2f} s" if samples.size < wanted else "more"
        raise MediaError(
            f"{found} of sound ({container.name})",
            f"the {float(header.seconds):.2f} s that its header says",
            "download or encode it anew",
        )
    decoded = np.zeros(wanted, dtype=np.float32)
    decoded[: samples.size] = samples[:wanted]
    if not np.isfinite(decoded).all():
        raise MediaError(f"samples that are no numbers ({container.name})", "sound", "encode it anew")
    return decoded
