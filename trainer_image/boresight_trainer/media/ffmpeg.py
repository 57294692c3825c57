"""The program ffmpeg: the machine's own, else the one that imageio-ffmpeg carries."""

from __future__ import annotations

import shutil


def ffmpeg_binary() -> str:
    """The path of ffmpeg: on ``PATH``, else of the package imageio-ffmpeg. Raises RuntimeError if there is neither."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())
