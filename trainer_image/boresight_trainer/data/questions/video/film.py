"""Films: frames encoded as H.264 in MP4 by ffmpeg, with everything off that would make two runs differ."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import ffmpeg
from boresight_api.outcome import FailureClass, StageFailure
from PIL import Image

from ....media.ffmpeg import ffmpeg_binary

FPS = 8
SECONDS = 3
FRAMES = FPS * SECONDS
_ENCODING = {
    "c:v": "libx264",
    "crf": 16,
    "pix_fmt": "yuv420p",
    "g": FPS,
    "sc_threshold": 0,
    "threads": 1,
    "flags:v": "+bitexact",
    "fflags": "+bitexact",
    "sws_flags": "bitexact+accurate_rnd+full_chroma_int",
    "map_metadata": -1,
    "movflags": "+faststart",
}
_SAID = 400
"""Last characters of ffmpeg's own words that a failure repeats."""


def film(frame: Callable[[float], Image.Image]) -> bytes:
    """An MP4 of :data:`SECONDS`; ``frame`` draws what is to be seen at a time from 0 to 1, first and last included."""
    return encoded([frame(number / (FRAMES - 1)) for number in range(FRAMES)])


def encoded(frames: Sequence[Image.Image]) -> bytes:
    """The RGB frames, of one size with even sides, as an MP4. Raises StageFailure(Infrastructure) if ffmpeg fails."""
    width, height = frames[0].size
    raw = b"".join(frame.tobytes() for frame in frames)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "film.mp4"
        graph = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=FPS)
        graph = graph.output(str(file), **_ENCODING).global_args("-nostdin", "-loglevel", "error")
        binary = ffmpeg_binary()
        try:
            graph.run(cmd=binary, input=raw, quiet=True)
        except ffmpeg.Error as error:
            said = error.stderr.decode(errors="replace").strip()[-_SAID:]
            raise StageFailure(
                FailureClass.INFRASTRUCTURE,
                f"{binary} could not encode {len(frames)} frames as H.264: {said}; put an ffmpeg with libx264 on PATH, "
                "or none, so that the one of imageio-ffmpeg is used",
            ) from error
        return file.read_bytes()
