"""Decoding media: our sampling of frames beside plain PyAV and plain ffmpeg, our pictures beside plain Pillow.

    python bench/media_decode.py           five rounds; prints ratios, writes `decode` in bench/results/media.json
    python bench/media_decode.py --quick   one round with short videos, to see that it runs; writes nothing

All sides read the same files, which ffmpeg and Pillow make, use one thread, and give RGB arrays; they take turns, and
the median of their rounds counts. Before anything is timed it is made sure that all sides give the same frames.

A video is sampled in two ways: densely, two frames a second, and sparsely, a few frames of a long one. PyAV does what
its users write: decode all and convert what is wanted, or seek to the key frame before each time and decode from there.
Ours does more: it proves the file to be what it says, holds limits and a deadline, and turns frames upright.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from boresight_trainer.data.records import Modality
from boresight_trainer.media.ffmpeg import ffmpeg_binary
from boresight_trainer.media.headers import VideoHeader
from boresight_trainer.media.images import decode_image
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.probe import header_of
from boresight_trainer.media.video import Sampling, decode_video
from machine import processor
from numpy.typing import NDArray
from PIL import Image

RESULTS = Path(__file__).parent / "results" / "media.json"
LIMITS = Limits()
SIZE = (1280, 720)
LIKENESS = 1.0
"""Mean difference of colours, of 255, that two versions of ffmpeg may have, and two frames have not."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Video:
    """A file, and what is wanted of it."""

    path: Path
    header: VideoHeader
    sampling: Sampling

    @property
    def times(self) -> list[float]:
        return [float(time) for time in self.sampling.times(self.header)]


def ours(video: Video) -> Pixels:
    return decode_video(video.path, video.header, video.sampling, LIMITS).pixels


def pyav_all(video: Video) -> Pixels:
    """Decode every frame, convert those that are seen at the times."""
    left, found, last = video.times, [], None
    with av.open(str(video.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            while left and last is not None and frame.time > left[0] + 1e-3:
                found.append(last.to_ndarray(format="rgb24"))
                left = left[1:]
            last = frame
        found += [last.to_ndarray(format="rgb24") for _ in left]
    return np.stack(found)


def pyav_seek(video: Video) -> Pixels:
    """Seek to each time, decode from the key frame before it."""
    found = []
    with av.open(str(video.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for seconds in video.times:
            container.seek(int((seconds + 1e-3) / stream.time_base), stream=stream)
            last = None
            for frame in container.decode(stream):
                if last is not None and frame.time > seconds + 1e-3:
                    break
                last = frame
            found.append(last.to_ndarray(format="rgb24"))
    return np.stack(found)


def ffmpeg_all(video: Video) -> Pixels:
    """One call of ffmpeg, the filter `fps`, a pipe."""
    times = video.times
    every = Fraction(video.header.seconds, len(times))
    chosen = f"fps={1 / every}:round=up:start_time={times[0] + 1e-3:.6f}"
    command = [
        ffmpeg_binary(),
        "-v",
        "error",
        "-threads",
        "1",
        "-i",
        video.path,
        "-vf",
        chosen,
        "-frames:v",
        len(times),
    ]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    output = subprocess.run([str(word) for word in command], capture_output=True, check=True).stdout
    return np.frombuffer(output, dtype=np.uint8).reshape(-1, video.header.height, video.header.width, 3)


def make_video(folder: Path, seconds: int) -> Path:
    path = folder / f"{seconds}.mp4"
    picture = f"testsrc2=size={SIZE[0]}x{SIZE[1]}:rate=30:duration={seconds}"
    command = [ffmpeg_binary(), "-v", "error", "-f", "lavfi", "-i", picture, "-c:v", "libx264", "-preset", "veryfast"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def a_video(folder: Path, seconds: int, sampling: Sampling) -> Video:
    path = make_video(folder, seconds)
    header = header_of(path, Modality.VIDEO, LIMITS)
    assert isinstance(header, VideoHeader)
    return Video(path, header, sampling)


def make_pictures(folder: Path, count: int) -> list[Path]:
    """JPEGs of 1 megapixel with as much detail as photos have."""
    random = np.random.default_rng(7)
    paths = []
    for number in range(count):
        coarse = random.integers(0, 255, (96, 128, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(coarse).resize((1152, 864), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


def plain_pillow(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compared(sides: dict[str, Callable[[], object]], amount: int, rounds: int) -> dict[str, float]:
    """How many a second each side does, by the median of its rounds; sides take turns in who begins."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(seconds_of(sides[name]))
    return {name: round(amount / statistics.median(times), 2) for name, times in taken.items()}


def frames_per_second(video: Video, rounds: int) -> dict[str, float]:
    sides = {"ours": ours, "pyav_all": pyav_all, "pyav_seek": pyav_seek, "ffmpeg_all": ffmpeg_all}
    wanted = ours(video)
    for name, side in sides.items():
        found = side(video)
        if (
            found.shape != wanted.shape
            or (worst := np.abs(found.astype(np.int16) - wanted).mean((1, 2, 3)).max()) > LIKENESS
        ):
            raise SystemExit(f"{name}: other frames than ours ({found.shape}, {wanted.shape}): nothing is compared")
        print(f"  {name}: the same frames, colours differ by {worst:.2f} of 255 on average")
    return compared({name: (lambda side=side: side(video)) for name, side in sides.items()}, len(video.times), rounds)


def pictures_per_second(paths: list[Path], rounds: int) -> dict[str, float]:
    if any(not np.array_equal(decode_image(path, LIMITS), plain_pillow(path)) for path in paths):
        raise SystemExit("our pictures differ from Pillow's: nothing is compared")
    sides = {
        "ours": lambda: [decode_image(path, LIMITS) for path in paths],
        "pillow": lambda: [plain_pillow(path) for path in paths],
    }
    return compared(sides, len(paths), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, short; writes nothing")
    options = parser.parse_args()
    rounds = 1 if options.quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dense = a_video(folder, 5 if options.quick else 60, Sampling(Fraction(2), 768))
        sparse = a_video(folder, 52 if options.quick else 600, Sampling(Fraction(2), 4 if options.quick else 32))
        figures = {
            "video_dense_frames_per_second": frames_per_second(dense, rounds),
            "video_sparse_frames_per_second": frames_per_second(sparse, rounds),
            "images_per_second": pictures_per_second(make_pictures(folder, 20 if options.quick else 200), rounds),
        }
    for name, sides in figures.items():
        print(name, *(f"{side} {rate}" for side, rate in sides.items()), sep="  ")
    if options.quick:
        return
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known["decode"] = {
        **figures,
        "rounds": rounds,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: importlib.metadata.version(name) for name in ("av", "pillow", "numpy", "imageio-ffmpeg")},
        "ffmpeg": subprocess.run([ffmpeg_binary(), "-version"], capture_output=True, text=True).stdout.split()[2],
    }
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
