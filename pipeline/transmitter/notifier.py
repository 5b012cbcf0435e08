"""Notifier: wakes pushes and long polls as soon as this process stores a token for their stream."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock
from typing import Final

POLL_S: Final = 1.0
"""Longest wait for a notification, in seconds: other processes write to the same store and notify nobody here."""


class Notifier:
    """Notifies waiting coroutines, by stream id, that the store holds something new.

    `notify` may be called from any thread. A notification that nobody waits for is remembered for the next `wait` on
    that stream: what is stored between a look at the store and the wait is not missed.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._pending: set[str] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process is stopping and nobody may wait any more."""
        return self._closed

    def notify(self, stream_ids: Iterable[str]) -> None:
        """Wake every waiter of *stream_ids*."""
        with self._lock:
            for stream_id in stream_ids:
                waiting = self._waiting.pop(stream_id, None)
                if waiting:
                    _wake(waiting)
                else:
                    self._pending.add(stream_id)

    def close(self) -> None:
        """Wake every waiter, and let nobody wait any more."""
        with self._lock:
            self._closed = True
            for waiting in self._waiting.values():
                _wake(waiting)
            self._waiting.clear()

    def forget(self, stream_id: str) -> None:
        """Drop the remembered notification of a stream that was removed."""
        with self._lock:
            self._pending.discard(stream_id)

    async def wait(self, stream_id: str, seconds: float) -> bool:
        """Wait for a notification of *stream_id*: true; false after *seconds*, or after `POLL_S` if that is shorter.

        The caller looks at the store in either case. After `close`, returns true at once.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed or stream_id in self._pending:
                self._pending.discard(stream_id)
                return True
            self._waiting[stream_id].add(future)
        try:
            async with asyncio.timeout(max(0.0, min(seconds, POLL_S))):
                await future
        except TimeoutError:
            return False
        finally:
            self._remove(stream_id, future)
        return True

    def _remove(self, stream_id: str, future: asyncio.Future[None]) -> None:
        with self._lock:
            if (waiting := self._waiting.get(stream_id)) is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[stream_id]


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    for future in waiting:
        with suppress(RuntimeError):  # its event loop is closed, and the waiter with it
            future.get_loop().call_soon_threadsafe(_set, future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
