"""Keeps a number of worker processes running on one host, one for each core; restarts those that fail.

Knows processes and exit codes only; what a worker does is in its command line.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

logger = logging.getLogger(__name__)

INDEX_VARIABLE = "WORKER_INDEX"
"""Environment variable that tells a worker which of this host's it is, from 0."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How failures are met.

    A worker is started again after *first_s*, then after twice that, up to *most_s*. More than *restarts*
    within *window_s* are too many. After a signal workers have *grace_s* to end.
    """

    first_s: float = 1.0
    most_s: float = 30.0
    restarts: int = 10
    window_s: float = 600.0
    grace_s: float = 45.0


def supervise(count: int, argv: Sequence[str], patience: Patience | None = None) -> int:
    """Run *argv* *count* times until SIGTERM or SIGINT, restarting what fails; return the exit code.

    0 when all ended in order after a signal; 1 when one failed too often, or did not end in order. Signals
    are passed on, and no worker is left running.
    """
    return asyncio.run(_Supervisor(argv, patience or Patience()).run(count))


class _Supervisor:
    def __init__(self, argv: Sequence[str], patience: Patience) -> None:
        self._argv = argv
        self._patience = patience
        self._stopping = asyncio.Event()
        self._restarts: deque[float] = deque()

    async def run(self, count: int) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        codes = await asyncio.gather(*(self._keep_running(index) for index in range(count)))
        return 1 if any(codes) else 0

    async def _keep_running(self, index: int) -> int:
        wait_s = self._patience.first_s
        while True:
            started = monotonic()
            code = await self._run_once(index)
            if self._stopping.is_set():
                return code
            logger.error("worker %d ended with code %d", index, code)
            if self._too_many():
                logger.critical("%d restarts in a short time: giving up", len(self._restarts))
                self._stopping.set()
                return code or 1
            if monotonic() - started > self._patience.most_s:
                wait_s = self._patience.first_s  # it worked for a while: a new story
            await self._pause(wait_s)
            if self._stopping.is_set():
                return code
            wait_s = min(2 * wait_s, self._patience.most_s)

    async def _run_once(self, index: int) -> int:
        environment = {**os.environ, INDEX_VARIABLE: str(index)}
        process = await asyncio.create_subprocess_exec(*self._argv, env=environment)
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.terminate()
            await asyncio.wait({ended}, timeout=self._patience.grace_s)
        if not ended.done():
            logger.critical("worker %d does not end; killing it", index)
            process.kill()
        code = await ended
        # Told to end before it could listen: it had begun nothing.
        return 0 if self._stopping.is_set() and code == -signal.SIGTERM else code

    def _too_many(self) -> bool:
        now = monotonic()
        self._restarts.append(now)
        while self._restarts[0] < now - self._patience.window_s:
            self._restarts.popleft()
        return len(self._restarts) > self._patience.restarts

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=seconds)
        stopping.cancel()
