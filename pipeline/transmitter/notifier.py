"""Who waits for tokens of a stream is woken as soon as this process stores one; else it looks each second."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock
from typing import Final

LOOK_S: Final = 1.0
"""Longest wait for a ring, in seconds: other processes write to the same store and ring no bell here."""


class Notifier:
    """Rung with the ids of streams for which something is in the store now.

    May be rung from any thread. A ring that nobody hears is kept for the next who waits for that stream: what
    is stored between a look at the store and the wait is not slept over.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._unheard: set[str] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process is stopping: nobody waits any more."""
        return self._closed

    def notify(self, stream_ids: Iterable[str]) -> None:
        """Wake who waits for one of *stream_ids*."""
        with self._lock:
            for stream_id in stream_ids:
                waiting = self._waiting.pop(stream_id, None)
                if waiting:
                    _wake(waiting)
                else:
                    self._unheard.add(stream_id)

    def close(self) -> None:
        """Wake everybody, and let nobody wait any more."""
        with self._lock:
            self._closed = True
            for waiting in self._waiting.values():
                _wake(waiting)
            self._waiting.clear()

    def forget(self, stream_id: str) -> None:
        """Keep no ring of a stream that is gone."""
        with self._lock:
            self._unheard.discard(stream_id)

    async def wait(self, stream_id: str, seconds: float) -> bool:
        """Wait until the bell rings for *stream_id*: true; false after *seconds*, or `LOOK_S` if less.

        Then the store is to be looked at in either case. Once the bell is closed, true at once.
        """
        rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed or stream_id in self._unheard:
                self._unheard.discard(stream_id)
                return True
            self._waiting[stream_id].add(rung)
        try:
            async with asyncio.timeout(max(0.0, min(seconds, LOOK_S))):
                await rung
        except TimeoutError:
            return False
        finally:
            self._leave(stream_id, rung)
        return True

    def _leave(self, stream_id: str, rung: asyncio.Future[None]) -> None:
        with self._lock:
            if (waiting := self._waiting.get(stream_id)) is not None:
                waiting.discard(rung)
                if not waiting:
                    del self._waiting[stream_id]


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    for rung in waiting:
        with suppress(RuntimeError):  # its loop has ended, and it with it
            rung.get_loop().call_soon_threadsafe(_set, rung)


def _set(rung: asyncio.Future[None]) -> None:
    if not rung.done():
        rung.set_result(None)
