"""A process that does one thing to what it is sent, until nobody sends any more.

A new interpreter, not a fork: the process that starts it may hold torch, a GPU and threads.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from threading import Thread
from typing import Any

from .channel import READY, Bug, Closed, receive, send
from .errors import MediaError


def main() -> int:
    """Serve stdin and stdout: first comes the work, a callable, then what it is to be done to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # whatever a library prints must not stand among the replies
    Thread(target=_end_with_parent, args=(requests,), daemon=True).start()
    try:
        work = receive(requests)
        send(replies, READY)
        while True:
            send(replies, _done(work, receive(requests)))
    except Closed:
        return 0


def _done(work: Any, request: Any) -> Any:
    try:
        return work(request)
    except MediaError as error:
        return error
    except OSError as error:
        return OSError(error.errno, error.strerror or str(error), error.filename)
    except Exception:
        return Bug(traceback.format_exc())


def _end_with_parent(requests: int) -> None:
    """Kill this process and the ffmpeg that it may have started when the other end of the pipe is closed."""
    hung_up = select.poll()
    hung_up.register(requests, select.POLLHUP)
    hung_up.poll()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
