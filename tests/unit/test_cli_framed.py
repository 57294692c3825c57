"""What a command in a pod prints arrives whole and alone, out of a log with all else, or is said not to."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import pytest
from boresight.framed import CHUNK_BYTES, FRAMED, CutError, Frames, Unframed

PROGRAM = Path(sys.executable).parent / "boresight"
MARK = "boresight-0a1b2c"
PAYLOAD = bytes(random.Random(1).choices(range(256), k=3 * CHUNK_BYTES + 7)) + b"no line's end"


def a_log(payload: bytes = PAYLOAD, code: int = 0) -> bytes:
    """What a pod's log holds."""
    log = io.BytesIO()
    frames = Frames(log, MARK)
    assert frames.write(payload[:100]) == 100
    frames.write(payload[100:])
    frames.end(code)
    return log.getvalue()


def read(log: bytes, step: int = 1_000) -> tuple[bytes, list[str], int | None]:
    """Payload, stderr's lines, exit code."""
    told: list[str] = []
    unframed = Unframed(MARK, told.append)
    parts = (log[at : at + step] for at in range(0, len(log), step))
    return b"".join(unframed.read(parts)), told, unframed.exit_code


@pytest.mark.parametrize("step", [1, 977, 1 << 20])
def test_what_was_printed_is_told_from_stderr_byte_by_byte(step: int) -> None:
    first, *others = a_log(code=3).splitlines(keepends=True)
    log = b"it begins\n" + first + b"a warning\nof two lines\n" + b"".join(others) + b"and it ends"
    assert read(log, step) == (PAYLOAD, ["it begins", "a warning", "of two lines", "and it ends"], 3)


def test_stderr_that_does_not_end_its_line_hides_nothing() -> None:
    """Runtimes break long lines, and put the other stream's between the parts."""
    first, *others = a_log().splitlines(keepends=True)
    assert read(b"x" * 16_384 + first + b"x\n" + b"".join(others)) == (PAYLOAD, ["x" * 16_384, "x"], 0)


def test_no_line_is_longer_than_runtimes_keep_in_one_piece() -> None:
    assert max(map(len, a_log().splitlines())) < 16_384


def test_text_takes_less_room_in_a_log_than_it_has() -> None:
    text = b"".join(b"step %d, loss 1.25, 3 tokens a second\n" % step for step in range(10_000))
    assert len(a_log(text)) < len(text)


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (slice(0, 1), "found 0 bytes where 100 should have come"),
        (slice(2, 3), "found 8292 bytes where 16484 should have come"),
        (slice(-1, None), f"its end is missing, after {len(PAYLOAD)} bytes"),
        (slice(0, None), "its end is missing, after 0 bytes"),
    ],
)
def test_a_log_that_was_cut_is_never_taken_for_a_whole_one(lost: slice, words: str) -> None:
    lines = a_log().splitlines(keepends=True)
    del lines[lost]
    with pytest.raises(CutError, match=words):
        read(b"".join(lines))


def test_a_line_of_which_a_part_is_missing_is_broken() -> None:
    first, second, *others = a_log().splitlines(keepends=True)
    for half in (second[: len(second) // 2 + 1] + b"\n", second[:20] + b"\n", second[: len(MARK) + 1] + b"\n"):
        with pytest.raises(CutError, match="a line is broken, after 100 bytes"):
            read(first + half + b"".join(others))


@pytest.mark.parametrize(
    ("words", "out", "err", "code"),
    [
        (["gc", "-o", "json"], b"[]\n", "0 entries, 0 B: nothing was removed; --delete removes it", 0),
        (["ls", "-o", "csv"], b"key,kind,stage,recipe,size,created,tags,headline\n", "", 0),
        (["show", "x"], b"", 'error: found "x", expected artifact://<key>', 1),
    ],
)
def test_a_real_command_in_frames(tmp_path: Path, words: list[str], out: bytes, err: str, code: int) -> None:
    """With both streams in one, as in a pod."""
    command = [PROGRAM, FRAMED, MARK, "artifacts", *words, "--store", str(tmp_path)]
    log = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    found, told, ended = read(log.stdout)
    assert (found, ended, log.returncode) == (out, code, code)
    assert " ".join(told).startswith(err)
