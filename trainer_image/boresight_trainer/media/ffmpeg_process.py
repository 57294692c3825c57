"""ffmpeg as a child process that reads one local file, in one format, within a time, and writes to us.

It may open no network, no other file (``-protocol_whitelist``), no terminal, and use one thread: several media are
decoded side by side, so more threads each would only fight for the same cores.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import IO

from .containers import Container
from .errors import MediaError
from .ffmpeg import ffmpeg_binary
from .limits import Limits

_MESSAGE_BYTES = 65_536
_MAX_ALLOCATION = 1 << 30
"""Bytes of any one piece of memory that ffmpeg asks for: a header that wants more is absurd."""
_GLOBAL = ("-hide_banner", "-nostdin", "-nostats", "-max_alloc", str(_MAX_ALLOCATION))


def input_options(container: Container, limits: Limits) -> dict[str, str | int]:
    """The options with which every file is opened, as ffmpeg-python takes them."""
    return {
        "protocol_whitelist": "file,pipe",
        "f": container.demuxer,
        "threads": 1,
        "max_pixels": limits.pixels,
    }


def local(path: Path) -> str:
    """``path`` as ffmpeg's file protocol names it, whatever characters are in it."""
    return f"file:{path.absolute()}"


def opening(path: Path, container: Container, limits: Limits) -> list[str]:
    """The arguments that open a file."""
    options = input_options(container, limits).items()
    return [*(word for name, value in options for word in (f"-{name}", str(value))), "-i", local(path)]


def refused(container: Container, finished: Finished) -> MediaError:
    """What ffmpeg says of a file that it cannot read."""
    return MediaError(
        f"a damaged file ({container.name}: {_last_words(finished)})", "a whole file", "download or encode it anew"
    )


@dataclass(frozen=True, slots=True)
class Finished:
    """What a call of ffmpeg left."""

    code: int
    output: memoryview
    messages: str
    """The end of stderr."""


def run(arguments: Sequence[str], *, timeout_seconds: float, max_output: int) -> Finished:
    """Run ffmpeg with ``arguments`` and read what it writes to its stdout; more than ``max_output`` bytes end it.

    Raises :class:`MediaError` if it is not done within ``timeout_seconds``.
    """
    with TemporaryFile() as messages:
        process = subprocess.Popen(
            [ffmpeg_binary(), *_GLOBAL, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            env={**os.environ, "AV_LOG_FORCE_NOCOLOR": "1"},
        )
        late = _Deadline(process, timeout_seconds)
        try:
            output = _read(process, max_output)
        finally:
            process.kill()  # nothing happens to one that has ended
            process.wait()
            late.cancel()
        if late.passed:
            raise MediaError(
                f"decoding not done after {timeout_seconds:.0f} s", "an end", "encode the file anew, or leave it out"
            )
        return Finished(process.returncode, output, _end_of(messages))


class _Deadline:
    """Kills a process when its time is over, which ends every read from it."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.passed = False
        self._process = process
        self._timer = Timer(seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def _pass(self) -> None:
        self.passed = self._process.poll() is None
        self._process.kill()

    def cancel(self) -> None:
        self._timer.cancel()
        self._timer.join()


def _read(process: subprocess.Popen[bytes], limit: int) -> memoryview:
    """All that ``process`` writes, up to ``limit`` bytes; one that has written no more has ended when this returns."""
    if process.stdout is None:
        raise ValueError("the process has no pipe to read")
    buffer = memoryview(bytearray(limit))
    size = 0
    with process.stdout as stream:
        pipe = stream.fileno()
        while size < limit and (count := os.readv(pipe, [buffer[size:]])):
            size += count
        if not os.read(pipe, 1):
            process.wait()
    return buffer[:size]


def _end_of(messages: IO[bytes]) -> str:
    size = messages.seek(0, os.SEEK_END)
    messages.seek(max(0, size - _MESSAGE_BYTES))
    return messages.read().decode(errors="replace")


def _last_words(finished: Finished) -> str:
    """The line of ffmpeg's messages that says most about why it failed."""
    lines = [line.strip() for line in finished.messages.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit code {finished.code}"
