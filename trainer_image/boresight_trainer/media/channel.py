"""Values between our own processes over pipes; arrays travel as their bytes, without being copied into a message."""

from __future__ import annotations

import os
import pickle
import select
import struct
import time
from dataclasses import dataclass
from typing import Any

READY = "ready"
"""What a worker says before it takes requests."""
_COUNTS = struct.Struct("<QQ")
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Bug:
    """Work failed by no fault of the medium; the text is a traceback."""

    text: str


class Closed(Exception):  # noqa: N818 an end, not a fault
    """The other side has gone."""


class Late(Exception):  # noqa: N818 an end, not a fault
    """Nothing came in time."""


def send(pipe: int, value: Any) -> None:
    """Write ``value`` to the file descriptor ``pipe``. Raises :class:`Closed`."""
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raws = [buffer.raw() for buffer in buffers]
    lengths = b"".join(_LENGTH.pack(raw.nbytes) for raw in raws)
    parts: list[bytes | memoryview] = [_COUNTS.pack(len(message), len(raws)), lengths, message, *raws]
    for part in parts:
        _write(pipe, memoryview(part))


def receive(pipe: int, timeout_seconds: float | None = None) -> Any:
    """The next value from ``pipe``, which only our own processes write to.

    Raises :class:`Closed`; :class:`Late` if it is not whole within ``timeout_seconds``.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    size, count = _COUNTS.unpack(_read(pipe, _COUNTS.size, deadline))
    lengths = [_LENGTH.unpack(_read(pipe, _LENGTH.size, deadline))[0] for _ in range(count)]
    message = _read(pipe, size, deadline)
    buffers = [_read(pipe, length, deadline) for length in lengths]
    return pickle.loads(message, buffers=buffers)  # noqa: S301 from a process that we started


def _write(pipe: int, part: memoryview) -> None:
    try:
        while part:
            part = part[os.write(pipe, part) :]
    except BrokenPipeError as error:
        raise Closed from error


def _read(pipe: int, size: int, deadline: float | None) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        if deadline is not None and not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise Late
        count = os.readv(pipe, [view])
        if not count:
            raise Closed
        view = view[count:]
    return content
