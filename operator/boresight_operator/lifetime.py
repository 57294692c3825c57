"""The life of the process's event loop: it ends when the work does, whatever libraries have left running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

END_SECONDS = 3.0
T = TypeVar("T")


def run_to_end(work: Coroutine[Any, Any, T], seconds: float = END_SECONDS) -> T:
    """As :func:`asyncio.run`, but tasks that do not end within ``seconds`` after they were cancelled are left behind.

    kopf's can wait for ever for helpers of theirs that were cancelled with them. ``asyncio.run`` would wait for those,
    and the pod would be killed at the end of its grace.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        try:
            left = loop.run_until_complete(_end_all(seconds))
            if left:
                log.warning("ends without %s, which do not end", ", ".join(sorted(left)))
            else:
                loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _end_all(seconds: float) -> set[str]:
    """Cancel all tasks but this one; names of those that have not ended in time."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if not tasks:
        return set()
    done, pending = await asyncio.wait(tasks, timeout=seconds)
    for task in done:
        task.cancelled() or task.exception()  # it has been looked at
    return {task.get_name() for task in pending}
