"""A stage's process as far as it is asked from outside: the trainer's own server, progress and metrics, on the move.

python stage_process.py HOST PORT STAGE KEY POD_UID
"""

from __future__ import annotations

import sys
import time

from boresight_trainer.telemetry import metrics
from boresight_trainer.telemetry.progress import Progress
from boresight_trainer.telemetry.server import serve

TOTAL = 100_000


def main(host: str, port: str, stage: str, key: str, pod_uid: str) -> None:
    """Until it is killed."""
    progress = Progress(stage, key, pod_uid=pod_uid)
    progress.phase("train", TOTAL)
    metrics.TOTAL_STEPS.set(TOTAL)
    with serve(progress, int(port), host):
        print("serving", flush=True)
        for step in range(TOTAL):
            progress.advance(step)
            progress.log(dict.fromkeys(metrics.GAUGES, 0.5))
            metrics.STEP.set(step)
            metrics.TOKENS.inc(1024)
            metrics.ITEMS.labels("accepted").inc()
            metrics.EVALUATED.labels("pairwise", "win").inc()
            metrics.CHECKPOINT_SECONDS.set(2.5)
            metrics.STORE_RETRIES.inc()
            time.sleep(0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
