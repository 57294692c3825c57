"""A 1 GB artifact to and from a real MinIO: our store beside the plain `minio` client, same server, same file.

    python bench/s3.py           five rounds; prints ratios, writes bench/results/s3.json
    python bench/s3.py --quick   one round with 64 MB, to see that it runs; writes nothing

Ours does more with the bytes: on the way up every part's SHA-256 is signed and the whole file's is compared with the
manifest, on the way down the whole file's is computed and compared. The plain client signs its parts on the way up and
checks nothing on the way down. Every transfer is a process of its own and begins with nothing left to be written to the
disk; sides take turns in who begins. Times are compared within a round, for disk and neighbours change from round to
round; the median of the rounds' ratios counts. All files lie in memory if there is room, so that clients are compared
and not disks.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1] / "tests")  # in the place of this folder, whose s3 is this file

from kits.minio_program import MINIO  # noqa: E402
from kits.programs import executable  # noqa: E402
from s3.minio_server import MinioServer  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "s3.json"
KEY = "a" * 64
NAME = "model.safetensors"
FLOOR, PEAK_MIB = 0.8, 200
Environment = dict[str, str]


def ours_up(environment: Environment, uri: str, file: Path, near: Path) -> float:
    """What a stage does when its output lies in the folder that it was given and has been described."""
    from boresight_api.artifact import ArtifactKind, ArtifactManifest
    from boresight_trainer.store.base import describe_files
    from boresight_trainer.store.open import open_store

    store = open_store(uri, cache=near, environment=environment)
    with store.staging(KEY) as folder:
        os.link(file, folder / NAME)
        manifest = ArtifactManifest(
            kind=ArtifactKind.MODEL,
            key=KEY,
            stage="policy",
            recipe="dpo/1",
            config={},
            files=describe_files(folder),
            created_at="2026-01-01T00:00:00Z",
        )
        started = time.perf_counter()
        store.publish(KEY, folder, manifest)
        return time.perf_counter() - started


def ours_down(environment: Environment, uri: str, file: Path, near: Path) -> float:
    """What a stage does with an input that is not on its machine yet."""
    from boresight_trainer.store.open import open_store

    store = open_store(uri, cache=near, environment=environment)
    started = time.perf_counter()
    found = store.open(KEY) / NAME
    seconds = time.perf_counter() - started
    assert found.stat().st_size == file.stat().st_size
    return seconds


def plain_up(environment: Environment, uri: str, file: Path, _near: Path) -> float:
    """``fput_object`` with its own defaults: 5 MiB parts, three at a time."""
    client = plain(environment)
    started = time.perf_counter()
    client.fput_object(uri.split("/")[2], "plain", str(file))
    return time.perf_counter() - started


def plain_down(environment: Environment, uri: str, _file: Path, near: Path) -> float:
    """``fget_object``."""
    client = plain(environment)
    near.mkdir(parents=True)
    started = time.perf_counter()
    client.fget_object(uri.split("/")[2], "plain", str(near / NAME))
    return time.perf_counter() - started


def plain(environment: Environment):
    """The library's own client."""
    from minio import Minio

    host = environment["AWS_ENDPOINT_URL_S3"].removeprefix("http://")
    keys = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    return Minio(host, *keys, secure=False, region="us-east-1")


Transfer = Callable[[Environment, str, Path, Path], float]
SIDES: dict[str, Transfer] = {
    "ours up": ours_up,
    "plain up": plain_up,
    "ours down": ours_down,
    "plain down": plain_down,
}


def _serve(connection: Connection, transfer: Transfer, arguments: tuple[Environment, str, Path, Path]) -> None:
    seconds = transfer(*arguments)
    connection.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def timed(name: str, arguments: tuple[Environment, str, Path, Path]) -> tuple[float, float]:
    """Seconds, and peak MiB of a fresh process with everything that it imports."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    os.sync()
    process = context.Process(target=_serve, args=(sender, SIDES[name], arguments))
    process.start()
    sender.close()
    found: tuple[float, float] = receiver.recv()
    process.join()
    return found


def rounds(server: MinioServer, folder: Path, size: int, count: int) -> dict[str, list[tuple[float, float]]]:
    """Every side ``count`` times; the pairs take turns in who begins."""
    file = folder / "file"
    with file.open("wb") as stream:
        for _ in range(size // 1_000_000):
            stream.write(os.urandom(1_000_000))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
    for number in range(count):
        bucket = server.bucket()
        for pair in (("ours up", "plain up"), ("ours down", "plain down")):
            for name in pair if number % 2 else reversed(pair):
                near = folder / f"near-{name.replace(' ', '-')}"
                found[name].append(timed(name, (server.environment(), f"s3://{bucket}/bench", file, near)))
                shutil.rmtree(near, ignore_errors=True)
                seconds, peak = found[name][-1]
                print(
                    f"round {number + 1}: {name:10} {seconds:6.2f} s  {size / seconds / 1e6:6.0f} MB/s  {peak:4.0f} MiB"
                )
        for entry in server.client().list_objects(bucket, recursive=True):
            server.client().remove_object(bucket, entry.object_name)
    return found


def place(size: int) -> str | None:
    """A file system in memory with ``size`` bytes left; None for the usual place of temporary files."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > size else None


def main() -> int:
    """Run, print, write; 1 if a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    size, count = (64_000_000, 1) if quick else (1_000_000_000, 5)
    with tempfile.TemporaryDirectory(dir=place(4 * size)) as name:
        folder = Path(name)
        with MinioServer(executable(MINIO, print), folder / "server") as server:
            found = rounds(server, folder, size, count)
    document = summary(found, size)
    print(json.dumps(document["ratios"]), f"peak {document['peakMiB']} MiB")
    if not quick:
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    ratios = document["ratios"]
    assert isinstance(ratios, dict)
    return int(min(ratios.values()) < FLOOR or max(document["peakMiB"].values()) > PEAK_MIB)


def summary(found: dict[str, list[tuple[float, float]]], size: int) -> dict[str, dict[str, float] | object]:
    """What is written down."""
    by_round = {
        way: [
            round(plain / ours, 3)
            for (plain, _), (ours, _) in zip(found[f"plain {way}"], found[f"ours {way}"], strict=True)
        ]
        for way in ("up", "down")
    }
    median = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in found.items()}
    return {
        "bytes": size,
        "rounds": len(found["ours up"]),
        "seconds": {name: [round(seconds, 3) for seconds, _ in runs] for name, runs in found.items()},
        "megabytesPerSecond": {name: round(size / seconds / 1e6, 1) for name, seconds in median.items()},
        "roundRatios": by_round,
        "ratios": {way: statistics.median(ratios) for way, ratios in by_round.items()},
        "peakMiB": {name: round(max(peak for _, peak in found[name])) for name in ("ours up", "ours down")},
        "loadAverage": [round(load, 1) for load in os.getloadavg()],
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "versions": {
            "python": platform.python_version(),
            "minio": importlib.metadata.version("minio"),
            "server": MINIO.version,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
