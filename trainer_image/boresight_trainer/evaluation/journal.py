"""Finished batches on disk: what stops goes on where it was, and what is shared is put together again.

A batch's content depends on its name alone, so nobody minds who made it. Of several processes each makes its own
batches and waits for the others'; if none of those comes for a while, it makes them itself. So a process that is late,
slow or gone costs time and nothing else, and no process must know another. What two of them make at once they make
alike, and the last one's file stays.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.execution import StagePart
from boresight_api.outcome import FailureClass, StageFailure

from ..stage import StageContext

Records = list[Any]
"""A batch as JSON lines."""


@dataclass
class Journal:
    """Batches of one stage under names that say everything their content depends on.

    Written to this attempt's own folder (which processes of one attempt share); read from there and from the folders of
    earlier attempts.
    """

    folder: Path
    previous: Sequence[Path] = ()
    part: StagePart = StagePart.WHOLE
    shard: int = 0
    """Which of the processes this is, from 0."""
    shards: int = 1
    pause: Callable[[float], None] = time.sleep
    """Passes seconds; raises if the stage has to stop."""
    patience_seconds: float = 60.0
    """Without news from the others for so long (and three times as long as a batch takes), their work is done here. A
    network file system may show a new file that late."""
    poll_seconds: float = 1.0
    clock: Callable[[], float] = time.monotonic
    _longest: float = field(default=0.0, init=False)
    _last_news: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._last_news = self.clock()

    def has(self, name: str) -> bool:
        """Whether the batch is finished."""
        return any(self._path(place, name).is_file() for place in (self.folder, *self.previous))

    def read(self, name: str) -> Records | None:
        """The records of a finished batch, or None. A file is only ever seen whole (see :meth:`write`)."""
        for place in (self.folder, *self.previous):
            try:
                text = self._path(place, name).read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            return [json.loads(line) for line in text.splitlines()]
        return None

    def write(self, name: str, records: Sequence[Any]) -> None:
        """Keep a finished batch: complete on disk first, then renamed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{name}.{uuid.uuid4().hex}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, allow_nan=False) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(self.folder, name))

    def finish(self, names: Sequence[str], make: Callable[[int], Records]) -> Iterator[tuple[int, Records]]:
        """The records of all named batches, each with its place; ``make(place)`` makes one that is not there.

        In the order of ``names`` unless they are shared. Raises :class:`StageFailure` (MissingInput) in a merge, which
        makes nothing, if one is missing.
        """
        if self.part is StagePart.MERGE:
            self._require(names)
        own = range(self.shard, len(names), self.shards)
        for place in own:
            yield place, self._read_or_make(names[place], make, place)
        if self.part is StagePart.SHARD:
            yield from self._of_others(names, make)

    def _of_others(self, names: Sequence[str], make: Callable[[int], Records]) -> Iterator[tuple[int, Records]]:
        """Beginning with those of the next process, so that two which lose patience do not do the same."""
        distance = [(place % self.shards - self.shard) % self.shards for place in range(len(names))]
        waiting = sorted((place for place in range(len(names)) if distance[place]), key=distance.__getitem__)
        while waiting:
            found = [(place, records) for place in waiting if (records := self.read(names[place])) is not None]
            yield from found
            seen = {place for place, _ in found}
            waiting = [place for place in waiting if place not in seen]
            if found:
                self._last_news = self.clock()
            elif self.clock() - self._last_news > max(self.patience_seconds, 3 * self._longest):
                place = waiting.pop(0)
                yield place, self._read_or_make(names[place], make, place)
            else:
                self.pause(self.poll_seconds)

    def _read_or_make(self, name: str, make: Callable[[int], Records], place: int) -> Records:
        records = self.read(name)
        if records is None:
            started = self.clock()
            records = make(place)
            self.write(name, records)
            self._longest = max(self._longest, self.clock() - started)
        return records

    def _require(self, names: Sequence[str]) -> None:
        missing = [name for name in names if not self.has(name)]
        if missing:
            places = ", ".join(str(place) for place in (self.folder, *self.previous))
            raise StageFailure(
                FailureClass.MISSING_INPUT,
                f"merge: found {len(names) - len(missing)} of {len(names)} batches, {missing[0]} is not in {places}; "
                "the pods that make them have to run again",
            )

    @staticmethod
    def _path(place: Path, name: str) -> Path:
        return place / f"{name}.jsonl"


def journal_of(context: StageContext) -> Journal:
    """The journal of a stage, or of this process's part of it."""
    execution = context.stage.execution

    def pause(seconds: float) -> None:
        context.stop.check()
        time.sleep(seconds)

    return Journal(
        context.checkpoint_folder,
        context.previous_checkpoints,
        part=execution.part,
        shard=context.shard,
        shards=execution.shards if execution.part is StagePart.SHARD else 1,
        pause=pause,
    )


def batch_name(kind: str, **identity: Any) -> str:
    """``<kind>-<digest>`` of what decides a batch's content: model, token ids, decoding settings, seed."""
    return f"{kind}-{sha256_hex(canonical_json(identity))[:32]}"
