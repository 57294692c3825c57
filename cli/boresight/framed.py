"""What a command prints, in frames: a pod's log is stdout and stderr in one, and nodes cut logs that grow long.

A frame is a line: a mark that its reader has chosen, where its bytes begin in all that was printed, and the bytes
(zlib, base64). So it stands out from what comes on stderr, and what is missing is noticed wherever it is. The last one
has the length of the whole and the exit code.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FRAMED = "--framed"
"""First word of what a pod is to do for `--in-cluster`; the second is the mark. Not for people."""
CHUNK_BYTES = 8_192
"""In one frame. Container runtimes break lines at 16 KiB, and stderr may come between the parts."""
_FRAME = re.compile(rb"(\d+) ([\w+/=]+)$|end (\d+):(\d+)$").match


class Frames(io.RawIOBase):
    """What is written here goes to ``target`` in frames."""

    def __init__(self, target: BinaryIO, mark: str) -> None:
        super().__init__()
        self._target, self._mark, self._written = target, mark, 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """All of it."""
        whole = bytes(data)
        for begin in range(0, len(whole), CHUNK_BYTES):
            chunk = whole[begin : begin + CHUNK_BYTES]
            self._frame(f"{self._written} {base64.b64encode(zlib.compress(chunk)).decode()}")
            self._written += len(chunk)
        return len(whole)

    def end(self, exit_code: int) -> None:
        """The last frame."""
        self._frame(f"end {self._written}:{exit_code}")

    def _frame(self, content: str) -> None:
        self._target.write(f"{self._mark} {content}\n".encode())
        self._target.flush()


def frame_stdout(mark: str) -> Frames:
    """From now on what this process prints comes in frames."""
    frames = Frames(sys.stdout.buffer, mark)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(frames), encoding="utf-8")
    return frames


class CutError(Exception):
    """Frames are missing. The message says which."""


class Unframed:
    """What was printed, out of a log. ``exit_code`` is known afterwards."""

    def __init__(self, mark: str, other: Callable[[str], object]) -> None:
        """``other`` is told the lines of stderr."""
        self._mark, self._other = mark.encode() + b" ", other
        self._received = 0
        self.exit_code: int | None = None

    def read(self, log: Iterable[bytes]) -> Iterator[bytes]:
        """In parts, as they come. Raises :class:`CutError` where something is missing."""
        for line in _lines(log):
            before, mark, frame = line.rstrip(b"\r").partition(self._mark)
            if before or not mark:
                self._other(before.decode(errors="replace"))
            if mark:
                yield from self._content(frame)
        if self.exit_code is None:
            raise CutError(f"its end is missing, after {self._received} bytes")

    def _content(self, frame: bytes) -> Iterator[bytes]:
        found = _FRAME(frame)
        if found is None:
            raise CutError(f"a line is broken, after {self._received} bytes")
        begin, content, length, code = found.groups()
        if int(begin or length) != self._received:
            raise CutError(f"found {self._received} bytes where {int(begin or length)} should have come")
        if code is not None:
            self.exit_code = int(code)
            return
        try:
            chunk = zlib.decompress(base64.b64decode(content, validate=True))
        except (binascii.Error, zlib.error) as error:
            raise CutError(f"a line is broken, after {self._received} bytes") from error
        self._received += len(chunk)
        yield chunk


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Without their ends; the last one may lack it."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest
