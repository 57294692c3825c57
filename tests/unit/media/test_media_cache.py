"""Decoded media are made once, kept within a limit, and made again when they are damaged."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from boresight_trainer.media.cache import ArrayCache, Arrays

GIB = 1 << 30


class Making:
    """Counts how often something was made."""

    def __init__(self, **arrays: object) -> None:
        self.count = 0
        self._arrays = {name: np.asarray(array) for name, array in arrays.items()}

    def __call__(self) -> Arrays:
        self.count += 1
        return self._arrays


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def test_what_was_made_once_is_read_from_then_on(tmp_path: Path) -> None:
    pixels = np.random.default_rng(7).integers(0, 255, (3, 4, 5, 3), dtype=np.uint8)
    making = Making(pixels=pixels, seconds=np.array([0.5, 1.5]), empty=np.zeros((0, 3), dtype=np.float32))
    for cache in (ArrayCache(tmp_path, GIB), ArrayCache(tmp_path, GIB)):
        for _ in range(2):
            found = cache.arrays("sha256:a", {"fps": "2"}, making)
            assert set(found) == {"pixels", "seconds", "empty"}
            assert all(np.array_equal(found[name], array) for name, array in making().items())
            assert (found["pixels"].dtype, found["empty"].shape) == (np.uint8, (0, 3))
            making.count -= 1
    assert making.count == 1


def test_other_content_and_other_parameters_are_another_entry(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, GIB)
    wanted = [("a", {}), ("b", {}), ("a", {"fps": 1}), ("a", {"fps": 2}), ("a", {"fps": 1, "size": [1, 2]})]
    for _ in range(2):
        found = [
            int(cache.arrays(content, parameters, Making(x=number))["x"])
            for number, (content, parameters) in enumerate(wanted)
        ]
        assert found == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "replaced"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    cache, making = ArrayCache(tmp_path, GIB), Making(x=np.arange(1000))
    cache.arrays("a", {}, making)
    (entry,) = entries(tmp_path)
    content = bytearray(entry.read_bytes())
    match damage:
        case "cut":
            del content[len(content) // 2 :]
        case "flipped":
            content[len(content) // 2] ^= 1
        case "emptied":
            content.clear()
        case "replaced":
            content[:] = b"something else"
    entry.write_bytes(content)
    for _ in range(2):
        assert np.array_equal(cache.arrays("a", {}, making)["x"], np.arange(1000))
    assert making.count == 2


def test_code_in_an_entry_is_never_run(tmp_path: Path) -> None:
    cache, making = ArrayCache(tmp_path, GIB), Making(x=1)
    cache.arrays("a", {}, making)
    (entry,) = entries(tmp_path)
    np.savez(entry, x=np.array([Path("a pickled object")], dtype=object))
    assert cache.arrays("a", {}, making)["x"] == 1
    assert making.count == 2


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    limit = 100_000
    cache = ArrayCache(tmp_path, limit)
    for number in range(40):
        cache.arrays(str(number), {}, Making(x=np.zeros(4_000, dtype=np.uint8)))
        cache.arrays("0", {}, Making(x=np.zeros(4_000, dtype=np.uint8)))
        for age, entry in enumerate(sorted(entries(tmp_path), key=lambda path: path.stat().st_mtime_ns, reverse=True)):
            os.utime(entry, (1_700_000_000 - age, 1_700_000_000 - age))  # clocks may be too coarse to tell
    assert sum(entry.stat().st_size for entry in entries(tmp_path)) <= limit * 1.1
    unused = Making(x=0)
    for number in (0, 39, 38):
        cache.arrays(str(number), {}, unused)
    assert unused.count == 0
    cache.arrays("1", {}, unused)
    assert unused.count == 1


def test_what_would_drive_out_most_others_is_not_kept(tmp_path: Path) -> None:
    cache, making = ArrayCache(tmp_path, 1000), Making(x=np.zeros(500))
    for _ in range(2):
        cache.arrays("a", {}, making)
    assert making.count == 2
    assert not entries(tmp_path)


def test_two_that_share_a_folder_keep_the_limit(tmp_path: Path) -> None:
    limit, caches = 200_000, [ArrayCache(tmp_path, 200_000) for _ in range(4)]

    def fill(number: int) -> None:
        cache = caches[number % 4]
        for item in range(50):
            value = Making(x=np.full(3_000, item, dtype=np.uint8))
            assert (cache.arrays(str(number * 50 + item), {}, value)["x"] == item).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    assert sum(entry.stat().st_size for entry in entries(tmp_path)) <= limit * 1.5
    assert not list(tmp_path.rglob(".*"))


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    cache, making = ArrayCache(tmp_path / "file", GIB), Making(x=1)
    for _ in range(2):
        assert cache.arrays("a", {}, making)["x"] == 1
    assert making.count == 2
    assert "cannot be kept" in caplog.text


def test_what_making_raises_is_raised_and_nothing_is_kept(tmp_path: Path) -> None:
    def fail() -> Arrays:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ArrayCache(tmp_path, GIB).arrays("a", {}, fail)
    assert not entries(tmp_path)
