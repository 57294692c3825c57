"""A TCP proxy between the operator and its API server, which a test can cut."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Self


class Cut:
    """Forwards a port of loopback to ``target``. While cut, connections are dropped and new ones refused by silence."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._whole = True
        self._silent = False
        self._lock = threading.Lock()
        self._ended = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._listener.close()
        self.cut()

    def cut(self, *, silently: bool = False) -> None:
        """Break every connection; ``silently``: leave them open and pass nothing on, as a dead route does."""
        with self._lock:
            self._whole = False
            self._silent = silently
            if not silently:
                for pair in self._pairs:
                    for end in pair:
                        with contextlib.suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Pass on again. What was silent is broken now: the other end has forgotten it."""
        self.cut()
        with self._lock:
            self._whole, self._silent = True, False

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._whole and not self._silent:
                near.close()
                continue
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            near.close()
            return
        pair = (near, far)
        with self._lock:
            self._pairs.add(pair)
        with near, far, contextlib.suppress(OSError):
            self._forward(near, far)
        with self._lock:
            self._pairs.discard(pair)

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        while True:
            readable, _, _ = select.select([near, far], [], [], 0.2)
            if self._silent:
                continue  # what was read before is passed on or lost, as on a wire
            for source in readable:
                data = source.recv(65_536)
                if not data:
                    return
                (far if source is near else near).sendall(data)
